"""Search over all categories' shards as if they were one index.

Each shard gives its own k best; the best k of all of them together are the answer, ties by product_id. Right for one
query as for ten thousand: queries go in batches, so memory does not grow with their number times that of the shards.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from whetstone.index.shard import Shard, Vectors, unit_rows
from whetstone.platform.errors import WhetstoneError

BATCH = 512  # queries; times k times shards candidates are held at once


def search(shards: Mapping[str, Shard], query_vectors: npt.NDArray[np.floating], k: int, *, exact: bool = False) -> pd.DataFrame:
    """The k nearest products of every query over all shards.

    Args:
        shards: category -> open shard, all of one encoder.
        query_vectors: shape (q, d); need not have unit length.
        k: most products a query; fewer come where the shards hold fewer.
        exact: compare with every stored vector instead of walking the graphs.

    Returns:
        query_index (row of `query_vectors`), category, product_id, rank (1-based, no gaps), score (cosine);
        ordered by query_index and rank, ties by (-score, product_id).

    Raises:
        WhetstoneError: k below 1; a query vector that is zero, not finite or of other dimensions; shards of two
            encoders.
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
    starts = range(0, max(len(queries), 1), BATCH)
    batches = [_search_batch(shards, queries[start : start + BATCH], start, k, exact) for start in starts]
    return pd.concat(batches, ignore_index=True)


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


def _search_batch(shards: Mapping[str, Shard], queries: Vectors, start: int, k: int, exact: bool) -> pd.DataFrame:
    """The answer to one batch of queries, the first of which has query_index `start`."""
    columns = ["query_index", "category", "product_id", "rank", "score"]
    found = [shard.find(queries, k, exact=exact).assign(category=category) for category, shard in shards.items()]
    found = [hits for hits in found if len(hits)]
    if not found:
        return pd.DataFrame(columns=columns).astype({"query_index": np.int64, "rank": np.int64, "score": np.float64})
    frame = best(pd.concat(found, ignore_index=True), k)
    return frame.assign(query_index=frame["query_index"] + start)[columns]
