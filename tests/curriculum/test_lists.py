"""Listwise rows: the four shapes, equal shares, absent places, twins, the union, and that queries don't know of each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whetstone.curriculum.instances import text_columns
from whetstone.curriculum.lists import list_instances
from whetstone.curriculum.material import Material

Pair = tuple[str, str, int]  # query, product, label
NOTHING = pd.DataFrame(columns=["query_id", "product_id"])
HOSTILE = ["plain", 'it\'s "quoted"', "comma, semi;", "new\nline", "emoji \U0001f600", "../../path", "x" * 300, "\0zero"]


def labelled(pairs: Iterable[Pair]) -> pd.DataFrame:
    return pd.DataFrame(pairs, columns=["query_id", "product_id", "label"]).astype({"label": "int64"})


def material(graded: Iterable[Pair], mined: Iterable[Pair] = (), texts: dict[str, str] | None = None) -> Material:
    """Queries q0-q5 and products p0-p39, each with a text of its own unless `texts` says otherwise."""
    products = {f"p{number}": f"text of p{number}" for number in range(40)} | (texts or {})
    return Material(
        tiers=pd.DataFrame(columns=["query_id", "product_id", "tier", "grade", "split"]),
        queries=pd.DataFrame([(f"q{number}", f"query {number}") for number in range(6)], columns=["query_id", "text"]),
        products=pd.DataFrame(products.items(), columns=["product_id", "text"]),
        relevant=NOTHING,
        found=NOTHING,
        graded=labelled(graded),
        mined=labelled(mined),
    )


def build(shop: Material, **changes: Any) -> tuple[pd.DataFrame, dict[str, int]]:
    frame, counts = list_instances(shop, **{"seed": 1, "lists": "graded", "list_size": 6, "lists_per_query": 4, **changes})
    return frame, counts


def of(query: str, *counts: tuple[int, int], first: int = 0) -> list[Pair]:
    """Pairs of a query: (label, how many), products from `first` on."""
    labels = [label for label, count in counts for _ in range(count)]
    return [(query, f"p{first + place}", label) for place, label in enumerate(labels)]


@pytest.mark.parametrize(
    ("have", "expected"),
    [
        ({2: 9, 1: 9, 0: 9}, [2, 2, 1, 1, 0, 0]),
        ({2: 9, 0: 9}, [2, 2, 2, 0, 0, 0]),
        ({1: 9, 0: 9}, [1, 1, 1, 0, 0, 0]),
        ({2: 9, 1: 9}, [2, 2, 2, 1, 1, 1]),
        ({2: 1, 1: 1, 0: 9}, [2, 1, 0, 0, 0, 0]),  # what the others can't fill is the lowest label's
        ({2: 9, 0: 1}, [2, 2, 2, 0, -1, -1]),  # and what it can't fill either stays empty
        ({2: 1, 1: 1, 0: 1}, [2, 1, 0, -1, -1, -1]),
    ],
)
def test_each_label_has_an_equal_share_and_the_lowest_the_rest(have: dict[int, int], expected: list[int]) -> None:
    frame, counts = build(material(of("q0", *have.items())))
    assert frame["label"].iloc[0] == expected and not counts
    assert frame.columns.tolist() == ["query_id", "product_ids", "label", "query", *(f"item_{place}" for place in range(1, 7))]
    assert text_columns(frame) == ["query", *(f"item_{place}" for place in range(1, 7))]
    ids = frame["product_ids"].iloc[0]
    texts = frame[text_columns(frame)].iloc[0].tolist()
    assert texts == ["query 0", *(f"text of {product}" for product in ids), *["-"] * (6 - len(ids))]


def test_a_place_more_than_equal_shares_goes_to_the_lowest_label() -> None:
    frame, _ = build(material(of("q0", (2, 9), (1, 9), (0, 9))), list_size=8)
    assert frame["label"].iloc[0] == [2, 2, 1, 1, 0, 0, 0, 0]


def test_a_query_with_one_label_makes_no_instance_and_is_counted() -> None:
    graded = [*of("q0", (2, 5)), *of("q1", (0, 5)), *of("q2", (2, 1), (0, 1))]
    frame, counts = build(material(graded))
    assert frame["query_id"].tolist() == ["q2"]
    assert counts == {"query_with_one_label": 2}


def test_pairs_without_a_text_are_counted() -> None:
    frame, counts = build(material([*of("q0", (2, 1), (0, 1)), ("q0", "gone", 0), ("stranger", "p1", 2)]))
    assert set(frame["product_ids"].iloc[0]) == {"p0", "p1"}
    assert counts == {"query_or_product_without_text": 2}


def test_the_next_instance_of_a_query_has_the_next_products_and_goes_around() -> None:
    frame, _ = build(material(of("q0", (2, 2), (0, 22))), lists_per_query=9)
    assert len(frame) == 6  # 22 irrelevant ones, four at a time
    negatives = [ids[2:] for ids in frame["product_ids"]]
    assert all(set(ids[:2]) == {"p0", "p1"} for ids in frame["product_ids"])
    assert [len(ids) for ids in negatives] == [4] * 6
    assert len({product for ids in negatives[:5] for product in ids}) == 20  # nobody twice before all were seen
    assert len({product for ids in negatives for product in ids}) == 22
    assert len(build(material(of("q0", (2, 2), (0, 22))), lists_per_query=1)[0]) == 1
    around, _ = build(material(of("q0", (2, 9), (0, 2))), lists_per_query=9)
    assert len(around) == 3 and all(set(ids[3:]) == {"p9", "p10"} for ids in around["product_ids"])


def test_a_second_listing_of_a_better_product_is_left_out() -> None:
    texts = {"p1": "text of p0", "p2": "text of p0"}
    graded = [("q0", "p0", 2), ("q0", "p1", 1), ("q0", "p2", 0), ("q0", "p3", 0)]
    frame, counts = build(material(graded, texts=texts))
    assert frame["product_ids"].tolist() == [["p0", "p3"]] and frame["label"].iloc[0] == [2, 0, -1, -1, -1, -1]
    assert counts == {"same_text_as_a_better_product": 2}
    none, lost = build(material(graded[:3], texts=texts))  # and with it its label, so that only one is left
    assert none.empty and lost == {"same_text_as_a_better_product": 2, "query_with_one_label": 1}


def test_the_union_has_a_pair_once_with_the_label_that_it_was_mined_by() -> None:
    graded = [("q0", "p0", 2), ("q0", "p1", 0), ("q1", "p5", 1)]
    mined = [("q0", "p1", 1), ("q0", "p2", 0), ("q1", "p6", 0)]
    shop = material(graded, mined)

    def pairs(lists: str) -> set[Pair]:
        frame, _ = build(shop, lists=lists)
        rows = zip(frame["query_id"], frame["product_ids"], frame["label"], strict=True)
        return {(query, product, label) for query, ids, labels in rows for product, label in zip(ids, labels, strict=False)}

    assert pairs("graded") == {("q0", "p0", 2), ("q0", "p1", 0)}
    assert pairs("mined") == {("q0", "p1", 1), ("q0", "p2", 0)}
    assert pairs("union") == {("q0", "p0", 2), ("q0", "p1", 1), ("q0", "p2", 0), ("q1", "p5", 1), ("q1", "p6", 0)}


ROWS = st.lists(
    st.tuples(st.sampled_from([f"q{n}" for n in range(7)]), st.sampled_from([f"p{n}" for n in range(42)]), st.integers(0, 2)),
    max_size=80,
    unique_by=lambda row: row[:2],
)  # q6, p40 and p41 have no text
TWINS = st.dictionaries(st.sampled_from([f"p{n}" for n in range(40)]), st.sampled_from([f"text of p{n}" for n in range(4)]), max_size=8)


@settings(deadline=None, max_examples=60)
@given(ROWS, ROWS, TWINS, st.integers(3, 9), st.integers(1, 5), st.sampled_from(["graded", "mined", "union"]), st.integers(0, 3))
def test_every_instance_is_what_it_should_be(
    graded: list[Pair], mined: list[Pair], twins: dict[str, str], size: int, most: int, lists: str, seed: int
) -> None:
    shop = material(graded, mined, twins)
    frame, counts = build(shop, lists=lists, list_size=size, lists_per_query=most, seed=seed)
    used = {"graded": graded, "mined": mined, "union": [*graded, *mined]}[lists]  # a later one, the mined, overwrites
    label_of = {(query, product): label for query, product, label in used if query in shop.query_text and product in shop.product_text}
    text = shop.product_text
    for row in frame.itertuples():
        labels = row.label[: len(row.product_ids)]
        assert len(row.label) == size and row.label[len(labels) :] == [-1] * (size - len(labels))
        assert len(set(row.product_ids)) == len(row.product_ids)
        assert [label_of[row.query_id, product] for product in row.product_ids] == labels == sorted(labels, reverse=True)
        places = Counter(labels)
        lowest = min(places)
        assert len(places) > 1 and all(count <= size // len(places) for label, count in places.items() if label != lowest)
        texts = {label: {text[p] for p, of_p in zip(row.product_ids, labels, strict=True) if of_p == label} for label in places}
        assert sum(map(len, texts.values())) == len(set().union(*texts.values()))  # no text under two labels
        items = [getattr(row, f"item_{place}") for place in range(1, size + 1)]
        assert items == [text[product] for product in row.product_ids] + ["-"] * (size - len(labels))
        assert row.query == shop.query_text[row.query_id]
    per_query = frame["query_id"].value_counts()
    assert (per_query <= most).all() and frame["query_id"].is_monotonic_increasing
    assert len(per_query) + counts.get("query_with_one_label", 0) == len({query for query, _ in label_of})
    # each query alone gives the same rows: it doesn't know of the others
    for query in list(per_query.index)[:2]:
        alone = [[row for row in rows if row[0] == query] for rows in (graded, mined)]
        again, _ = build(material(*alone, twins), lists=lists, list_size=size, lists_per_query=most, seed=seed)
        pd.testing.assert_frame_equal(again, frame[frame["query_id"] == query].reset_index(drop=True))


def test_order_of_the_input_does_not_matter_and_the_seed_does() -> None:
    graded = [*of("q0", (2, 9), (0, 9)), *of("q1", (1, 9), (0, 9), first=5)]
    plain, _ = build(material(graded))
    pd.testing.assert_frame_equal(plain, build(material(graded[::-1]))[0])
    assert not plain.equals(build(material(graded), seed=2)[0])


def test_a_new_grade_moves_the_lists_of_its_query_only_where_it_comes_in() -> None:
    graded = of("q0", (2, 10), (0, 10))
    before, after = (build(material(rows), lists_per_query=1, list_size=8)[0] for rows in (graded, [*graded, ("q0", "p30", 0)]))
    assert len(set(before["product_ids"][0]) & set(after["product_ids"][0])) >= 7


def test_nothing_graded_gives_no_rows_but_all_columns() -> None:
    frame, counts = build(material([]))
    assert frame.empty and {"label", *text_columns(frame)} >= {"label", "query", "item_1", "item_6"} and not counts


def test_hostile_ids_and_texts_come_through_as_they_are() -> None:
    shop = material([(query, product, place % 3) for query in HOSTILE for place, product in enumerate(HOSTILE)])
    names = pd.DataFrame({"query_id": HOSTILE, "product_id": HOSTILE, "text": HOSTILE})
    shop = Material(shop.tiers, names[["query_id", "text"]], names[["product_id", "text"]], NOTHING, NOTHING, shop.graded)
    frame, _ = build(shop, list_size=8, lists_per_query=1)
    assert sorted(frame["query_id"]) == sorted(HOSTILE) and (frame["query"] == frame["query_id"]).all()
    assert all(row.product_ids[0] == row.item_1 for row in frame.itertuples())
