"""Queries of the demo shop: an intent drawn around a product, and the words a shopper finds for it.

Every query starts from a product that satisfies it. Attributes are asked for until the answer is of a handy size, as
shoppers do. The words come from the shoppers' side of the vocabulary: plain words, slang, a brand that stands for a
whole category, other units. Frequencies follow Zipf's law, broad queries first; a fixed share is misspelt.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whetstone.catalog.demo.products import Stock
from whetstone.catalog.demo.vocabulary import ProductType, Vocabulary
from whetstone.platform.errors import WhetstoneError

MISSPELT_SHARE = 0.08
ZIPF_EXPONENT = 1.05
TOP_FREQUENCY_PER_QUERY = 5
TERM_SHARES = (0.20, 0.54, 0.26)  # the catalog's word, plain words, slang
WANTED_SHARES = (0.2, 0.42, 0.28, 0.1)  # of 0, 1, 2, 3 wanted attributes
HANDY_ANSWERS = 20
BRAND_SHARE = 0.25
FITS_SHARE = 0.8
STUBBORN_SHARE = 0.1  # some shoppers never say what they want
WRAPPER_SHARE = 0.06
PREPOSITIONS = ("for", "for", "for my", "to fit", "to go with")
PATIENCE = 1_000  # attempts in a row that find nothing new
# A key next to each on a QWERTY keyboard.
NEIGHBOURS = dict(zip("qwertyuiopasdfghjklzxcvbnm", "wqreytiuposafdhgkjkxzvcnbn", strict=True))


@dataclass(frozen=True, slots=True)
class Query:
    """A query before it has an id; `kind` is a type's index and `target` the row of the product it was drawn around."""

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
    """Queries with distinct texts, a share of them misspelt; WhetstoneError: the shop is too small for that many."""
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


def zipf_frequencies(queries: Sequence[Query], rng: np.random.Generator) -> NDArray[np.int64]:
    """Frequency of each query: proportional to 1 / rank^1.05, where queries that want little tend to rank first."""
    breadth = np.array([len(query.wanted) + query.is_misspelt for query in queries]) + rng.normal(0, 1.0, len(queries))
    rank = np.argsort(np.argsort(breadth)) + 1
    return np.maximum(1, TOP_FREQUENCY_PER_QUERY * len(queries) / rank**ZIPF_EXPONENT).astype(np.int64)


def intent_of(query: Query, kind: ProductType) -> dict[str, Any]:
    """The hidden intent of a query for this type, as `truth` describes it."""
    # A charger for brand X goes with things of X; a thing of X goes with accessories that fit X.
    agreeing = {"fits": "brand"} if "fits" in query.wanted else {"brand": "fits"} if kind.part_of is None else {}
    return {
        "type": kind.name,
        "wanted": query.wanted,
        "hard": [key for key in query.wanted if key == "fits"],
        "swaps": sorted(kind.swaps),
        "complements": sorted(kind.complements),
        "pairing": {there: query.wanted[here] for here, there in agreeing.items() if here in query.wanted},
        "spelt": query.spelt,
        "is_misspelt": query.is_misspelt,
    }


@dataclass(frozen=True, slots=True)
class _Speaker:
    """Turns a product into what a shopper who wants it types."""

    vocabulary: Vocabulary
    stock: Stock
    rng: np.random.Generator

    def ask(self, row: int) -> Query:
        kind = int(self.stock.type_of[row])
        wanted = self._wants(kind, self.stock.attributes(row))
        text = " ".join(self._words(self.stock.types[kind], wanted).lower().split())
        return Query(text, kind, wanted, row, text)

    def _wants(self, kind: int, attributes: dict[str, str]) -> dict[str, str]:
        rng = self.rng
        order = rng.permutation([key for key in attributes if key not in ("brand", "fits")]).tolist()
        if "brand" in attributes:
            order.insert(0 if rng.random() < BRAND_SHARE else len(order), "brand")
        count = rng.choice(len(WANTED_SHARES), p=WANTED_SHARES)
        asks_fit = "fits" in attributes and rng.random() < FITS_SHARE
        wanted = {key: attributes[key] for key in [*(["fits"] if asks_fit else []), *order[:count]]}
        is_stubborn = rng.random() < STUBBORN_SHARE
        for key in order[count:]:
            if is_stubborn or (self.stock.off(kind, wanted) == 0).sum() <= HANDY_ANSWERS:
                break
            wanted[key] = attributes[key]
        return wanted

    def _words(self, kind: ProductType, wanted: dict[str, str]) -> str:
        rng = self.rng
        term = self._term(kind, brand_asked="brand" in wanted)
        if kind.part_of is not None:
            main = self.vocabulary.types[kind.part_of]
            if "fits" in wanted:
                thing = wanted["fits"] if rng.random() < 0.4 else f"{wanted['fits']} {self._term(main, brand_asked=True)}"
                term = f"{term} {self._pick(PREPOSITIONS)} {thing}"
            else:
                thing = self._term(main, brand_asked=False)
                term = f"{thing} {term}" if rng.random() < 0.4 else f"{term} for {thing}"
        words = [self._pick(self.vocabulary.forms(v, "ask")) for k, v in wanted.items() if k not in ("brand", "fits")]
        words.insert(int(rng.integers(len(words) + 1)), term)
        if "brand" in wanted:
            words.insert(0 if rng.random() < 0.7 else len(words), wanted["brand"])
        text = " ".join(words)
        return self._pick(self.vocabulary.wrappers).format(text) if rng.random() < WRAPPER_SHARE else text

    def _term(self, kind: ProductType, *, brand_asked: bool) -> str:
        """A name of the type; a brand that stands for the type is left out where the query names a brand anyway."""
        terms: Sequence[str] = (kind.titles, kind.ask, kind.slang)[self.rng.choice(len(TERM_SHARES), p=TERM_SHARES)]
        if brand_asked:
            brands = {brand.lower() for brand in kind.brands}
            terms = [term for term in terms if term not in brands] or kind.ask
        return self._pick(terms)

    def _pick(self, options: Sequence[str]) -> str:
        return options[int(self.rng.integers(len(options)))]


def _misspell(queries: list[Query], rng: np.random.Generator) -> list[Query]:
    """One typing error in exactly the declared share of the queries, texts kept distinct."""
    texts = {query.text for query in queries}
    result = list(queries)
    for number in rng.permutation(len(queries)).tolist():
        if len(texts) - len(queries) >= round(MISSPELT_SHARE * len(queries)):
            break
        text = _typo(queries[number].text, rng)
        if text not in texts:
            texts.add(text)
            result[number] = replace(queries[number], text=text)
    return result


def _typo(text: str, rng: np.random.Generator) -> str:
    """Swap, drop, double or hit a neighbouring key, inside one word of at least four letters; else the text itself."""
    words = text.split(" ")
    long = [place for place, word in enumerate(words) if len(word) >= 4 and word.isalpha()]
    if not long:
        return text
    place = rng.choice(long)
    word = words[place]
    at = int(rng.integers(1, len(word) - 1))
    middles = (word[at + 1] + word[at], word[at + 1], word[at] + word[at : at + 2], NEIGHBOURS.get(word[at], word[at]) + word[at + 1])
    words[place] = word[:at] + middles[rng.integers(len(middles))] + word[at + 2 :]
    return " ".join(words)
