from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from whetstone.platform.errors import WhetstoneError
from whetstone.retrieval.ranking import top_k

few_scores = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 2.0])  # few values, so that ties straddle every depth
matrices = st.tuples(st.integers(0, 4), st.integers(0, 12)).flatmap(lambda shape: arrays(np.float64, shape, elements=few_scores))


def ids(count: int, letter: str) -> list[str]:
    return [f"{letter}{(7 * number) % 13}-{number}" for number in range(count)]


def ranked(scores: np.ndarray, products: Sequence[str], queries: Sequence[str], k: int, *, drop: bool) -> pd.DataFrame:
    """`top_k` of what each row of a matrix found: all of it, or what is above zero."""
    found = (np.flatnonzero((row > 0) | (not drop)) for row in scores)
    return top_k([(positions, row[positions]) for positions, row in zip(found, scores, strict=True)], products, queries, k)


def sort_everything(
    scores: np.ndarray, products: Sequence[str], queries: Sequence[str], k: int, drop: bool
) -> list[tuple[str, str, int, float]]:
    rows = []
    for query, row in sorted(zip(queries, scores, strict=True), key=lambda pair: pair[0]):
        pairs = sorted((-score, product) for product, score in zip(products, row, strict=True) if score > 0 or not drop)
        rows += [(query, product, rank, -score) for rank, (score, product) in enumerate(pairs[:k], start=1)]
    return rows


@settings(deadline=None, max_examples=60)
@given(matrices, st.integers(1, 14), st.booleans())
def test_top_k_is_a_full_sort_cut_at_k(scores: np.ndarray, k: int, drop: bool) -> None:
    queries, products = ids(scores.shape[0], "q"), ids(scores.shape[1], "p")
    run = ranked(scores, products, queries, k, drop=drop)
    assert list(run.itertuples(index=False, name=None)) == sort_everything(scores, products, queries, k, drop)


@settings(deadline=None, max_examples=60)
@given(matrices, st.integers(1, 14), st.randoms(use_true_random=False))
def test_the_order_of_the_catalog_and_of_the_queries_does_not_matter(scores: np.ndarray, k: int, random: object) -> None:
    queries, products = ids(scores.shape[0], "q"), ids(scores.shape[1], "p")
    rows, columns = list(range(len(queries))), list(range(len(products)))
    random.shuffle(rows)  # type: ignore[attr-defined]
    random.shuffle(columns)  # type: ignore[attr-defined]
    shuffled = ranked(scores[rows][:, columns], [products[c] for c in columns], [queries[r] for r in rows], k, drop=True)
    pd.testing.assert_frame_equal(shuffled, ranked(scores, products, queries, k, drop=True))


@settings(deadline=None, max_examples=60)
@given(matrices, st.integers(1, 13))
def test_a_deeper_run_begins_with_the_shallower_one(scores: np.ndarray, k: int) -> None:
    queries, products = ids(scores.shape[0], "q"), ids(scores.shape[1], "p")
    deep = ranked(scores, products, queries, k + 1, drop=False)
    shallow = ranked(scores, products, queries, k, drop=False)
    pd.testing.assert_frame_equal(deep[deep["rank"] <= k].reset_index(drop=True), shallow)


def test_hostile_ids_are_ranked_by_code_point() -> None:
    products = ["a\nb", "🦄", "a'b", "a,b", "", "../x"]
    run = ranked(np.ones((1, 6)), products, ["q'\n"], 6, drop=True)
    assert list(run["product_id"]) == sorted(products)


def test_an_empty_run_keeps_the_columns_and_their_types() -> None:
    run = ranked(np.zeros((1, 1)), ["p"], ["q"], 5, drop=True)
    assert len(run) == 0
    assert run.dtypes.astype(str).to_dict() == {"query_id": "object", "product_id": "object", "rank": "int64", "score": "float64"}


@pytest.mark.parametrize(
    ("products", "queries", "message"),
    [(["p", "p"], ["q"], "product id 'p' occurs twice"), (["p"], ["q", "q"], "query id 'q' occurs twice")],
)
def test_what_can_not_be_ranked_is_refused(products: list[str], queries: list[str], message: str) -> None:
    with pytest.raises(WhetstoneError, match=message):
        ranked(np.ones((len(queries), len(products))), products, queries, 1, drop=False)


def test_the_run_of_no_queries_is_empty() -> None:
    assert top_k([], ["p"], [], 1).empty
