"""Token-similar candidates: products that share words with a query although no channel finds them ([A] section 3).

TF-IDF cosine between query and product text in [low, high], idf fitted on the category's product text, term frequency
1 + log(tf). Under `low` the pair is too easy, over `high` it is likely relevant. Every filter counts what it removed.
[A] is arXiv 2606.23911.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from whetstone.retrieval.ranking import Hits, best, run_frame, tie_order

QUERY_BLOCK = 256
COUNTS = ("too_far", "too_close", "found_by_a_channel", "over_per_query")


def token_similar(
    products: pd.DataFrame,
    queries: pd.DataFrame,
    found: pd.DataFrame,
    low: float = 0.2,
    high: float = 0.6,
    per_query: int = 25,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Pairs with a cosine in [low, high] that no channel found, the closest first.

    Args:
        products: product_id, text.
        queries: query_id, text.
        found: query_id, product_id of the union of all channels' runs; other queries and products in it are ignored.
        low: least cosine.
        high: greatest cosine.
        per_query: most pairs of a query.

    Returns:
        query_id, product_id, cosine; ordered by query_id, -cosine, product_id. And how many of the pairs that share a
        word were dropped for each reason: too_far (under low), too_close (over high), found_by_a_channel,
        over_per_query.
    """
    product_ids, query_ids = list(products["product_id"]), list(queries["query_id"])
    dropped = dict.fromkeys(COUNTS, 0)
    order = tie_order(product_ids)
    known = _found_matrix(found, query_ids, product_ids)
    hits: list[Hits] = []
    for block, similar in _cosines(list(products["text"]), list(queries["text"])):
        for row in range(similar.shape[0]):
            positions = similar.indices[similar.indptr[row] : similar.indptr[row + 1]]
            cosines = similar.data[similar.indptr[row] : similar.indptr[row + 1]]
            start, end = known.indptr[block + row : block + row + 2]
            too_far, too_close = cosines < low, cosines > high
            fits = ~(too_far | too_close)
            taken = fits & np.isin(positions, known.indices[start:end])
            kept = np.flatnonzero(fits & ~taken)
            chosen = kept[best(cosines[kept], order[positions[kept]], per_query)] if per_query else kept[:0]
            hits.append((positions[chosen], cosines[chosen]))
            removed = (too_far.sum(), too_close.sum(), taken.sum(), len(kept) - len(chosen))
            for reason, count in zip(COUNTS, removed, strict=True):
                dropped[reason] += int(count)
    run = run_frame(query_ids, product_ids, hits or [(np.empty(0, dtype=np.intp), np.empty(0))] * len(query_ids))
    return run.rename(columns={"score": "cosine"})[["query_id", "product_id", "cosine"]], dropped


def _cosines(products: list[str], queries: list[str]) -> Iterator[tuple[int, sparse.csr_array]]:
    """Of each block of queries: position of the first, and TF-IDF cosines (block, n_products)."""
    vectoriser = TfidfVectorizer(sublinear_tf=True)
    try:
        product_vectors = vectoriser.fit_transform(products).T.tocsr()
    except ValueError:  # sklearn's "empty vocabulary": no product text has a word of two letters, so nothing is similar
        return
    for start in range(0, len(queries), QUERY_BLOCK):
        yield start, sparse.csr_array(vectoriser.transform(queries[start : start + QUERY_BLOCK]) @ product_vectors)


def _found_matrix(found: pd.DataFrame, query_ids: list[str], product_ids: list[str]) -> sparse.csr_array:
    """Which pairs a channel found, (n_queries, n_products)."""
    rows = pd.Index(query_ids).get_indexer(pd.Index(found["query_id"]))
    columns = pd.Index(product_ids).get_indexer(pd.Index(found["product_id"]))
    inside = (rows >= 0) & (columns >= 0)
    pairs = (np.ones(inside.sum(), dtype=bool), (rows[inside], columns[inside]))
    return sparse.csr_array(pairs, shape=(len(query_ids), len(product_ids)))
