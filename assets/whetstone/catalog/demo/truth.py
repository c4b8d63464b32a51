"""The truth of the demo shop: the grade of any (query, product) pair, from attributes alone.

A query's hidden intent is a JSON object: `type` (the product type meant), `wanted` (attribute: value), `hard` (wanted keys that admit no
substitute, such as what an accessory fits), `swaps` and `complements` (product types that may stand in for the type, or go with it) and
`pairing` (what a complement must agree with, if it has the attribute at all). With `off` = wanted attributes that the product lacks or
has otherwise, plus 1 if its type is a mere swap:

    same type or swap, a hard attribute off      0 irrelevant
    same type or swap, off = 0 / 1 / more        4 exact / 2 substitute / 0 irrelevant
    complement that agrees with the pairing      1 complement
    anything else                                0 irrelevant

The levels are those of ESCI (arXiv 2206.06588). A product's type is the last level of its category path.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from whetstone.catalog.demo.vocabulary import ProductType, load_vocabulary
from whetstone.platform.errors import WhetstoneError

MOST_CATEGORIES = 1_000  # of a shop: relations to types that it does not have don't matter here
GRADES = IRRELEVANT, COMPLEMENT, SUBSTITUTE, EXACT = 0, 1, 2, 4


def intent_of(kind: ProductType, wanted: Mapping[str, str], text: str = "", spelt: str = "") -> dict[str, Any]:
    """The hidden intent of a query for this type, with its text and how that was meant."""
    # A charger for brand X goes with things of X; a thing of X goes with accessories that fit X.
    agreeing = {"fits": "brand"} if "fits" in wanted else {"brand": "fits"} if kind.part_of is None else {}
    return {
        "type": kind.name,
        "wanted": wanted,
        "hard": [key for key in wanted if key == "fits"],
        "swaps": sorted(kind.swaps),
        "complements": sorted(kind.complements),
        "pairing": {there: wanted[here] for here, there in agreeing.items() if here in wanted},
        "spelt": spelt,
        "is_misspelt": text != spelt,
    }


def as_json(intent: Mapping[str, Any]) -> str:
    """An intent as truth.parquet holds it."""
    return json.dumps(intent, ensure_ascii=False, sort_keys=True)


def grade(intent: Mapping[str, Any], kind: str, attributes: Mapping[str, str]) -> int:
    """The grade of a product of type `kind` for an intent."""
    if kind == intent["type"] or kind in intent["swaps"]:
        off = [key for key, value in intent["wanted"].items() if attributes.get(key) != value]
        count_off = len(off) + (kind in intent["swaps"])
        return IRRELEVANT if count_off > 1 or set(off) & set(intent["hard"]) else (EXACT, SUBSTITUTE)[count_off]
    agrees = all(attributes.get(key, value) == value for key, value in intent["pairing"].items())
    return COMPLEMENT if kind in intent["complements"] and agrees else IRRELEVANT


def grade_pairs(pairs: pd.DataFrame, intents: pd.DataFrame, products: pd.DataFrame) -> NDArray[np.int64]:
    """Grades of pairs (query_id, product_id; in any order, repeated or not), (n,). WhetstoneError: a query or product has no row.

    Intents have query_id, intent (JSON as in truth.parquet), products product_id, category_path (names), attributes (mapping or pairs).
    """
    intent_of = {query: json.loads(intent) for query, intent in zip(intents["query_id"], intents["intent"], strict=True)}
    asked = products[products["product_id"].isin(pairs["product_id"])]
    facts = zip(asked["product_id"], asked["category_path"], asked["attributes"], strict=True)
    product_of = {product: (path[-1], dict(attributes)) for product, path, attributes in facts}
    for thing, known in (("query", intent_of), ("product", product_of)):
        if unknown := set(pairs[f"{thing}_id"]) - known.keys():
            raise WhetstoneError(f"demo truth: {thing} {min(unknown)!r} of the pairs is unknown; pass its row too")
    grades = [grade(intent_of[query], *product_of[product]) for query, product in zip(pairs["query_id"], pairs["product_id"], strict=True)]
    return np.array(grades, dtype=np.int64)


def intents_of(queries: pd.DataFrame) -> pd.DataFrame:
    """Intents (query_id, intent) of queries (query_id, facts: JSON object of `type`, `wanted`); WhetstoneError: no shop sells the type."""
    kinds, rows = load_vocabulary(MOST_CATEGORIES).types, []
    for query, facts in zip(queries["query_id"], map(json.loads, queries["facts"]), strict=True):
        if facts["type"] not in kinds:
            raise WhetstoneError(f"demo truth: query {query!r} was made for a {facts['type']!r}, which no demo shop sells")
        rows.append((query, as_json(intent_of(kinds[facts["type"]], facts["wanted"]))))
    return pd.DataFrame(rows, columns=["query_id", "intent"])
