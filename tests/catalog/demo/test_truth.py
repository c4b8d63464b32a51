"""The demo shop's truth: hand-worked grades, and agreement with the generator's own codes on a whole catalog."""

import json

import numpy as np
import pandas as pd
import pytest

from whetstone.catalog.demo.truth import grade_pairs, intents_of
from whetstone.platform.errors import WhetstoneError


def product(product_id, kind, **attributes):
    return {"product_id": product_id, "category_path": ["Tools", "Any", kind], "attributes": attributes}


PRODUCTS = pd.DataFrame(
    [
        product("drill-black-18", "Drill", brand="Grauwerk", colour="black", voltage="18 V"),
        product("drill-red-18", "Drill", brand="Grauwerk", colour="red", voltage="18 V"),
        product("drill-red-12", "Drill", brand="Tarnex", colour="red", voltage="12 V"),
        product("drill-bare", "Drill", colour="black"),
        product("hammer-black-18", "Hammer Drill", brand="Tarnex", colour="black", voltage="18 V"),
        product("hammer-red-18", "Hammer Drill", brand="Tarnex", colour="red", voltage="18 V"),
        product("charger-grauwerk", "Drill Charger", brand="Maddock", fits="Grauwerk", voltage="18 V"),
        product("charger-tarnex", "Drill Charger", brand="Maddock", fits="Tarnex", voltage="18 V"),
        product("bits", "Drill Bits", pack="5 pack"),
        product("phone-charger", "Phone Charger", brand="Grauwerk", fits="Grauwerk", voltage="18 V"),
    ]
)
BLACK_18V_DRILL = {
    "type": "Drill",
    "wanted": {"colour": "black", "voltage": "18 V"},
    "hard": [],
    "swaps": ["Hammer Drill"],
    "complements": ["Drill Bits", "Drill Charger"],
    "pairing": {},
}
GRAUWERK_DRILL = {**BLACK_18V_DRILL, "wanted": {"brand": "Grauwerk"}, "pairing": {"fits": "Grauwerk"}}
CHARGER_FOR_GRAUWERK = {
    "type": "Drill Charger",
    "wanted": {"fits": "Grauwerk", "voltage": "18 V"},
    "hard": ["fits"],
    "swaps": [],
    "complements": ["Drill"],
    "pairing": {"brand": "Grauwerk"},
}


def grades_of(intent, products=PRODUCTS):
    pairs = pd.DataFrame({"query_id": "q", "product_id": products["product_id"]})
    intents = pd.DataFrame({"query_id": ["q"], "intent": [json.dumps(intent)]})
    return dict(zip(pairs["product_id"], grade_pairs(pairs, intents, products).tolist(), strict=True))


def test_exact_substitute_complement_irrelevant_by_hand():
    assert grades_of(BLACK_18V_DRILL) == {
        "drill-black-18": 4,
        "drill-red-18": 2,  # one attribute off
        "drill-red-12": 0,  # two off
        "drill-bare": 2,  # an attribute that is missing is off
        "hammer-black-18": 2,  # another type that stands in
        "hammer-red-18": 0,  # stands in, but also off
        "charger-grauwerk": 1,
        "charger-tarnex": 1,
        "bits": 1,
        "phone-charger": 0,  # same words, other type
    }


def test_complement_of_a_branded_thing_must_fit_it():
    grades = grades_of(GRAUWERK_DRILL)
    assert grades["charger-grauwerk"] == 1
    assert grades["charger-tarnex"] == 0
    assert grades["bits"] == 1  # fits everything
    assert grades["drill-red-12"] == 2  # another brand


def test_accessory_for_a_thing_is_not_the_thing():
    grades = grades_of(CHARGER_FOR_GRAUWERK)
    assert grades["charger-grauwerk"] == 4
    assert grades["charger-tarnex"] == 0  # what it fits admits no substitute
    assert grades["drill-black-18"] == 1
    assert grades["drill-red-12"] == 0  # not the brand the charger is for
    assert grades["phone-charger"] == 0


def test_attributes_may_be_pairs_as_parquet_gives_them():
    as_pairs = PRODUCTS.assign(attributes=PRODUCTS["attributes"].map(lambda entry: list(entry.items())))
    assert grades_of(BLACK_18V_DRILL, as_pairs) == grades_of(BLACK_18V_DRILL)


def test_order_and_repeats_of_pairs_do_not_matter():
    rng = np.random.default_rng(0)
    intents = pd.DataFrame({"query_id": ["a", "b"], "intent": [json.dumps(BLACK_18V_DRILL), json.dumps(CHARGER_FOR_GRAUWERK)]})
    pairs = pd.DataFrame(
        {
            "query_id": rng.choice(["a", "b"], 200),
            "product_id": rng.choice(PRODUCTS["product_id"], 200),
        }
    )
    by_query = {"a": grades_of(BLACK_18V_DRILL), "b": grades_of(CHARGER_FOR_GRAUWERK)}
    expected = [by_query[query][item] for query, item in zip(pairs["query_id"], pairs["product_id"], strict=True)]
    assert grade_pairs(pairs, intents, PRODUCTS).tolist() == expected


@pytest.mark.parametrize(("query", "item", "named"), [("other", "bits", "other"), ("q", "unheard-of", "unheard-of")])
def test_unknown_query_or_product_is_named(query, item, named):
    intents = pd.DataFrame({"query_id": ["q"], "intent": [json.dumps(BLACK_18V_DRILL)]})
    with pytest.raises(WhetstoneError, match=named):
        grade_pairs(pd.DataFrame({"query_id": [query], "product_id": [item]}), intents, PRODUCTS)


def test_no_pairs_no_grades():
    intents = pd.DataFrame({"query_id": ["q"], "intent": [json.dumps(BLACK_18V_DRILL)]})
    none = pd.DataFrame({"query_id": pd.Series([], dtype=str), "product_id": pd.Series([], dtype=str)})
    assert grade_pairs(none, intents, PRODUCTS).shape == (0,)


def test_a_query_made_from_facts_means_what_a_shoppers_query_for_them_means():
    facts = {"type": "Drill Battery Charger", "wanted": {"fits": "Grauwerk", "voltage": "18 V"}}
    made = intents_of(pd.DataFrame({"query_id": ["synthetic-1"], "facts": [json.dumps(facts)]}))
    assert made["query_id"].tolist() == ["synthetic-1"]
    intent = json.loads(made["intent"][0])
    expected = {**CHARGER_FOR_GRAUWERK, "type": "Drill Battery Charger", "complements": ["Cordless Drill"]}
    swaps = [name for name in intent["swaps"] if "Drill Battery Charger" not in name]  # only those of other lines of customers
    assert {**{key: intent[key] for key in expected}, "swaps": swaps} == expected


def test_facts_of_a_type_that_no_demo_shop_sells_are_refused():
    with pytest.raises(WhetstoneError, match="'synthetic-1' was made for a 'Sock'"):
        intents_of(pd.DataFrame({"query_id": ["synthetic-1"], "facts": ['{"type": "Sock", "wanted": {}}']}))
