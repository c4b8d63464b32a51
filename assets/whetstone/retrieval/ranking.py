"""From scores to a run: exact top k with one tie rule, (-score, product_id), everywhere.

A run is a frame query_id, product_id, rank (1-based, no gaps), score, ordered by query_id and rank. Libraries cut ties
as their partition happens to leave them; here a group of equal scores that straddles rank k is cut by product_id, so
that a run depends on what is in the catalog and not on its order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from whetstone.platform.errors import WhetstoneError

Hits = tuple[npt.NDArray[np.intp], npt.NDArray[np.floating]]
"""Positions of a query's products, best first, and their scores."""


def top_k(
    scores: npt.NDArray[np.floating] | sparse.sparray | sparse.spmatrix,
    product_ids: Sequence[str],
    query_ids: Sequence[str],
    k: int,
    *,
    drop_non_positive: bool,
) -> pd.DataFrame:
    """The k best products of every query, as a run.

    Args:
        scores: (n_queries, n_products), an array, or scipy sparse: what isn't stored wasn't found.
        product_ids: n_products distinct ids.
        query_ids: n_queries distinct ids.
        k: most products a query keeps.
        drop_non_positive: leave out scores <= 0 (a lexical score of 0 means "not found"); a sparse matrix needs it.

    Returns:
        query_id, product_id, rank, score; ordered by query_id, rank.

    Raises:
        WhetstoneError: the shape doesn't fit the ids, an id is repeated, a score isn't finite, or k < 1.
    """
    if scores.shape != (len(query_ids), len(product_ids)):
        raise WhetstoneError(f"scores have shape {scores.shape}, but there are {len(query_ids)} queries and {len(product_ids)} products")
    if k < 1:
        raise WhetstoneError(f"a run keeps at least one product per query; got a depth of {k}")
    order = tie_order(product_ids)
    hits: list[Hits] = []
    if sparse.issparse(scores):
        if not drop_non_positive:
            raise WhetstoneError("a sparse score matrix doesn't hold its zeros; pass drop_non_positive=True or a dense array")
        rows = sparse.csr_array(scores)
        for start, end in zip(rows.indptr[:-1], rows.indptr[1:], strict=True):
            hits.append(_row_hits(rows.indices[start:end], rows.data[start:end], order, k, drop_non_positive))
    else:
        columns = np.arange(len(product_ids))
        for row in scores:
            hits.append(_row_hits(columns, row, order, k, drop_non_positive))
    return run_frame(query_ids, product_ids, hits)


def tie_order(product_ids: Sequence[str]) -> npt.NDArray[np.intp]:
    """Place of each product in the order of ids (by code point, as DuckDB sorts), (n_products,); refuses repeats."""
    ids = np.asarray(product_ids, dtype=object)
    by_id = np.argsort(ids, kind="stable")
    _refuse_repeats(ids[by_id], "product")
    order = np.empty(len(ids), dtype=np.intp)
    order[by_id] = np.arange(len(ids))
    return order


def best(scores: npt.NDArray[np.floating], order: npt.NDArray[np.intp], k: int) -> npt.NDArray[np.intp]:
    """Positions of the k best scores, best first, ties by `order`; both (n,), the result (min(n, k),)."""
    kept = np.arange(len(scores))
    if len(scores) > k:
        floor = np.partition(scores, len(scores) - k)[len(scores) - k]
        above = np.flatnonzero(scores > floor)
        tied = np.flatnonzero(scores == floor)  # the group that straddles k: as many as are still missing, lowest ids first
        missing = k - len(above)
        if len(tied) > missing:
            tied = tied[np.argpartition(order[tied], missing - 1)[:missing]]
        kept = np.concatenate([above, tied])
    return kept[np.lexsort((order[kept], -scores[kept]))]


def run_frame(query_ids: Sequence[str], product_ids: Sequence[str], hits: Iterable[Hits]) -> pd.DataFrame:
    """A run from each query's hits, in the order of `query_ids`; repeated query ids raise WhetstoneError."""
    queries, products = np.asarray(query_ids, dtype=object), np.asarray(product_ids, dtype=object)
    by_id = np.argsort(queries, kind="stable")
    _refuse_repeats(queries[by_id], "query")
    ranked = list(hits)
    ordered = [ranked[position] for position in by_id]
    counts = [len(positions) for positions, _ in ordered]
    found = np.concatenate([np.empty(0, dtype=np.intp), *(positions for positions, _ in ordered)])
    return pd.DataFrame(
        {
            "query_id": np.repeat(queries[by_id], counts),
            "product_id": products[found],
            "rank": np.concatenate([np.empty(0, dtype=np.int64), *(np.arange(1, count + 1) for count in counts)]),
            "score": np.concatenate([np.empty(0), *(scores for _, scores in ordered)]).astype(np.float64),
        }
    )


def _row_hits(
    positions: npt.NDArray[np.intp],
    scores: npt.NDArray[np.floating],
    order: npt.NDArray[np.intp],
    k: int,
    drop_non_positive: bool,
) -> Hits:
    if not np.isfinite(scores).all():
        raise WhetstoneError("a channel gave a score that is not a finite number; rank only finite scores")
    if drop_non_positive:
        found = scores > 0
        positions, scores = positions[found], scores[found]
    chosen = best(scores, order[positions], k)
    return positions[chosen], scores[chosen]


def _refuse_repeats(ordered: npt.NDArray[np.object_], what: str) -> None:
    repeated = np.flatnonzero(ordered[1:] == ordered[:-1])
    if len(repeated):
        raise WhetstoneError(f"{what} id {ordered[repeated[0]]!r} occurs twice in one ranking; keep one row per {what}")
