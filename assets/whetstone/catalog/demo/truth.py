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
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from whetstone.platform.errors import WhetstoneError

EXACT, SUBSTITUTE, COMPLEMENT, IRRELEVANT = 4, 2, 1, 0
GRADES = (IRRELEVANT, COMPLEMENT, SUBSTITUTE, EXACT)
GRADE_BY_OFF = np.array([EXACT, SUBSTITUTE, IRRELEVANT], dtype=np.int64)
MISSING = -1


def grade_pairs(pairs: pd.DataFrame, intents: pd.DataFrame, products: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Grade every pair of a frame.

    Args:
        pairs: Columns query_id, product_id; any order, repeats allowed.
        intents: Columns query_id, intent (JSON as written to truth.parquet), one row per query.
        products: Columns product_id, category_path (list of names), attributes (mapping or list of pairs), one row
            per product.

    Returns:
        Grades 4, 2, 1 or 0, shape (len(pairs),), aligned with `pairs`.

    Raises:
        WhetstoneError: A pair names a query without intent or a product that is not there.
    """
    query_at = _positions(pairs["query_id"], intents["query_id"], "query", "intents")
    product_at = _positions(pairs["product_id"], products["product_id"], "product", "products")
    used, product_at = np.unique(product_at, return_inverse=True)
    columns = _Columns(products["category_path"].to_numpy()[used], products["attributes"].to_numpy()[used])
    grades = np.zeros(len(pairs), dtype=np.int64)
    order = np.argsort(query_at, kind="stable")
    queries, starts, counts = np.unique(query_at[order], return_index=True, return_counts=True)
    texts = intents["intent"].to_numpy()
    for query, start, count in zip(queries, starts, counts, strict=True):
        rows = order[start : start + count]
        grades[rows] = _grade(json.loads(texts[query]), columns, product_at[rows])
    return grades


class _Columns:
    """Types and attributes of the products as integer codes, one column per attribute, made when first asked for."""

    def __init__(self, paths: Iterable[Any], attributes: Iterable[Any]) -> None:
        self._codes: dict[str, int] = {}
        self._attributes = [_pairs(entry) for entry in attributes]
        self._columns: dict[str, npt.NDArray[np.int64]] = {}
        self.types = np.array([self._codes.setdefault(str(path[-1]), len(self._codes)) for path in paths], np.int64)

    def code(self, text: str) -> int:
        """The code of a value; one that no product has gets a new code, which equals nothing."""
        return self._codes.setdefault(text, len(self._codes))

    def column(self, key: str) -> npt.NDArray[np.int64]:
        """Codes of the attribute, shape (n_products,), -1 where a product lacks it."""
        if key not in self._columns:
            values = (entry.get(key) for entry in self._attributes)
            codes = [MISSING if value is None else self.code(value) for value in values]
            self._columns[key] = np.array(codes, dtype=np.int64)
        return self._columns[key]


def _grade(intent: Mapping[str, Any], columns: _Columns, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    types = columns.types[rows]
    off = np.zeros(len(rows), dtype=np.int64)
    for key, value in intent["wanted"].items():
        weight = len(GRADE_BY_OFF) if key in intent["hard"] else 1
        off += weight * (columns.column(key)[rows] != columns.code(value))
    same = types == columns.code(intent["type"])
    swap = np.isin(types, [columns.code(name) for name in intent["swaps"]])
    goes_with = np.isin(types, [columns.code(name) for name in intent["complements"]])
    for key, value in intent["pairing"].items():
        column = columns.column(key)[rows]
        goes_with &= (column == MISSING) | (column == columns.code(value))
    by_off = GRADE_BY_OFF[np.minimum(off + swap, len(GRADE_BY_OFF) - 1)]
    return np.where(same | swap, by_off, np.where(goes_with, COMPLEMENT, IRRELEVANT))


def _positions(wanted: pd.Series, known: pd.Series, thing: str, place: str) -> npt.NDArray[np.int64]:
    positions: npt.NDArray[np.int64] = pd.Index(known).get_indexer(pd.Index(wanted))
    if (positions < 0).any():
        missing = wanted.to_numpy()[int(np.flatnonzero(positions < 0)[0])]
        raise WhetstoneError(f"demo truth: {thing} {missing!r} of the pairs is not among the {place}; pass its row too")
    return positions


def _pairs(attributes: Any) -> dict[str, str]:
    """One product's attributes as a dict: engines hand a map over as a dict or as a list of pairs."""
    return dict(attributes) if attributes is not None else {}
