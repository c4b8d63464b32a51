"""Queries of the demo shop: an intent drawn around a product, and the words a shopper finds for it.

Every query starts from a product that satisfies it. Attributes are asked for until the answer is of a handy size, as
shoppers do. The words come from the shoppers' side of the vocabulary: plain words, slang, a brand that stands for a
whole category, other units. Frequencies follow Zipf's law, broad queries first; a fixed share is misspelt.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from whetstone.catalog.demo.products import Stock
from whetstone.catalog.demo.vocabulary import ProductType, Vocabulary
from whetstone.platform.errors import WhetstoneError

MISSPELT_SHARE = 0.08
ZIPF_EXPONENT = 1.05
TOP_FREQUENCY_PER_QUERY = 5
SPLITS = (("train", 0.60), ("dev", 0.15), ("test", 0.25))
TERM_SHARES = (("titles", 0.20), ("ask", 0.54), ("slang", 0.26))
WANTED_SHARES = (0.2, 0.42, 0.28, 0.1)
HANDY_ANSWERS = 20
BRAND_SHARE = 0.25
FITS_SHARE = 0.8
WRAPPER_SHARE = 0.06
PREPOSITIONS = ("for", "for", "for my", "to fit", "to go with")
PATIENCE = 1_000  # attempts in a row that find nothing new
# A key next to each on a QWERTY keyboard.
NEIGHBOURS = dict(zip("qwertyuiopasdfghjklzxcvbnm", "wqreytiuposafdhgkjkxzvcnbn", strict=True))


@dataclass(frozen=True, slots=True)
class Query:
    """A query before it has an id: `target` is the row in `Stock.codes` of the product it was drawn around."""

    text: str
    kind: int
    wanted: dict[str, str]
    target: int
    spelt: str

    @property
    def is_misspelt(self) -> bool:
        """Whether the text differs from the intended spelling."""
        return self.text != self.spelt


def draw_queries(vocabulary: Vocabulary, stock: Stock, queries: int, rng: np.random.Generator) -> list[Query]:
    """Draw queries with distinct texts, a share of them misspelt.

    Raises:
        WhetstoneError: The shop is too small to ask it that many different things.
    """
    speaker = _Speaker(vocabulary, stock, rng)
    found: dict[str, Query] = {}
    misses = 0
    while len(found) < queries:
        query = speaker.ask(int(rng.integers(len(stock.codes))))
        misses = misses + 1 if query.text in found else 0
        found.setdefault(query.text, query)
        if misses > PATIENCE:
            raise WhetstoneError(
                f"demo catalog: only {len(found)} different queries of {queries} found in a shop of {len(stock.codes)} "
                "products; ask for fewer queries or more products"
            )
    return _misspell(list(found.values()), rng)


def zipf_frequencies(queries: Sequence[Query], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Frequency of each query: proportional to 1 / rank^1.05, where queries that want little tend to rank first."""
    breadth = np.array([len(query.wanted) + query.is_misspelt for query in queries]) + rng.normal(0, 1.0, len(queries))
    rank = np.empty(len(queries), dtype=np.int64)
    rank[np.argsort(breadth, kind="stable")] = np.arange(1, len(queries) + 1)
    return np.maximum(1, (TOP_FREQUENCY_PER_QUERY * len(queries) / rank**ZIPF_EXPONENT)).astype(np.int64)


def assign_splits(query_ids: Sequence[str], seed: int) -> list[str]:
    """Split of each query: queries in order of a seeded hash of their id, cut at 60 % train, 15 % dev, 25 % test."""
    keys = [hashlib.sha256(f"{seed}:{query_id}".encode()).digest() for query_id in query_ids]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    ends = np.round(np.cumsum([share for _, share in SPLITS]) * len(keys)).astype(int)
    splits = [""] * len(keys)
    for place, query in enumerate(order):
        splits[query] = SPLITS[int(np.searchsorted(ends, place, side="right"))][0]
    return splits


def intent_json(query: Query, stock: Stock) -> str:
    """The hidden intent, with everything `truth.grade_pairs` needs."""
    kind = stock.types[query.kind]
    pairing = {}
    if "fits" in query.wanted:
        pairing["brand"] = query.wanted["fits"]
    elif "brand" in query.wanted and kind.part_of is None:
        pairing["fits"] = query.wanted["brand"]
    intent = {
        "type": kind.name,
        "wanted": query.wanted,
        "hard": ["fits"] if "fits" in query.wanted else [],
        "swaps": sorted(kind.swaps),
        "complements": sorted(kind.complements),
        "pairing": pairing,
        "spelt": query.spelt,
        "is_misspelt": query.is_misspelt,
    }
    return json.dumps(intent, ensure_ascii=False, sort_keys=True)


