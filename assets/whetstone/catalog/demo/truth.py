"""The truth of the demo shop: the grade of any (query, product) pair, from attributes alone.

A query's hidden intent is a JSON object: `type` (the product type meant), `wanted` (attribute: value), `hard` (wanted
keys that admit no substitute, such as what an accessory fits), `swaps` and `complements` (product types that may stand
in for the type, or go with it) and `pairing` (what a complement must agree with, if it has the attribute at all).
With `off` = wanted attributes that the product lacks or has otherwise, plus 1 if its type is a mere swap:

    same type or swap, a hard attribute off      0 irrelevant
    same type or swap, off = 0 / 1 / more        4 exact / 2 substitute / 0 irrelevant
    complement that agrees with the pairing      1 complement
    anything else                                0 irrelevant

The levels are those of ESCI (arXiv 2206.06588). A product's type is the last level of its category path.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from whetstone.platform.errors import WhetstoneError

GRADES = IRRELEVANT, COMPLEMENT, SUBSTITUTE, EXACT = 0, 1, 2, 4


def grade(intent: Mapping[str, Any], kind: str, attributes: Mapping[str, str]) -> int:
    """The grade of a product of type `kind` for an intent."""
    if kind == intent["type"] or kind in intent["swaps"]:
        off = [key for key, value in intent["wanted"].items() if attributes.get(key) != value]
        count_off = len(off) + (kind in intent["swaps"])
        return IRRELEVANT if count_off > 1 or set(off) & set(intent["hard"]) else (EXACT, SUBSTITUTE)[count_off]
    agrees = all(attributes.get(key, value) == value for key, value in intent["pairing"].items())
    return COMPLEMENT if kind in intent["complements"] and agrees else IRRELEVANT


def grade_pairs(pairs: pd.DataFrame, intents: pd.DataFrame, products: pd.DataFrame) -> NDArray[np.int64]:
    """Grade every pair of a frame, in any order and with repeats.

    Args:
        pairs: query_id, product_id.
        intents: query_id, intent (JSON as written to truth.parquet), one row per query.
        products: product_id, category_path (list of names), attributes (mapping or list of pairs), one row per product.

    Raises:
        WhetstoneError: A pair names a query without intent or a product that is not there.
    """
    intent_at = _positions(pairs["query_id"], intents["query_id"], "query", "intents")
    product_at = _positions(pairs["product_id"], products["product_id"], "product", "products")
    parsed = {row: json.loads(intents["intent"].iloc[row]) for row in np.unique(intent_at)}
    paths, attributes = products["category_path"].to_numpy(), products["attributes"].to_numpy()
    grades = [grade(parsed[i], paths[p][-1], dict(attributes[p])) for i, p in zip(intent_at, product_at, strict=True)]
    return np.array(grades, dtype=np.int64)


def _positions(wanted: pd.Series, known: pd.Series, thing: str, place: str) -> NDArray[np.int64]:
    positions: NDArray[np.int64] = pd.Index(known).get_indexer(pd.Index(wanted))
    if (positions < 0).any():
        missing = wanted.to_numpy()[positions < 0][0]
        raise WhetstoneError(f"demo truth: {thing} {missing!r} of the pairs is not among the {place}; pass its row too")
    return positions
