"""Queries of the demo shop: an intent drawn around a product, and the words a shopper finds for it.

Every query starts from a product that satisfies it. Attributes are asked for until the answer is of a handy size, as shoppers do. The
words come from the shoppers' side of the vocabulary: plain words, slang, a brand that stands for a whole category, other units.
Frequencies follow Zipf's law, broad queries first; a fixed share is misspelt.
"""

from collections.abc import Sequence
from typing import NamedTuple

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


class Query(NamedTuple):
    """A query before it has an id; `kind` is a type's index and `target` the row of the product it was drawn around."""

    text: str
    kind: int
    wanted: dict[str, str]
    target: int
    spelt: str  # as it was meant


def draw_queries(vocabulary: Vocabulary, stock: Stock, queries: int, rng: np.random.Generator) -> list[Query]:
    """Queries with distinct texts, a share of them misspelt; WhetstoneError: the shop is too small for that many."""
    found: dict[str, Query] = {}
    misses = 0
    while len(found) < queries:
        query = _ask(vocabulary, stock, int(rng.integers(len(stock.type_of))), rng)
        misses = misses + 1 if query.text in found else 0
        found.setdefault(query.text, query)
        if misses > PATIENCE:
            shop = f"a shop of {len(stock.type_of)} products; ask for fewer queries or more products"
            raise WhetstoneError(f"demo catalog: only {len(found)} different queries of {queries} found in {shop}")
    return _misspell(list(found.values()), rng)


def zipf_frequencies(queries: Sequence[Query], rng: np.random.Generator) -> NDArray[np.int64]:
    """Frequency of each query: proportional to 1 / rank^1.05, where queries that want little tend to rank first."""
    breadth = np.array([len(query.wanted) + (query.text != query.spelt) for query in queries]) + rng.normal(0, 1.0, len(queries))
    rank = np.argsort(np.argsort(breadth)) + 1
    return np.maximum(1, TOP_FREQUENCY_PER_QUERY * len(queries) / rank**ZIPF_EXPONENT).astype(np.int64)


def _ask(vocabulary: Vocabulary, stock: Stock, row: int, rng: np.random.Generator) -> Query:
    """What a shopper types who wants this product."""
    kind = int(stock.type_of[row])
    wanted = _wants(stock, kind, stock.attributes(row), rng)
    text = " ".join(_words(vocabulary, stock.types[kind], wanted, rng).lower().split())
    return Query(text, kind, wanted, row, text)


def _wants(stock: Stock, kind: int, attributes: dict[str, str], rng: np.random.Generator) -> dict[str, str]:
    order = rng.permutation([key for key in attributes if key not in ("brand", "fits")]).tolist()
    if "brand" in attributes:
        order.insert(0 if rng.random() < BRAND_SHARE else len(order), "brand")
    count = rng.choice(len(WANTED_SHARES), p=WANTED_SHARES)
    asks_fit = "fits" in attributes and rng.random() < FITS_SHARE
    wanted = {key: attributes[key] for key in [*(["fits"] if asks_fit else []), *order[:count]]}
    is_stubborn = rng.random() < STUBBORN_SHARE
    for key in order[count:]:
        if is_stubborn or (stock.off(kind, wanted) == 0).sum() <= HANDY_ANSWERS:
            break
        wanted[key] = attributes[key]
    return wanted


def _words(vocabulary: Vocabulary, kind: ProductType, wanted: dict[str, str], rng: np.random.Generator) -> str:
    term = _term(kind, "brand" in wanted, rng)
    if kind.part_of is not None:
        main = vocabulary.types[kind.part_of]
        if "fits" in wanted:
            thing = wanted["fits"] if rng.random() < 0.4 else f"{wanted['fits']} {_term(main, True, rng)}"
            term = f"{term} {_pick(PREPOSITIONS, rng)} {thing}"
        else:
            thing = _term(main, False, rng)
            term = f"{thing} {term}" if rng.random() < 0.4 else f"{term} for {thing}"
    words = [_pick(vocabulary.forms(value, "ask"), rng) for key, value in wanted.items() if key not in ("brand", "fits")]
    words.insert(int(rng.integers(len(words) + 1)), term)
    if "brand" in wanted:
        words.insert(0 if rng.random() < 0.7 else len(words), wanted["brand"])
    text = " ".join(words)
    return _pick(vocabulary.wrappers, rng).format(text) if rng.random() < WRAPPER_SHARE else text


def _term(kind: ProductType, has_brand: bool, rng: np.random.Generator) -> str:
    """A name of the type; a brand that stands for the type is left out where the query names a brand anyway."""
    terms: Sequence[str] = (kind.titles, kind.ask, kind.slang)[rng.choice(len(TERM_SHARES), p=TERM_SHARES)]
    if has_brand:
        brands = {brand.lower() for brand in kind.brands}
        terms = [term for term in terms if term not in brands] or kind.ask
    return _pick(terms, rng)


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


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
            result[number] = queries[number]._replace(text=text)
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
