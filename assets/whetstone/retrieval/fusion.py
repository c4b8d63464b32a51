"""Reciprocal rank fusion: several runs into one, by ranks alone, so that their scores need no common scale.

    rrf(q, d) = sum over the runs that found d for q of 1 / (k + rank)

Cormack, Clarke, Buettcher 2009, "Reciprocal rank fusion outperforms Condorcet and individual rank learning methods"; k = 60 is theirs.
"""

from collections.abc import Sequence

import pandas as pd

from whetstone.platform.errors import WhetstoneError

K = 60
DECIMALS = 12  # sums that differ only by the order of addition are the same score


def rrf(runs: Sequence[pd.DataFrame], depth: int = 500) -> pd.DataFrame:
    """Fuse runs (query_id, product_id, rank; at least one, in any order, empty ones too) into a run of at most `depth` a query."""
    if not runs:
        raise WhetstoneError("reciprocal rank fusion needs at least one run")
    found = pd.concat([run[["query_id", "product_id", "rank"]] for run in runs])
    found["score"] = 1.0 / (K + found["rank"].astype("float64"))
    fused = found.groupby(["query_id", "product_id"], sort=False)["score"].sum().round(DECIMALS).reset_index()
    fused = fused.sort_values(["query_id", "score", "product_id"], ascending=[True, False, True])
    fused = fused.groupby("query_id", sort=False).head(depth).reset_index(drop=True)
    fused.insert(2, "rank", fused.groupby("query_id", sort=False).cumcount() + 1)
    return fused
