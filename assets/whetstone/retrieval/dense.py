"""Channel `dense`: cosine of unit vectors, exact search by matrix products.

Exact on purpose: mining lives on who did *not* find a product, and an approximate index would add its own misses. Measured at 43 k x 384
on 2 cores, BLAS answers five times as many queries as an exact vector index. Blocks over queries and products bound the memory, whatever
the size of the catalog.
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
DECIMALS = 6
"""Equal vectors may differ in the last bit by where they lie in a block; rounding makes them tie, so that product_id decides."""


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
        A run: query_id, product_id, rank, score (rounded to 6 decimals, may be negative); ties by (-score, product_id).

    Raises:
        WhetstoneError: the vectors don't fit the ids or each other, or a score isn't finite.
    """
    if len(query_vectors) != len(query_ids) or len(product_vectors) != len(product_ids):
        raise WhetstoneError(
            f"{len(query_vectors)} query vectors for {len(query_ids)} queries and {len(product_vectors)} product vectors for "
            f"{len(product_ids)} products; every row needs its vector"
        )
    if query_vectors.shape[1] != product_vectors.shape[1]:
        raise WhetstoneError(
            f"query vectors have {query_vectors.shape[1]} dimensions, product vectors {product_vectors.shape[1]}"
        )
    order = tie_order(product_ids)
    hits: list[Hits] = []
    for first in range(0, len(query_ids), query_block):
        queries = query_vectors[first : first + query_block]
        kept: list[Hits] = [(np.empty(0, dtype=np.intp), np.empty(0, dtype=np.float32))] * len(queries)
        for start in range(0, len(product_ids), product_block):
            scores = np.round(queries @ product_vectors[start : start + product_block].T, DECIMALS)
            if not np.isfinite(scores).all():
                raise WhetstoneError("a vector holds values that are not finite numbers; encode the texts again")
            kept = [_merge(old, start, row, order, k) for old, row in zip(kept, scores, strict=True)]
        hits.extend(kept)
    return run_frame(
        query_ids, product_ids, [(positions, np.round(scores.astype(float), DECIMALS)) for positions, scores in hits]
    )


def _merge(old: Hits, start: int, scores: npt.NDArray[np.float32], order: npt.NDArray[np.intp], k: int) -> Hits:
    """The k best of what a query had and of one more block of products, which begins at position `start`."""
    new = best(scores, order[start : start + len(scores)], k)
    positions = np.concatenate([old[0], new + start])
    merged = np.concatenate([old[1], scores[new]])
    chosen = best(merged, order[positions], k)
    return positions[chosen], merged[chosen]
