from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whetstone.platform.errors import WhetstoneError
from whetstone.retrieval.channels import ChannelInputs
from whetstone.retrieval.dense import exact_search, search


def unit(rng: np.random.Generator, count: int, dimension: int = 8) -> np.ndarray:
    vectors = rng.normal(size=(count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def names(letter: str, count: int) -> list[str]:
    return [f"{letter}{number:03}" for number in range(count)]


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 150))
def test_blocks_of_any_size_give_the_run_of_one_block(seed: int, k: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    queries, products = unit(rng, 5), np.repeat(unit(rng, 10), 3, axis=0)  # threefold vectors: ties everywhere
    whole = exact_search(queries, products, names("q", 5), names("p", 30), k)
    parts = exact_search(queries, products, names("q", 5), names("p", 30), k, block=block)
    pd.testing.assert_frame_equal(whole, parts)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 35))
def test_it_is_a_full_sort_by_cosine(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    queries, products = unit(rng, 3), unit(rng, 30)
    run = exact_search(queries, products, names("q", 3), names("p", 30), k)
    for query_id, vector in zip(names("q", 3), queries, strict=True):
        mine = run[run["query_id"] == query_id]
        cosines = np.sort(products.astype(float) @ vector.astype(float))[::-1][:k]
        np.testing.assert_allclose(mine["score"], cosines, rtol=1e-12, atol=1e-15)
        assert list(mine["rank"]) == list(range(1, min(k, 30) + 1))


def test_equal_vectors_tie_wherever_they_lie() -> None:
    rng = np.random.default_rng(3)
    products = np.repeat(unit(rng, 1, 384), 1001, axis=0)
    run = exact_search(unit(rng, 3, 384), products, names("q", 3), [f"p{number:04}" for number in range(1001)], 7, block=2002)
    assert list(run["product_id"]) == names("p0", 7) * 3
    assert (run.groupby("query_id")["score"].nunique() == 1).all()


def test_negative_cosines_are_kept() -> None:
    run = exact_search(np.array([[1.0, 0.0]], np.float32), np.array([[-1.0, 0.0], [0.0, 1.0]], np.float32), ["q"], ["a", "b"], 5)
    assert list(zip(run["product_id"], run["score"], strict=True)) == [("b", 0.0), ("a", -1.0)]


def test_search_pairs_the_vectors_with_the_frames(shop: pd.DataFrame, make_inputs: Callable[..., ChannelInputs]) -> None:
    vectors = np.eye(len(shop), dtype=np.float32)
    embedder = SimpleNamespace(queries=lambda texts: vectors[[2] * len(texts)], products=lambda products: vectors[: len(products)])
    inputs = replace(make_inputs(shop, ["third"]), embedder=embedder)
    assert list(search(inputs, 1)["product_id"]) == [shop["product_id"][2]]


def test_no_products_give_an_empty_run() -> None:
    assert exact_search(np.ones((1, 4), np.float32), np.ones((0, 4), np.float32), ["q"], [], 5).empty


@pytest.mark.parametrize(
    ("queries", "products", "message"),
    [
        (np.ones((2, 4)), np.ones((1, 4)), "every row needs its vector"),
        (np.ones((1, 4)), np.ones((2, 4)), "every row needs its vector"),
        (np.ones((1, 4)), np.ones((1, 3)), "4 dimensions, product vectors 3"),
        (np.full((1, 4), np.nan), np.ones((1, 4)), "not finite"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(queries: np.ndarray, products: np.ndarray, message: str) -> None:
    with pytest.raises(WhetstoneError, match=message):
        exact_search(queries.astype(np.float32), products.astype(np.float32), ["q"], ["p"], 1)
