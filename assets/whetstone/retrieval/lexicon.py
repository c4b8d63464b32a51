"""The lexicon of a category: what its own products call things, harvested from their data ([A] section 3).

Kinds of entry, each a phrase of one to four stemmed words:
    brand        the product's brand; a title that opens with a known brand counts too
    node         a node of the category path, or a part of one ("Cases, Holsters & Sleeves" has three)
    attribute    an attribute's value
    head         the head noun of a title's segment: its last word that is no number, measure or stop word, in at least two products
    collocation  two or three words that stand together in titles far more often than by chance

A product *holds* an entry through its own fields, never by a mere mention: of a title only the part that names the product is read, so
"case for iPhone 12" and "charger with cable" hold neither iPhone nor cable. That is where the channel differs from bm25. [A] is arXiv
2606.23911. NPMI: Bouma 2009, "Normalized (pointwise) mutual information in collocation extraction"; for three words its multivariate form.
"""

import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from math import log1p

import numpy as np
import pandas as pd
import Stemmer
from bm25s.stopwords import STOPWORDS_EN
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

from whetstone.retrieval.ranking import Positions

MAX_WORDS = 4
LEAST_COUNT = 3  # a collocation is seen at least this often; head nouns need one less, but in different products
LEAST_NPMI = 0.4  # from -1 (never together) over 0 (by chance) to 1 (only together)

_WORD = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+")
_WITH = re.compile(r"\bw/", re.IGNORECASE)
_POSSESSIVE = re.compile(r"['\u2019]s\b")
_MARKS = re.compile("[\u0300-\u036f]")
_SEGMENT = re.compile(r"[,;:|()\[\]{}!?\u2022\u00b7\n\t]|\s[-\u2013\u2014~/&+*]\s|\.\s")
_PART = re.compile(r"[,;:|()\[\]{}/&\n\t]|\band\b", re.IGNORECASE)
Held = defaultdict[str, list[int]]  # phrase -> positions of the products that hold it, possibly repeated
Titles = Sequence[Sequence[Sequence[str]]]  # stemmed words of the own segments of each product's title
_stems: Callable[[Sequence[str]], list[str]] = Stemmer.Stemmer("english").stemWords  # Snowball, of lower-case words


def words(text: str) -> list[str]:
    """Stemmed words of a text: no case, accents or possessives, digits apart from letters ("128GB" is "128 gb")."""
    return _stems(_split(text))


def own_segments(title: str) -> list[list[str]]:
    """Stemmed words of the parts of a title that name the product itself; see the module's text."""
    segments = []
    for segment in _SEGMENT.split(_WITH.sub(" with ", title)):
        raw = _split(segment)
        end = next((place for place, word in enumerate(raw) if word in _CLAUSE), len(raw))
        if end:
            segments.append([sys.intern(word) for word in _stems(raw[:end])])  # a million titles share their words
    return segments


def head_noun(segment: Sequence[str]) -> str | None:
    """The last word of a stemmed segment that is no number, measure, stop word or single letter."""
    return next((word for word in reversed(segment) if len(word) > 1 and not word[0].isdigit() and word not in _NOT_HEADS), None)


@dataclass(frozen=True)
class Lexicon:
    """Entries of one category and who holds them."""

    phrases: Mapping[str, int]  # stemmed phrase -> entry number
    holds: sparse.csc_array  # (n_products, n_entries) bool

    @cached_property
    def document_frequency(self) -> Mapping[str, int]:
        """Word -> number of products that hold an entry with that word."""
        if not self.phrases:
            return {}
        words_of = CountVectorizer(analyzer=str.split)
        contains = words_of.fit_transform(self.phrases)  # (n_entries, n_words)
        count = np.asarray((self.holds.astype(np.int32) @ contains > 0).sum(axis=0)).ravel()
        return dict(zip(words_of.get_feature_names_out(), count.tolist(), strict=True))

    def idf(self, word: str) -> float:
        """log(1 + (N - df + 0.5) / (df + 0.5)), Lucene's; a word that no entry has weighs most."""
        count = self.document_frequency.get(word, 0)
        return log1p((self.holds.shape[0] - count + 0.5) / (count + 0.5))

    def column(self, entry: int) -> Positions:
        """Positions of the products that hold an entry."""
        return np.asarray(self.holds.indices[slice(*self.holds.indptr[entry : entry + 2])])


def longest_sizes(phrases: Iterable[str]) -> dict[str, int]:
    """First word -> number of words of the longest phrase that begins with it."""
    longest: dict[str, int] = {}
    for phrase in phrases:
        first = phrase.partition(" ")[0]
        longest[first] = max(longest.get(first, 0), 1 + phrase.count(" "))
    return longest


def longest_matches(found: Sequence[str], longest: Mapping[str, int], known: Container[str]) -> Iterator[tuple[int, int]]:
    """Spans [start, end) of the words that are phrases in `known`, from the left, the longest at each place."""
    start = 0
    while start < len(found):
        size = min(longest.get(found[start], 0), len(found) - start)
        while size and " ".join(found[start : start + size]) not in known:
            size -= 1
        if size:
            yield start, start + size
        start += size or 1


