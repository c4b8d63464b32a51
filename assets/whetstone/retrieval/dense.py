"""Channel `dense`: cosine of unit vectors, exact search by matrix products.

Exact on purpose: mining lives on who did *not* find a product, and an approximate index would add its own misses. Measured at 43 k x 384
on 2 cores, BLAS answers five times as many queries as an exact vector index. Blocks over queries and products bound the memory, whatever
the size of the catalog. A matrix product may give equal vectors different last bits by their place in a block, so it only picks the
candidates, with slack; their scores are summed anew in float64, row by row, and ties are real ties.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from whetstone.platform.errors import WhetstoneError
from whetstone.retrieval.channels import ChannelInputs
from whetstone.retrieval.ranking import Hits, best, run_frame, tie_order

QUERY_BLOCK = 256
PRODUCT_BLOCK = 65_536
"""A block of scores is QUERY_BLOCK x PRODUCT_BLOCK float32, 64 MiB."""
SLACK = 1e-5
"""Candidates score at least the k-th best minus this share of the longest vectors' product: ten times the error of float32."""


def search(inputs: ChannelInputs, depth: int) -> pd.DataFrame:
    """The channel's entry: exact search with the incumbent encoder's vectors; a run."""
    return exact_search(
        inputs.encode_queries(list(inputs.queries["text"])),
        inputs.product_vectors(),
        list(inputs.queries["query_id"]),
        list(inputs.products["product_id"]),
        depth,
    )


def exact_search(
    query_vectors: npt.NDArray[np.float32],
    product_vectors: npt.NDArray[np.float32],
    query_ids: Sequence[str],
    product_ids: Sequence[str],
    k: int,
    *,
    query_block: int = QUERY_BLOCK,
    product_block: int = PRODUCT_BLOCK,
) -> pd.DataFrame:
    """The k products with the highest inner product for every query.

    Args:
        query_vectors: (n_queries, d), unit length for cosines.
        product_vectors: (n_products, d); a memory map works.
        query_ids: n_queries distinct ids.
        product_ids: n_products distinct ids.
        k: most products a query keeps.
        query_block: queries scored at once.
        product_block: products scored at once.

    Returns:
        A run: query_id, product_id, rank, score (may be negative); ties by (-score, product_id). Block sizes don't change it.

    Raises:
        WhetstoneError: the vectors don't fit the ids or each other, or a score isn't finite.
    """
    if len(query_vectors) != len(query_ids) or len(product_vectors) != len(product_ids):
        raise WhetstoneError(
            f"{len(query_vectors)} vectors for {len(query_ids)} queries and {len(product_vectors)} vectors for "
            f"{len(product_ids)} products; every row needs its vector"
        )
    if query_vectors.shape[1] != product_vectors.shape[1]:
        raise WhetstoneError(f"query vectors have {query_vectors.shape[1]} dimensions, product vectors {product_vectors.shape[1]}")
    order = tie_order(product_ids)
    slack = SLACK * float(_longest(query_vectors) * _longest(product_vectors))
    if not np.isfinite(slack):
        raise WhetstoneError("a vector holds values that are not finite numbers; encode the texts again")
    hits: list[Hits] = []
    for first in range(0, len(query_ids), query_block):
        queries = query_vectors[first : first + query_block]
        kept: list[Hits] = [(np.empty(0, dtype=np.intp), np.empty(0, dtype=np.float32))] * len(queries)
        for start in range(0, len(product_ids), product_block):
            scores = queries @ product_vectors[start : start + product_block].T
            kept = [_candidates(old, start, row, k, slack) for old, row in zip(kept, scores, strict=True)]
        hits.extend(_rescore(query, product_vectors, positions, order, k) for query, (positions, _) in zip(queries, kept, strict=True))
    return run_frame(query_ids, product_ids, hits)


def _candidates(old: Hits, start: int, scores: npt.NDArray[np.float32], k: int, slack: float) -> Hits:
    """What may be among the k best of a query's earlier candidates and one more block of products, which begins at `start`."""
    new = np.arange(start, start + len(scores)) if len(scores) <= k else _near_best(scores, k, slack) + start
    positions, merged = np.concatenate([old[0], new]), np.concatenate([old[1], scores[new - start]])
    if len(merged) <= k:
        return positions, merged
    near = _near_best(merged, k, slack)
    return positions[near], merged[near]


def _near_best(scores: npt.NDArray[np.float32], k: int, slack: float) -> npt.NDArray[np.intp]:
    """Positions of scores no further than `slack` under the k-th best; there are more than k scores."""
    return np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k] - slack)


def _rescore(
    query: npt.NDArray[np.float32], products: npt.NDArray[np.float32], positions: npt.NDArray[np.intp], order: npt.NDArray[np.intp], k: int
) -> Hits:
    """The k best candidates by inner products in float64; a row's sum doesn't depend on the rows around it."""
    scores = (products[positions].astype(np.float64) * query.astype(np.float64)).sum(axis=1)
    chosen = best(scores, order[positions], k)
    return positions[chosen], scores[chosen]


def _longest(vectors: npt.NDArray[np.float32]) -> float:
    """Length of the longest vector, 0 if there is none."""
    return float(np.sqrt(np.einsum("nd,nd->n", vectors, vectors).max(initial=0.0)))
