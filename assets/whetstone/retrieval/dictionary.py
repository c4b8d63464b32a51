"""Channel `dictionary`: longest-match look-up of query phrases in the lexicon, expanded by synonyms ([A] section 3).

The query is cut from the left into the longest phrases that the lexicon or the synonyms know. A product that holds the entry of a phrase
(or of what it stands for) covers its words in full; one that holds only an entry for a part of the phrase covers that part by half, so that
"hot dog bun" prefers hot dog buns to dogs. With c(w, d) the best credit that d has for word w of query q:

    score(q, d) = sum over w of idf(w) * c(w, d) / sum over w of idf(w)        in 0..1

Stop words weigh nothing; words that nobody knows weigh most and stay in the denominator. Unlike bm25 it reads what a product *is* (brand,
category, attributes, the title's own part), not every word of its text, and follows synonyms. [A] is arXiv 2606.23911.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from whetstone.retrieval.channels import ChannelInputs
from whetstone.retrieval.lexicon import STOP_STEMS, Lexicon, harvest, longest_matches, longest_sizes, words
from whetstone.retrieval.ranking import Hits, Positions, top_k
from whetstone.retrieval.synonyms import Synonyms, combine, learn, parse_solr

PART_CREDIT = 0.5  # what an entry for only a part of a longest match is worth
DECIMALS = 6
_NOTHING = np.empty(0, dtype=np.intp)


def search(inputs: ChannelInputs, depth: int) -> pd.DataFrame:
    """The channel's entry: harvest the lexicon, read and learn synonyms, look the queries up; a run."""
    lexicon = harvest(inputs.products)
    synonyms = combine(parse_solr(inputs.synonyms), learn(inputs.judgments, inputs.products, lexicon))
    found = coverage(inputs.queries["text"].tolist(), lexicon, synonyms)
    return top_k(found, inputs.products["product_id"].tolist(), inputs.queries["query_id"].tolist(), depth)


def coverage(queries: Iterable[str], lexicon: Lexicon, synonyms: Synonyms) -> Iterator[Hits]:
    """For each query the products that cover some of it, and the idf-weighted share, rounded so that equal coverage ties."""
    known = {phrase for phrase in lexicon.phrases if phrase not in synonyms}
    known.update(phrase for phrase, targets in synonyms.items() if not lexicon.phrases.keys().isdisjoint(targets))
    longest = longest_sizes(known)
    for query in map(words, queries):
        idf = np.array([0.0 if word in STOP_STEMS else lexicon.idf(word) for word in query])
        matches = [_cover(query, span, idf, lexicon, synonyms) for span in longest_matches(query, longest, known)]
        products, place = np.unique(np.concatenate([_NOTHING, *(held for held, _ in matches)]), return_inverse=True)
        covered = np.bincount(place, np.concatenate([_NOTHING, *(weights for _, weights in matches)]))
        shares = np.round(covered / (idf.sum() or 1.0), DECIMALS)
        yield products[shares > 0], shares[shares > 0]  # a match of stop words alone covers nothing


def _cover(query: Sequence[str], span: tuple[int, int], idf: npt.NDArray[np.float64], lexicon: Lexicon, synonyms: Synonyms) -> Hits:
    """Products that hold the longest match `span`, or an entry for a part of it, and the idf of the words that each covers."""
    first, last = span
    holders: list[tuple[int, int, float, Positions]] = []  # words [start, end) are covered this well by these products
    for start, end in ((a, b) for a in range(first, last) for b in range(a + 1, last + 1)):
        phrase = " ".join(query[start:end])
        whole = 1.0 if (start, end) == span else PART_CREDIT
        for target, credit in synonyms.get(phrase, {phrase: 1.0}).items():
            if target in lexicon.phrases:
                holders.append((start - first, end - first, whole * credit, lexicon.column(lexicon.phrases[target])))
    products = np.unique(np.concatenate([held for *_, held in holders]))
    covered = np.zeros((last - first, len(products)))
    for start, end, credit, held in holders:
        here = np.ix_(np.arange(start, end), np.searchsorted(products, held))
        covered[here] = np.maximum(covered[here], credit)
    return products, idf[first:last] @ covered
