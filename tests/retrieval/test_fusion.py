import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whetstone.platform.errors import WhetstoneError
from whetstone.retrieval.fusion import rrf


def run_of(*products: str, query: str = "q") -> pd.DataFrame:
    return pd.DataFrame({"query_id": query, "product_id": list(products), "rank": range(1, len(products) + 1), "score": 1.0})


def test_the_scores_are_those_of_the_paper() -> None:
    fused = rrf([run_of("a", "b"), run_of("b", "c")])
    assert list(fused["product_id"]) == ["b", "a", "c"]
    assert list(fused["score"]) == pytest.approx([1 / 62 + 1 / 61, 1 / 61, 1 / 62])
    assert list(fused["rank"]) == [1, 2, 3]


orders = st.lists(st.permutations(list("abcdefg")), min_size=1, max_size=4)


@settings(deadline=None, max_examples=30)
@given(orders)
def test_the_order_of_the_runs_does_not_matter(lists: list[list[str]]) -> None:
    runs = [run_of(*products) for products in lists]
    pd.testing.assert_frame_equal(rrf(runs[::-1]), rrf(runs))


@settings(deadline=None, max_examples=30)
@given(orders, st.integers(1, 8))
def test_depth_cuts_and_nothing_else(lists: list[list[str]], depth: int) -> None:
    runs = [run_of(*products) for products in lists]
    full = rrf(runs)
    pd.testing.assert_frame_equal(rrf(runs, depth=depth), full.head(depth))


def test_equal_sums_tie_by_product_id() -> None:
    assert list(rrf([run_of("z", "m", "a"), run_of("a", "m", "z")])["product_id"]) == ["a", "z", "m"]


def test_sums_that_differ_only_by_the_order_of_addition_tie() -> None:
    ranks = {"a": (1, 2, 7), "b": (2, 7, 1), "c": (7, 1, 2)}  # in float64, these three sums aren't equal
    runs = [
        pd.DataFrame({"query_id": "q", "product_id": list(ranks), "rank": list(column)}) for column in zip(*ranks.values(), strict=True)
    ]
    fused = rrf(runs)
    assert list(fused["product_id"]) == ["a", "b", "c"]
    assert fused["score"].nunique() == 1


def test_one_run_keeps_its_order_and_queries_stay_apart() -> None:
    both = pd.concat([run_of("b", "a", query="q2"), run_of("a", "b", query="q1")])
    fused = rrf([both])
    assert list(fused["query_id"] + fused["product_id"]) == ["q1a", "q1b", "q2b", "q2a"]


def test_a_run_that_found_nothing_changes_nothing() -> None:
    pd.testing.assert_frame_equal(rrf([run_of("a"), run_of()]), rrf([run_of("a")]))


def test_no_runs_are_refused() -> None:
    with pytest.raises(WhetstoneError, match="at least one run"):
        rrf([])
