from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from whetstone.catalog import routing
from whetstone.catalog.routing import route
from whetstone.platform.errors import WhetstoneError

PRODUCTS = pd.DataFrame(
    [
        ("p1", "garden", "steel spade"),
        ("p2", "garden", "garden rake"),
        ("p3", "toys", "toy spade for children"),
        ("p4", "kitchen", "chef knife"),
        ("p5", "garden", "garden hose"),
    ],
    columns=["product_id", "category", "text"],
)


def queries(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["query_id", "text", "split"])


def judgments(*rows: tuple[str, str, int]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["query_id", "product_id", "grade"])


def engagement(*rows: tuple[str, str, int, int, int]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["query_id", "product_id", "clicks", "add_to_carts", "purchases"])


def routes(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    return [(row.query_id, row.category, round(row.probability, 6), row.method) for row in frame.itertuples()]


def test_judged_queries_go_where_the_relevant_products_are_weighted_by_grade() -> None:
    found = route(
        queries(("q1", "spade", "train")),
        judgments(("q1", "p1", 4), ("q1", "p2", 2), ("q1", "p3", 2), ("q1", "p4", 0), ("q1", "gone", 4)),
        engagement(("q1", "p4", 9, 9, 9)),
        PRODUCTS,
    )
    assert routes(found) == [("q1", "garden", 0.75, "judged"), ("q1", "toys", 0.25, "judged")]


def test_engaged_queries_go_where_shoppers_acted() -> None:
    found = route(
        queries(("q1", "spade", "train")),
        judgments(("q1", "p4", 0)),
        engagement(("q1", "p1", 2, 1, 0), ("q1", "p3", 1, 0, 0), ("q1", "p4", 0, 0, 0)),
        PRODUCTS,
    )
    assert routes(found) == [("q1", "garden", 0.75, "engaged"), ("q1", "toys", 0.25, "engaged")]


def test_judgments_of_test_queries_are_never_used() -> None:
    asked = queries(("q1", "garden rake", "test"), ("q2", "garden rake", "test"))
    leaking = judgments(("q1", "p4", 4), ("q2", "p4", 4))
    acted = engagement(("q2", "p3", 1, 0, 0))
    found = route(asked, leaking, acted, PRODUCTS)
    assert routes(found) == routes(route(asked, judgments(), acted, PRODUCTS))
    assert "kitchen" not in set(found["category"])
    assert found.groupby("query_id")["method"].first().to_dict() == {"q1": "nearest", "q2": "engaged"}


def test_other_queries_go_to_their_nearest_products_even_misspelt() -> None:
    found = route(queries(("q1", "chefs knive", "train"), ("q2", "SPADE", "test")), judgments(), engagement(), PRODUCTS)
    best = found.groupby("query_id").first()
    assert best.loc["q1", "category"] == "kitchen"
    assert best.loc["q2", "category"] == "garden"  # the shorter text about spades is nearer
    assert set(found.loc[found["query_id"] == "q2", "category"]) == {"garden", "toys"}


def test_queries_like_nothing_go_to_the_largest_category() -> None:
    found = route(queries(("q1", "🍵", "train"), ("q2", "", "dev")), judgments(), engagement(), PRODUCTS)
    assert routes(found) == [("q1", "garden", 1.0, "nearest"), ("q2", "garden", 1.0, "nearest")]


def test_unlikely_categories_are_dropped_and_the_rest_renormalised(monkeypatch: pytest.MonkeyPatch) -> None:
    products = pd.DataFrame([(str(i), f"c{i}", "x") for i in range(6)], columns=["product_id", "category", "text"])
    graded = judgments(*((f"q{q}", str(i), g) for q, grades in enumerate([(4, 4, 4, 4, 4, 4), (40, 4, 1)]) for i, g in enumerate(grades)))
    asked = queries(("q0", "x", "train"), ("q1", "x", "train"))
    monkeypatch.setattr(routing, "MIN_PROBABILITY", 0.05)
    assert routes(route(asked, graded, engagement(), products)) == [
        ("q0", "c0", 0.333333, "judged"),
        ("q0", "c1", 0.333333, "judged"),
        ("q0", "c2", 0.333333, "judged"),
        ("q1", "c0", round(40 / 44, 6), "judged"),
        ("q1", "c1", round(4 / 44, 6), "judged"),
    ]
    # Below the floor everywhere, the best is kept.
    monkeypatch.setattr(routing, "MIN_PROBABILITY", 0.5)
    assert routes(route(asked, graded, engagement(), products))[0] == ("q0", "c0", 1.0, "judged")


def test_an_empty_catalog_is_refused() -> None:
    with pytest.raises(WhetstoneError, match="no products"):
        route(queries(("q1", "x", "train")), judgments(), engagement(), PRODUCTS.iloc[:0])


def test_no_queries_give_no_routes() -> None:
    assert list(route(queries(), judgments(), engagement(), PRODUCTS).columns) == ["query_id", "category", "probability", "method"]


@pytest.mark.parametrize("neighbours", [1, 2, 5])
def test_votes_are_scikit_learns_cosines_in_chunks_or_whole(monkeypatch: pytest.MonkeyPatch, neighbours: int) -> None:
    # Whole words of the catalog: all their n-grams have been seen, as TfidfVectorizer needs for the same query norms.
    asked = queries(("q1", "spade for garden", "train"), ("q2", "toy Knife", "train"), ("q3", "garden", "dev"))
    cosines = np.zeros((len(asked), len(PRODUCTS)))
    for options in ({}, {"analyzer": "char_wb", "ngram_range": (3, 4)}):
        vectorizer = TfidfVectorizer(**options).fit(PRODUCTS["text"])
        cosines += (vectorizer.transform(asked["text"]) @ vectorizer.transform(PRODUCTS["text"]).T).toarray() / 2
    expected = []
    for query_id, row in zip(asked["query_id"], cosines, strict=True):
        best = sorted(range(len(row)), key=lambda product: (-row[product], product))[:neighbours]
        votes = pd.Series(row[best]).groupby(PRODUCTS["category"].to_numpy()[best]).sum()
        expected += [(query_id, name, share) for name, share in (votes[votes > 0] / votes.sum()).items()]

    monkeypatch.setattr(routing, "MAX_CATEGORIES", 9)
    monkeypatch.setattr(routing, "MIN_PROBABILITY", 0)
    for chunk in (2, 10_000):
        monkeypatch.setattr(routing, "_CHUNK", chunk)
        monkeypatch.setattr(routing, "_BLOCK", chunk)
        found = route(asked, judgments(), engagement(), PRODUCTS, neighbours=neighbours)
        by_name = found.sort_values(["query_id", "category"])
        assert list(zip(by_name["query_id"], by_name["category"], strict=True)) == [pair[:2] for pair in sorted(expected)]
        assert by_name["probability"].to_numpy() == pytest.approx([pair[2] for pair in sorted(expected)], abs=1e-5)


def test_equally_near_products_vote_in_the_order_of_their_ids() -> None:
    twins = pd.DataFrame([(f"p{i}", f"c{9 - i}", "same text") for i in range(9)], columns=["product_id", "category", "text"])
    for shuffled in (twins, twins.sample(frac=1, random_state=3)):
        found = route(queries(("q1", "same text", "test")), judgments(), engagement(), shuffled, neighbours=2)
        assert routes(found) == [("q1", "c8", 0.5, "nearest"), ("q1", "c9", 0.5, "nearest")]


@settings(max_examples=12, deadline=None)
@given(
    texts=st.lists(st.text(alphabet="ab 🍵'", max_size=6), max_size=5),
    pairs=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6), st.integers(0, 4)), max_size=12, unique_by=lambda pair: pair[:2]),
    seed=st.integers(0, 9),
)
def test_every_query_is_routed_and_the_order_of_rows_does_not_matter(
    texts: list[str], pairs: list[tuple[int, int, int]], seed: int
) -> None:
    asked = queries(*((f"q{i}", text, ("train", "dev", "test")[i % 3]) for i, text in enumerate(texts)))
    graded = judgments(*((f"q{q}", f"p{p}", grade) for q, p, grade in pairs))
    found = route(asked, graded, engagement(), PRODUCTS)
    assert set(found["query_id"]) == set(asked["query_id"])
    assert found.groupby("query_id")["probability"].sum().to_numpy() == pytest.approx(np.ones(len(asked)))
    assert found.groupby("query_id").size().max() <= 3 or asked.empty
    assert not found.duplicated(["query_id", "category"]).any()
    mixed = [frame.sample(frac=1, random_state=seed) for frame in (asked, graded, PRODUCTS)]
    pd.testing.assert_frame_equal(found, route(mixed[0], mixed[1], engagement(), mixed[2]))
