"""From scores to a run: exact top k with one tie rule, (-score, product_id), everywhere.

A run is a frame query_id, product_id, rank (1-based, no gaps), score, ordered by query_id and rank. Libraries cut ties as their
partition happens to leave them; here a group of equal scores that straddles rank k is cut by product_id, so that a run depends on
what is in the catalog and not on its order.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from whetstone.platform.errors import WhetstoneError

Positions = npt.NDArray[np.intp]
Hits = tuple[Positions, npt.NDArray[np.floating]]  # positions of products that a query found, and their scores


def top_k(found: Iterable[Hits], product_ids: Sequence[str], query_ids: Sequence[str], k: int) -> pd.DataFrame:
    """The run of the k best products that each query found, hits in any order, perhaps a generator; WhetstoneError: an id is repeated."""
    order = _places(product_ids, "product")
    hits = [_best(positions, scores, order, k) for positions, scores in found]
    by_id = np.argsort(_places(query_ids, "query"))
    counts = np.array([len(hits[query][0]) for query in by_id], dtype=int)
    places = np.concatenate([by_id[:0], *(hits[query][0] for query in by_id)])
    scores = np.concatenate([np.empty(0), *(hits[query][1] for query in by_id)])
    queries, products = (np.asarray(ids, dtype=object) for ids in (query_ids, product_ids))
    run = pd.DataFrame({"query_id": np.repeat(queries[by_id], counts), "product_id": products[places], "score": scores})
    run.insert(2, "rank", run.groupby("query_id", sort=False).cumcount() + 1)
    return run


def ndcg(ranked: pd.DataFrame, judged: pd.DataFrame, k: int) -> pd.Series:
    """NDCG@k of each query that can have one: a judged product with a gain above 0.

    `ranked` are a run's pairs (query_id, rank, gain; NaN or no row for an unjudged product), `judged` all that could be found (query_id,
    gain). DCG@k = sum over ranks r <= k of gain / log2(r + 1), NDCG@k its share of the best order's.
    """
    best = judged.sort_values("gain", ascending=False, ignore_index=True)
    ideal = _dcg(best.assign(rank=best.groupby("query_id").cumcount() + 1), k)
    ideal = ideal[ideal > 0]
    return _dcg(ranked, k).reindex(ideal.index, fill_value=0.0) / ideal


def _dcg(ranked: pd.DataFrame, k: int) -> pd.Series:
    discounted = ranked["gain"] / np.log2(ranked["rank"] + 1)
    found: pd.Series = discounted[ranked["rank"] <= k].groupby(ranked["query_id"]).sum()
    return found


def _places(ids: Sequence[str], what: str) -> Positions:
    """Place of each id in their order (by code point, as DuckDB sorts), (n,)."""
    places, distinct = pd.factorize(np.asarray(ids, dtype=object), sort=True)
    if len(distinct) < len(ids):
        repeated = ids[int(np.argmax(pd.Series(places).duplicated()))]
        raise WhetstoneError(f"{what} id {repeated!r} occurs twice in one ranking; keep one row per {what}")
    return places


def _best(positions: Positions, scores: npt.NDArray[np.floating], order: Positions, k: int) -> Hits:
    if len(scores) > k:
        able = scores >= np.partition(scores, -k)[-k]  # with all of the group that straddles rank k
        positions, scores = positions[able], scores[able]
    chosen = np.lexsort((order[positions], -scores))[:k]
    return positions[chosen], scores[chosen]
