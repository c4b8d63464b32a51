"""Search over all categories' shards as if they were one index.

Each shard gives its own k best; the best k of all of them together are the answer, ties by product_id. Right for one query as for ten
thousand: queries go in batches, so memory does not grow with their number times that of the shards.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from whetstone.index.shard import Shard, unit_rows
from whetstone.platform.errors import WhetstoneError
from whetstone.retrieval.vectors import Vectors

BATCH = 512  # queries; times k times shards candidates are held at once


def search(shards: Mapping[str, Shard], query_vectors: Vectors, k: int, *, exact: bool = False) -> pd.DataFrame:
    """The k nearest products of every query (q, d) over the open shards by category; fewer where the shards hold fewer.

    `exact` compares with every stored vector instead of walking the graphs. Returns query_index (row of `query_vectors`), category,
    product_id, rank (1-based, no gaps), score (cosine); ordered by query_index and rank, ties by (-score, product_id).
    WhetstoneError: k below 1; a query that is zero, not finite or of other dimensions; shards of two encoders.
    """
    if k < 1:
        raise WhetstoneError(f"k is {k}: ask for at least one product")
    encoders = {shard.info.encoder_version: category for category, shard in shards.items() if len(shard)}
    if len(encoders) > 1:
        (one, first), (other, second) = list(encoders.items())[:2]
        raise WhetstoneError(
            f"the index of {first!r} was made by encoder {one!r}, that of {second!r} by {other!r}: "
            "run `whetstone build --select search_index`"
        )
    queries = unit_rows(query_vectors, [f"query {row}" for row in range(len(query_vectors))])
    columns = ["query_index", "category", "product_id", "rank", "score"]
    runs = []
    for start in range(0, len(queries), BATCH):
        found = [shard.find(queries[start : start + BATCH], k, exact=exact).assign(category=category) for category, shard in shards.items()]
        if any(map(len, found)):
            run = best(pd.concat(found, ignore_index=True), k)
            runs.append(run.assign(query_index=run["query_index"] + start)[columns])
    nothing = pd.DataFrame(columns=columns).astype({"query_index": np.int64, "rank": np.int64, "score": np.float64})
    return pd.concat(runs, ignore_index=True) if runs else nothing


def best(found: pd.DataFrame, k: int) -> pd.DataFrame:
    """The k best rows of each query_index by (-score, product_id), in that order, with their rank."""
    query_rows, scores = found["query_index"].to_numpy(), found["score"].to_numpy()
    order = np.lexsort((-scores, query_rows))
    _, starts, sizes = np.unique(query_rows[order], return_index=True, return_counts=True)
    # Names are compared only among what can be in the answer: rows no worse than the query's k-th score.
    floors = scores[order][starts + np.minimum(sizes, k) - 1]
    able = found.iloc[order[scores[order] >= np.repeat(floors, sizes)]]
    able = able.sort_values(["query_index", "score", "product_id"], ascending=[True, False, True])
    able = able.assign(rank=able.groupby("query_index").cumcount() + 1)
    return able[able["rank"] <= k].reset_index(drop=True)
