"""How much of the exact answer a shard finds: recall@k against brute force over the vectors it was built from."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from whetstone.index.shard import Shard, unit_rows
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.vectors import Vectors
from whetstone.retrieval.dense import exact_search

EQUAL = 1e-6  # two products of the same vectors, rounded on different ways


def recall_at(shard: Shard, vectors: Vectors, product_ids: Sequence[str], query_vectors: Vectors, k: int = 10) -> float:
    """Mean share of the k exactly nearest products that the shard finds, 1.0 if empty; WhetstoneError: no query, or other products.

    The exact scores come from the full-precision `vectors` (n, d) that the shard was built from, so loss by its dtype counts as well as
    loss by its graph. A found product counts when its exact score is no worse than the k-th: equal products may stand for each other.
    """
    if set(product_ids) != set(shard.product_ids):
        raise WhetstoneError(f"{len(product_ids)} products given, the shard holds {len(shard)}, and they are not the same")
    k = min(k, len(shard))
    if k == 0:
        return 1.0
    if not len(query_vectors):
        raise WhetstoneError("recall needs at least one query vector: take the category's queries and `probes`")
    rows = unit_rows(vectors, product_ids)[pd.Index(product_ids).get_indexer(pd.Index(shard.product_ids))]
    names = [f"{row:012d}" for row in range(len(query_vectors))]
    queries = unit_rows(query_vectors, names)
    # Runs are ordered by query and rank, so every k-th score is the floor of a query.
    floors = exact_search(queries, rows, names, shard.product_ids.tolist(), k)["score"].to_numpy()[k - 1 :: k]
    finds = zip(shard.find(queries, k), queries, floors, strict=True)
    return float(np.sum([(rows[near] @ query >= floor - EQUAL).sum() for (near, _), query, floor in finds]) / (k * len(queries)))


def probes(query_vectors: Vectors, vectors: Vectors, least: int = 200) -> Vectors:
    """The query vectors, filled up to `least` with product vectors taken at even steps through the catalog.

    A category may have one query or none. One swap of two nearly equal products is then a recall of 0.9, and says nothing about the
    index; over 200 vectors it is 0.9995.
    """
    missing = min(max(least - len(query_vectors), 0), len(vectors))
    rows = np.linspace(0, len(vectors) - 1, missing).astype(np.int64)
    return np.concatenate([query_vectors, vectors[rows]]) if missing else query_vectors