class _Speaker:
    """Turns a product into what a shopper who wants it types."""

    def __init__(self, vocabulary: Vocabulary, stock: Stock, rng: np.random.Generator) -> None:
        self._vocabulary = vocabulary
        self._stock = stock
        self._rng = rng
        self._code = {name: code for code, name in enumerate(stock.names)}

    def ask(self, row: int) -> Query:
        kind_number = int(self._stock.type_of[self._stock.rows[row]])
        kind = self._stock.types[kind_number]
        wanted = self._wants(kind_number, self._stock.attributes(row))
        text = " ".join(self._words(kind, wanted).lower().split())
        return Query(text, kind_number, wanted, row, text)

    def _wants(self, kind: int, attributes: dict[str, str]) -> dict[str, str]:
        rng = self._rng
        plain = [key for key in attributes if key not in ("brand", "fits")]
        order = [plain[i] for i in rng.permutation(len(plain))]
        if "brand" in attributes:
            order.insert(0 if rng.random() < BRAND_SHARE else len(order), "brand")
        count = int(rng.choice(len(WANTED_SHARES), p=WANTED_SHARES))
        keys = [*(["fits"] if "fits" in attributes and rng.random() < FITS_SHARE else []), *order[:count]]
        rest = order[count:]
        stubborn = rng.random() < 0.1  # some shoppers never say what they want
        while rest and not stubborn and self._answers(kind, keys, attributes) > HANDY_ANSWERS:
            keys.append(rest.pop(0))
        return {key: attributes[key] for key in keys}

    def _answers(self, kind: int, keys: list[str], attributes: dict[str, str]) -> int:
        off = self._stock.off(kind, {key: self._code[attributes[key]] for key in keys})
        return int((off == 0).sum())

    def _words(self, kind: ProductType, wanted: dict[str, str]) -> str:
        rng = self._rng
        term = self._term(kind, brand_asked="brand" in wanted)
        if "fits" in wanted and kind.part_of is not None:
            main = self._vocabulary.types[kind.part_of]
            thing = wanted["fits"] if rng.random() < 0.4 else f"{wanted['fits']} {self._term(main, brand_asked=True)}"
            term = f"{term} {self._pick(PREPOSITIONS)} {thing}"
        elif kind.part_of is not None:
            main_term = self._term(self._vocabulary.types[kind.part_of], brand_asked=False)
            term = f"{main_term} {term}" if rng.random() < 0.4 else f"{term} for {main_term}"
        asked = [self._pick(self._vocabulary.forms(v, "ask")) for k, v in wanted.items() if k not in ("brand", "fits")]
        cut = int(rng.integers(len(asked) + 1))
        words = [*asked[:cut], term, *asked[cut:]]
        if "brand" in wanted:
            words.insert(0 if rng.random() < 0.7 else len(words), wanted["brand"])
        text = " ".join(words)
        return self._pick(self._vocabulary.wrappers).format(text) if rng.random() < WRAPPER_SHARE else text

    def _term(self, kind: ProductType, *, brand_asked: bool) -> str:
        """A name of the type; a brand that stands for the type is left out where the query names a brand anyway."""
        source = self._rng.choice(len(TERM_SHARES), p=[share for _, share in TERM_SHARES])
        terms: tuple[str, ...] = (kind.titles, kind.ask, kind.slang)[source]
        if brand_asked:
            brands = {brand.lower() for brand in kind.brands}
            terms = tuple(term for term in terms if term not in brands) or kind.ask
        return self._pick(terms)

    def _pick(self, options: Sequence[str]) -> str:
        return options[int(self._rng.integers(len(options)))]


def _misspell(queries: list[Query], rng: np.random.Generator) -> list[Query]:
    """One typing error in exactly the declared share of the queries, texts kept distinct."""
    texts = {query.text for query in queries}
    left = round(MISSPELT_SHARE * len(queries))
    result = list(queries)
    for number in rng.permutation(len(queries)).tolist():
        if left == 0:
            break
        query = queries[number]
        text = _typo(query.text, rng)
        if text in texts:
            continue
        texts.add(text)
        result[number] = Query(text, query.kind, query.wanted, query.target, query.spelt)
        left -= 1
    return result


def _typo(text: str, rng: np.random.Generator) -> str:
    """Swap, drop, double or hit a neighbouring key, inside one word of at least four letters; else the text itself."""
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) >= 4 and word.isalpha()]
    if not long:
        return text
    place = long[int(rng.integers(len(long)))]
    word = words[place]
    at = int(rng.integers(1, len(word) - 1))
    edits = (
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
        word[:at] + NEIGHBOURS.get(word[at], word[at]) + word[at + 1 :],
    )
    words[place] = edits[int(rng.integers(len(edits)))]
    return " ".join(words)
