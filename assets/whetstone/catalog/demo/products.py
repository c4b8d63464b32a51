"""Products of the demo shop: what they are first (a few pointers each), texts afterwards, chunk by chunk.

Titles look like a real shop's: brand often first and sometimes missing, a model name, attributes in the catalog's words and any order,
marketing words, and mentions of other things ("works with ...", "... not included") that mislead a word match.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from whetstone.catalog.demo.vocabulary import ProductType, Vocabulary, coin

UNBRANDED_SHARE = 0.06
HIDDEN_BRAND_SHARE = 0.12
SHOWN_ATTRIBUTE_SHARE = 0.92
MODEL_SHARE = 0.4
MARKETING_SHARE = 0.5
MENTION_SHARE = 0.25
MODELS = tuple(word.title() for word in coin("models", 160))
MENTIONS = ("works with {}", "{} not included", "also for {}", "not a {}", "great next to your {}", "free {} guide")
FITS = ("for {} {}", "compatible with {} {}", "fits {} {}", "suitable for {} {}")
TEXTS = dict.fromkeys(("product_id", "title", "brand", "description"), pa.string())
LISTS = {"category_path": pa.list_(pa.string()), "attributes": pa.map_(pa.string(), pa.string())}
SCHEMA = pa.schema({**TEXTS, **LISTS, "price_cents": pa.int64()})


class Stock(NamedTuple):
    """All products, ordered by type; ids are shuffled, so that they say nothing about types."""

    types: tuple[ProductType, ...]
    place: dict[str, int]  # of each type in `types`, by name
    starts: NDArray[np.int64]  # where each type begins, shape (types + 1,)
    type_of: NDArray[np.int64]  # type of each product, ascending, shape (n,)
    ids: NDArray[np.object_]  # shape (n,)
    values: NDArray[np.object_]  # the brand, then the type's attributes, shape (n, slots); None = no such attribute

    def rows(self, kind: int) -> NDArray[np.int64]:
        """Where the products of a type stand."""
        return np.arange(self.starts[kind], self.starts[kind + 1])

    def off(self, kind: int, wanted: dict[str, str]) -> NDArray[np.int64]:
        """How many wanted attributes each product of a type lacks or has otherwise, shape (products of the type,)."""
        rows, keys = self.values[self.starts[kind] : self.starts[kind + 1]], ("brand", *self.types[kind].attributes)
        off = np.zeros(len(rows), dtype=np.int64)
        for key, value in wanted.items():
            off += (rows[:, keys.index(key)] != value) if key in keys else 1
        return off

    def attributes(self, row: int) -> dict[str, str]:
        """What a product is like."""
        pairs = zip(("brand", *self.types[self.type_of[row]].attributes), self.values[row], strict=False)
        return {key: value for key, value in pairs if value is not None}


def draw_stock(vocabulary: Vocabulary, products: int, rng: np.random.Generator) -> Stock:
    """Draw what the shop sells: types evenly with some spread, brands and values with a mild Zipf."""
    types = tuple(vocabulary.types.values())
    weights = rng.uniform(0.6, 1.6, len(types))
    type_of = np.sort(rng.choice(len(types), products, p=weights / weights.sum()))
    starts = np.searchsorted(type_of, np.arange(len(types) + 1))
    values = np.full((products, 1 + max(len(kind.attributes) for kind in types)), None, dtype=object)
    for number, kind in enumerate(types):
        block = values[starts[number] : starts[number + 1]]
        turn = number % len(kind.brands)  # every type has another leading brand
        for slot, options in enumerate([(*kind.brands[turn:], *kind.brands[:turn]), *kind.attributes.values()]):
            share = 1.0 / np.arange(1, len(options) + 1) ** 0.4
            block[:, slot] = rng.choice(np.array(options, dtype=object), len(block), p=share / share.sum())
        block[rng.random(len(block)) < UNBRANDED_SHARE, 0] = None
    ids = np.array([f"p{number:07d}" for number in rng.permutation(products)], dtype=object)
    return Stock(types, {kind.name: place for place, kind in enumerate(types)}, starts, type_of, ids, values)


def write_products(vocabulary: Vocabulary, stock: Stock, rows: range, rng: np.random.Generator) -> pa.Table:
    """A table with the columns of `SCHEMA`, for some products."""
    draws, products = rng.random((len(rows), 25)).tolist(), []
    for row, draw in zip(rows, draws, strict=True):
        kind, attributes = stock.types[stock.type_of[row]], stock.attributes(row)
        low, high = kind.price
        facts = ", ".join(f"{key} {value}" for key, value in attributes.items() if key != "brand")
        products.append(
            {
                "product_id": stock.ids[row],
                "title": _title(vocabulary, kind, attributes, draw),
                "brand": attributes.get("brand"),
                "description": f"{_pick(kind.titles, draw[1])} from our {kind.family} range: {facts}.",
                "category_path": [kind.category, kind.family, kind.name],
                "attributes": list(attributes.items()),
                "price_cents": round(low * (high / low) ** draw[24]) * 100 - 1,
            }
        )
    return pa.Table.from_pylist(products, schema=SCHEMA)


def _title(vocabulary: Vocabulary, kind: ProductType, attributes: dict[str, str], draw: list[float]) -> str:
    """A title; of the uniform numbers in `draw`, the first 24, each is used for one decision."""
    term = _pick(kind.titles, draw[0])
    if "fits" in attributes and kind.part_of is not None:
        main = _pick(vocabulary.types[kind.part_of].titles, draw[1])
        term = f"{term} {_pick(FITS, draw[2]).format(attributes['fits'], main)}"
    shown = [
        _pick(vocabulary.forms(value, "title"), draw[10 + slot])
        for slot, (key, value) in enumerate(attributes.items())
        if key not in ("brand", "fits") and draw[17 + slot] < SHOWN_ATTRIBUTE_SHARE
    ]
    cut = int(draw[3] * (len(shown) + 1)) if draw[4] < 0.5 else 0
    if draw[4] > 0.8:
        shown.reverse()
    head = []
    if "brand" in attributes and draw[5] >= HIDDEN_BRAND_SHARE:
        head.append(attributes["brand"])
    if draw[6] < MODEL_SHARE:
        head.append(f"{_pick(MODELS, draw[6] / MODEL_SHARE)} {int(draw[7] * 90 + 10) * 10}")
    if draw[8] < MARKETING_SHARE:
        head.insert(0 if draw[8] < 0.15 else len(head), _pick(vocabulary.marketing, draw[8] / MARKETING_SHARE))
    tail = shown[cut:]
    if draw[9] < MENTION_SHARE:
        others = [vocabulary.types[other].titles[0] for other in sorted(kind.swaps | kind.complements)] or ["gift card"]
        tail.append(_pick(MENTIONS, draw[7]).format(_pick(others, draw[9] / MENTION_SHARE)))
    joint = ", " if draw[3] < 0.5 else " - " if draw[3] < 0.7 else " "
    return joint.join([" ".join([*head, *shown[:cut], term]), *tail])


def _pick(options: Sequence[str], draw: float) -> str:
    return options[int(draw * len(options))]
