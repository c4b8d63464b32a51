"""Synthetic queries: who gets one, what it says, and what is graded with it."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whetstone.curriculum.synthetic import choose_products, pairs_to_grade, synthetic_queries, template_query


def product(product_id: str, title: str = "", kind: str = "", brand: str = "", **attributes: str) -> dict[str, object]:
    return {"product_id": product_id, "text": title, "title": title, "kind": kind, "brand": brand, "attributes": attributes}


def shop(count: int) -> pd.DataFrame:
    colours = ("red", "black", "navy blue")
    return pd.DataFrame([product(f"p{n}", f"Lamp {n}", "Desk Lamp", "Lumo", colour=colours[n % 3], power=f"{n} W") for n in range(count)])


def chosen(products: pd.DataFrame, *positives: str, share: float = 0.3, seed: int = 1, restricted: bool = True) -> list[str]:
    return choose_products(products, set(positives), share, seed, restricted)["product_id"].tolist()


def test_only_products_without_a_positive_unless_told_otherwise() -> None:
    products = shop(20)
    assert chosen(products, "p3", "p4", share=1.0) == [f"p{n}" for n in range(20) if n not in (3, 4)]
    assert chosen(products, "p3", "p4", share=1.0, restricted=False) == products["product_id"].tolist()
    assert chosen(products, share=0.0) == [] == chosen(products.head(0))


def test_a_low_share_drawn_apart_for_each_product() -> None:
    products = shop(2_000)
    few = chosen(products)
    assert len(few) == pytest.approx(600, abs=75)
    assert set(chosen(products, share=0.1)) < set(few) != set(chosen(products, seed=2))
    assert chosen(products.iloc[::2]) == [each for each in few if int(each[1:]) % 2 == 0]  # nobody else's draw moved
    assert chosen(products, few[0]) == few[1:]


def test_a_template_names_the_type_and_some_attributes() -> None:
    rows = shop(200).to_dict("records")
    brands, counts = set(), set()
    for row in rows:
        text, facts = template_query(row, 0)
        wanted = facts["wanted"]
        assert facts["type"] == "Desk Lamp" and text.endswith("desk lamp")
        assert all(value == {**row["attributes"], "brand": "Lumo"}[key] and value.lower() in text for key, value in wanted.items())
        brands.add("brand" in wanted)
        counts.add(len(wanted.keys() - {"brand"}))
    assert brands == {True, False} and counts == {1, 2}
    assert template_query(rows[0], 0) == template_query(rows[0], 0)
    assert len({template_query(rows[0], seed)[0] for seed in range(20)}) > 2


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (product("p", "The Book of Dragons: An Anthology", "Short Stories & Anthologies", "Harper"), "harper book dragons anthology"),
        (product("p", "Acme Hammer, Steel Head", "Hammers", "Acme"), "acme hammer steel head"),  # no attributes
        (product("p", "Acme Sconce - for the wall", "Lamps & Sconces", "Acme", colour="red"), "acme sconce wall"),  # a shelf
        (product("p", "The Set", colour="red"), "the set"),
        (product("p", "lamp " * 9_000, "Lamp", "x" * 99, colour="so very many words here"), "lamp"),
        (product("p", "Lamp", "Lamp", "", colour="RED\x1b\n\u202e\ud800 red 'wine'"), "red wine lamp"),
        (product("p", "🦷 -- !!", "Lamp"), ""),
    ],
)
def test_what_a_template_makes_of_poor_and_hostile_products(row: dict[str, object], text: str) -> None:
    assert template_query(row, 0)[0] == text


hostile = st.text(alphabet=st.characters(), max_size=60)


@given(title=hostile, kind=hostile, brand=hostile, attributes=st.dictionaries(hostile, hostile, max_size=4), seed=st.integers(0, 9))
def test_any_product_gives_a_short_clean_line(title: str, kind: str, brand: str, attributes: dict[str, str], seed: int) -> None:
    row = {**product("p", title, kind, brand), "attributes": attributes}
    text, facts = template_query(row, seed)
    assert text.isprintable() and len(text) <= 200 and text == " ".join(dict.fromkeys(text.split(" ")))
    assert set(facts["wanted"].items()) <= {*attributes.items(), ("brand", brand)}


def test_equal_texts_are_one_query_and_claudes_own_words_are_named_so() -> None:
    twins = pd.DataFrame([product(name, kind="Lamp", colour=colour) for name, colour in (("b", "red"), ("a", "Red"), ("c", "red"))])
    queries = synthetic_queries(pd.concat([twins, shop(1)]), 0, {"c": "cosy light", "gone": "x"}).set_index("product_id")
    assert queries["query_id"]["a"] == queries["query_id"]["b"] and queries["query_id"].nunique() == 3
    assert json.loads(queries["facts"]["b"]) == {"type": "Lamp", "wanted": {"colour": "Red"}}  # of the first
    assert queries["generator"].to_dict() == {"a": "template", "b": "template", "c": "claude", "p0": "template"}
    assert queries["text"]["c"] == "cosy light" and json.loads(queries["facts"]["c"]) == {"type": "Lamp", "wanted": {}}
    assert queries["query_id"].str.fullmatch("synthetic-[0-9a-f]{16}").all()


def test_queries_that_shoppers_asked_and_empty_ones_are_left_out() -> None:
    products = pd.DataFrame([product("a", kind="Lamp", colour="red"), product("b", title="!?"), product("c", kind="Lamp", colour="blue")])
    assert synthetic_queries(products, 0, {}, ["red lamp"])["product_id"].tolist() == ["c"]
    assert synthetic_queries(products, 0, {}, [" Red  LAMP\u00a0"])["product_id"].tolist() == ["c"]
    assert synthetic_queries(products.head(0), 0, {}).columns.tolist() == ["query_id", "product_id", "text", "generator", "facts"]


def test_own_products_come_first_and_the_runs_take_turns() -> None:
    queries = pd.DataFrame({"query_id": ["s", "s", "t"], "product_id": ["own", "twin", "t1"]})
    words = pd.DataFrame({"query_id": "s", "product_id": ["own", "w2", "both", "w4"], "rank": [1, 2, 3, 4]})
    vectors = pd.DataFrame({"query_id": "s", "product_id": ["v1", "twin", "both", "v4"], "rank": [1, 2, 3, 4]})
    pairs = pairs_to_grade(queries, [words, vectors], count=3)
    assert pairs[["query_id", "product_id"]].to_records(index=False).tolist() == [
        *[("s", "own"), ("s", "twin"), ("t", "t1")],
        *[("s", "v1"), ("s", "w2"), ("s", "both")],
    ]
    assert len(pairs_to_grade(queries.head(0), [])) == 0
