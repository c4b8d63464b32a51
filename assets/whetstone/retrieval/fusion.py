"""Reciprocal rank fusion: several runs into one, by ranks alone, so that their scores need no common scale.

    rrf(q, d) = sum over the runs that found d for q of 1 / (k + rank)

Cormack, Clarke, Buettcher 2009, "Reciprocal rank fusion outperforms Condorcet and individual rank learning methods"; k
= 60 is theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from whetstone.platform.errors import WhetstoneError

DECIMALS = 12
"""Sums that differ only by the order of addition are the same score."""


def rrf(runs: Sequence[pd.DataFrame], k: int = 60, depth: int = 500) -> pd.DataFrame:
    """Fuse runs over the same products.

    Args:
        runs: frames query_id, product_id, rank, in any order; one that found nothing may be empty.
        k: how much the top of a run counts against its tail; 60 in the paper.
        depth: most products a query keeps.

    Returns:
        A run: query_id, product_id, rank, score; ties by (-score, product_id). The same for any order of `runs`.

    Raises:
        WhetstoneError: there are no runs.
    """
    if not runs:
        raise WhetstoneError("reciprocal rank fusion needs at least one run")
    found = pd.concat([run[["query_id", "product_id", "rank"]] for run in runs], ignore_index=True)
    found["score"] = 1.0 / (k + found["rank"].astype("float64"))
    fused = found.groupby(["query_id", "product_id"], sort=False)["score"].sum().round(DECIMALS).reset_index()
    fused = fused.sort_values(["query_id", "score", "product_id"], ascending=[True, False, True], ignore_index=True)
    fused["rank"] = fused.groupby("query_id", sort=False).cumcount().astype("int64") + 1
    kept = fused[fused["rank"] <= depth].reset_index(drop=True)
    return kept[["query_id", "product_id", "rank", "score"]]
