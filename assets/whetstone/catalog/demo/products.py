"""Products of the demo shop: typed codes first (a few bytes each), texts afterwards, chunk by chunk.

`Stock` holds every product as integer codes, ordered by type, so that the products of a type are one slice. Titles look
like a real shop's: brand often first and sometimes missing, a model name, attributes in the catalog's words and any
order, marketing words, and mentions of other things ("works with ...", "... not included") that mislead a word match.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

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
SCHEMA = pa.schema(
    [
        ("product_id", pa.string()),
        ("title", pa.string()),
        ("brand", pa.string()),
        ("description", pa.string()),
        ("category_path", pa.list_(pa.string())),
        ("attributes", pa.map_(pa.string(), pa.string())),
        ("price_cents", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class Stock:
    """All products as codes.

    Attributes:
        types: Product types; a product's type is an index into them.
        keys: Attribute keys of each type, slot by slot; slot 0 is always `brand`.
        names: Values by code, over all attributes.
        type_of: Type index of each product, shape (n,), int16.
        codes: Value codes, shape (n, slots), int16, ordered by type; -1 = no such attribute.
        rows: Product number of each row of `codes`, shape (n,).
        starts: Where each type begins in `codes`, shape (types + 1,).
    """

    types: tuple[ProductType, ...]
    keys: tuple[tuple[str, ...], ...]
    names: tuple[str, ...]
    type_of: npt.NDArray[np.int16]
    codes: npt.NDArray[np.int16]
    rows: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]

    def slice_of(self, kind: int) -> slice:
        """Rows of `codes` that hold the products of a type."""
        return slice(int(self.starts[kind]), int(self.starts[kind + 1]))

    def off(self, kind: int, wanted: dict[str, int]) -> npt.NDArray[np.int64]:
        """How many wanted attributes (key: value code) each product of a type lacks, shape (products of the type,)."""
        rows = self.codes[self.slice_of(kind)]
        off = np.zeros(len(rows), dtype=np.int64)
        for key, code in wanted.items():
            keys = self.keys[kind]
            off += (rows[:, keys.index(key)] != code) if key in keys else 1
        return off

    def attributes(self, row: int) -> dict[str, str]:
        """Canonical attributes of the product in a row of `codes`."""
        keys = self.keys[int(self.type_of[self.rows[row]])]
        codes = self.codes[row]
        return {key: self.names[codes[slot]] for slot, key in enumerate(keys) if codes[slot] >= 0}


def draw_stock(vocabulary: Vocabulary, products: int, rng: np.random.Generator) -> Stock:
    """Draw what the shop sells: types evenly with some spread, brands and values with a mild Zipf."""
    types = tuple(vocabulary.types.values())
    keys = tuple(("brand", *kind.attributes) for kind in types)
    codes_of: dict[str, int] = {}
    weights = rng.uniform(0.6, 1.6, len(types))
    type_of = rng.choice(len(types), products, p=weights / weights.sum()).astype(np.int16)
    rows = np.argsort(type_of, kind="stable").astype(np.int64)
    starts = np.searchsorted(type_of[rows], np.arange(len(types) + 1)).astype(np.int64)
    codes = np.full((products, max(map(len, keys))), -1, dtype=np.int16)
    for number, kind in enumerate(types):
        block = codes[starts[number] : starts[number + 1]]
        turn = number % len(kind.brands)  # every type has another leading brand
        options = ((*kind.brands[turn:], *kind.brands[:turn]), *kind.attributes.values())
        for slot, values in enumerate(options):
            known = np.array([codes_of.setdefault(str(value), len(codes_of)) for value in values])
            share = 1.0 / np.arange(1, len(known) + 1) ** 0.4
            block[:, slot] = known[rng.choice(len(known), len(block), p=share / share.sum())]
        block[rng.random(len(block)) < UNBRANDED_SHARE, 0] = -1
    return Stock(types, keys, tuple(codes_of), type_of, codes, rows, starts)


def product_id(number: int) -> str:
    """The id of a product by its number."""
    return f"p{number:07d}"


def render_products(vocabulary: Vocabulary, stock: Stock, row_of: npt.NDArray[np.int64], first: int, last: int, seed: int) -> pa.Table:
    """Texts of the products first..last-1.

    Args:
        vocabulary: The shop's words.
        stock: All products.
        row_of: Row in `stock.codes` of each product number, shape (n,).
        first: First product number.
        last: One past the last.
        seed: Seed of the shop; the chunk's own stream is drawn from it and `first`.

    Returns:
        A table with the columns of `SCHEMA`.
    """
    rng = np.random.default_rng([seed, 2, first])
    writer = _Writer(vocabulary, stock)
    dice = rng.random((last - first, 24))
    prices = rng.random(last - first)
    columns: dict[str, list[object]] = {name: [] for name in SCHEMA.names}
    for number, draw, price in zip(range(first, last), dice.tolist(), prices.tolist(), strict=True):
        kind = stock.types[stock.type_of[number]]
        attributes = stock.attributes(int(row_of[number]))
        low, high = kind.price
        columns["product_id"].append(product_id(number))
        columns["title"].append(writer.title(kind, attributes, draw))
        columns["brand"].append(attributes.get("brand"))
        columns["description"].append(writer.description(kind, attributes, draw))
        columns["category_path"].append([kind.category, kind.family, kind.name])
        columns["attributes"].append(list(attributes.items()))
        columns["price_cents"].append(round(low * (high / low) ** price) * 100 - 1)
    return pa.table(columns, schema=SCHEMA)


class _Writer:
    """Writes titles and descriptions from attributes and uniform draws."""

    def __init__(self, vocabulary: Vocabulary, stock: Stock) -> None:
        self._vocabulary = vocabulary
        self._forms = {name: vocabulary.forms(name, "title") for name in stock.names}
        self._mentions = {
            kind.name: tuple(vocabulary.types[other].titles[0] for other in sorted(kind.swaps | kind.complements)) or ("gift card",)
            for kind in stock.types
        }

    def title(self, kind: ProductType, attributes: dict[str, str], draw: list[float]) -> str:
        """A title; `draw` holds 24 uniform numbers, each used for one decision."""
        term = _pick(kind.titles, draw[0])
        if "fits" in attributes and kind.part_of is not None:
            main = _pick(self._vocabulary.types[kind.part_of].titles, draw[1])
            term = f"{term} {_pick(FITS, draw[2]).format(attributes['fits'], main)}"
        shown = [
            _pick(self._forms[value], draw[10 + slot])
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
            head.insert(0 if draw[8] < 0.15 else len(head), _pick(self._vocabulary.marketing, draw[8] / MARKETING_SHARE))
        tail = shown[cut:]
        if draw[9] < MENTION_SHARE:
            other = _pick(self._mentions[kind.name], draw[9] / MENTION_SHARE)
            tail.append(_pick(MENTIONS, draw[7]).format(other))
        joint = ", " if draw[3] < 0.5 else " - " if draw[3] < 0.7 else " "
        return joint.join([" ".join([*head, *shown[:cut], term]), *tail])

    def description(self, kind: ProductType, attributes: dict[str, str], draw: list[float]) -> str:
        """One sentence with every attribute in canonical words."""
        facts = ", ".join(f"{key} {value}" for key, value in attributes.items() if key != "brand")
        return f"{_pick(kind.titles, draw[1])} from our {kind.family} range: {facts}."


def _pick(options: tuple[str, ...], draw: float) -> str:
    return options[min(int(draw * len(options)), len(options) - 1)]