def harvest(products: pd.DataFrame) -> Lexicon:
    """The lexicon of products (title, brand, category_path, attributes; any may be missing), whose rows are theirs, in their order."""
    held: Held = defaultdict(list)
    brands, values = set[str](), set[str]()
    phrases = cache(_phrases)  # brands, nodes and values repeat
    for product, (brand, path, attributes) in enumerate(products[["brand", "category_path", "attributes"]].itertuples(index=False)):
        nodes = path if isinstance(path, Sequence | np.ndarray) else ()
        facts = attributes.values() if isinstance(attributes, dict) else ()
        named = [phrase for value in (*nodes, *facts) for phrase in phrases(value)]
        values.update(named)
        brands.update(phrases(brand))
        for phrase in (*phrases(brand), *named):
            held[phrase].append(product)
    titles = [own_segments(title) if isinstance(title, str) else [] for title in products["title"]]
    _hold_mentions(titles, held, brands, values)
    _hold_heads(titles, held)
    _hold_collocations(titles, held)
    entries = {phrase: number for number, phrase in enumerate(sorted(held))}
    rows = [product for holders in held.values() for product in holders]
    columns = [entries[phrase] for phrase, holders in held.items() for _ in holders]
    holds = sparse.csc_array((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(len(products), len(entries)))
    return Lexicon(entries, holds)  # a repeated pair stays True


def _hold_mentions(titles: Titles, held: Held, brands: set[str], values: set[str]) -> None:
    """A title holds the attribute values and nodes that its own part names, and a brand that it opens with."""
    longest_value, longest_brand = longest_sizes(values), longest_sizes(brands)
    for product, segments in enumerate(titles):
        for segment in segments:
            for start, end in longest_matches(segment, longest_value, values):
                held[" ".join(segment[start:end])].append(product)
        start, end = next(longest_matches(segments[0], longest_brand, brands), (-1, 0)) if segments else (-1, 0)
        if start == 0:
            held[" ".join(segments[0][:end])].append(product)


def _hold_heads(titles: Titles, held: Held) -> None:
    heads = [(product, head) for product, segments in enumerate(titles) for head in {head_noun(segment) for segment in segments} if head]
    count = Counter(head for _, head in heads)
    for product, head in heads:
        if count[head] >= LEAST_COUNT - 1:
            held[head].append(product)


def _hold_collocations(titles: Titles, held: Held) -> None:
    """Titles hold two or three words in a row whose count and NPMI are high enough.

    NPMI = log(p(a, b, ..) / (p(a) p(b) ..)) / (-(n - 1) log p(a, b, ..)).
    """
    owner = [product for product, segments in enumerate(titles) for segment in segments for _ in range(len(segment) + 1)]
    said = [word for segments in titles for segment in segments for word in (*segment, "")]  # "" ends a segment: no phrase crosses it
    tokens, vocabulary = pd.factorize(np.array(said, dtype=object))
    log_share = np.log(np.bincount(tokens) / max(len(tokens), 1))
    is_stop = np.array([word in STOP_STEMS or not word for word in vocabulary], dtype=bool)
    words_at = pd.Series(tokens).mask(is_stop[tokens])
    for size in (2, 3):
        grams = pd.DataFrame({place: words_at.shift(-place) for place in range(size)}).dropna().astype(int)
        count = grams.groupby(list(grams))[0].transform("size")
        joint = np.log(count / len(tokens))
        npmi = (joint - log_share[grams].sum(axis=1)) / (-(size - 1) * joint)
        kept = grams[(count >= LEAST_COUNT) & (npmi >= LEAST_NPMI)]
        for place, phrase in zip(kept.index, vocabulary[kept], strict=True):
            held[" ".join(phrase)].append(owner[place])


def _phrases(value: object) -> tuple[str, ...]:
    """The distinct phrases of a field's value: as a whole, and each part of a list; none of what is no text."""
    parts = (words(part) for part in (value, *_PART.split(value))) if isinstance(value, str) else ()
    fitting = (part for part in parts if len(part) <= MAX_WORDS and not STOP_STEMS.issuperset(part))
    return tuple(dict.fromkeys(" ".join(part) for part in fitting))


def _split(text: str) -> list[str]:
    plain = text.casefold() if text.isascii() else _MARKS.sub("", unicodedata.normalize("NFKD", text).casefold())
    return _WORD.findall(_POSSESSIVE.sub("", plain))


STOP_STEMS = frozenset(_stems(STOPWORDS_EN))
_CLAUSE = frozenset(_split("for with without compatible fits fit from by includes including"))
"""From one of these on, a title's segment is about something else than the product."""
_MEASURES = words(
    "pack pcs pc piece count ct set pair inch in ft feet foot cm mm oz ounce lb gram kg mg ml liter gallon gal volt "
    "watt mah gb tb mb xl xxl large medium small size qty color new"
)
_NOT_HEADS = STOP_STEMS.union(_MEASURES)
