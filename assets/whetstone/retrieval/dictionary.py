"""Channel `dictionary`: longest-match look-up of query phrases in the lexicon, expanded by synonyms ([A] section 3).

The query is cut from the left into the longest phrases that the lexicon or the synonyms know. A product that holds the entry of a phrase
(or of what it stands for) covers its words in full; one that holds only an entry for a part of the phrase covers that part by half, so that
"hot dog bun" prefers hot dog buns to dogs. With c(w, d) the best credit that d has for word w of query q:

    score(q, d) = sum over w of idf(w) * c(w, d) / sum over w of idf(w)        in 0..1

Stop words weigh nothing; words that nobody knows weigh most and stay in the denominator. Unlike bm25 it reads what a product *is* (brand,
category, attributes, the title's own part), not every word of its text, and follows synonyms. [A] is arXiv 2606.23911.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from whetstone.retrieval.channels import ChannelInputs
from whetstone.retrieval.lexicon import STOP_STEMS, Lexicon, harvest, longest_matches, longest_sizes, words
from whetstone.retrieval.ranking import Hits, Positions, top_k
from whetstone.retrieval.synonyms import Synonyms, combine, learn, parse_solr

PART_CREDIT = 0.5
"""What an entry for only a part of a longest match is worth."""
DECIMALS = 6


def search(inputs: ChannelInputs, depth: int) -> pd.DataFrame:
    """The channel's entry: harvest the lexicon, read and learn synonyms, look the queries up; a run."""
    lexicon = harvest(inputs.products)
    synonyms = combine(parse_solr(inputs.synonyms), learn(inputs.judgments, inputs.products, lexicon))
    shares = coverage(inputs.queries["text"].tolist(), lexicon, synonyms)
    found = ((shares.indices[start:end], shares.data[start:end]) for start, end in pairwise(shares.indptr))
    return top_k(found, inputs.products["product_id"].tolist(), inputs.queries["query_id"].tolist(), depth)


def coverage(queries: Sequence[str], lexicon: Lexicon, synonyms: Synonyms) -> sparse.csr_array:
    """Idf-weighted share of each query's text that each product covers, (n_queries, n_products), rounded so that equal coverage ties."""
    known = {phrase for phrase in lexicon.phrases if phrase not in synonyms}
    known.update(phrase for phrase, targets in synonyms.items() if not lexicon.phrases.keys().isdisjoint(targets))
    longest = longest_sizes(known)
    found: list[Hits] = []
    for query in map(words, queries):
        idf = np.array([0.0 if word in STOP_STEMS else lexicon.idf.get(word, lexicon.unknown_idf) for word in query])
        matches = [_cover(query, span, idf, lexicon, synonyms) for span in longest_matches(query, longest, known)]
        if matches and idf.any():
            products, place = np.unique(np.concatenate([held for held, _ in matches]), return_inverse=True)
            covered = np.bincount(place, np.concatenate([weights for _, weights in matches]))
            found.append((products, np.round(covered / idf.sum(), DECIMALS)))
        else:
            found.append((np.empty(0, dtype=np.intp), np.empty(0)))
    starts = np.cumsum([0, *(len(products) for products, _ in found)])
    columns = np.concatenate([starts[:0], *(products for products, _ in found)])
    shares = np.concatenate([np.empty(0), *(shares for _, shares in found)])
    matrix = sparse.csr_array((shares, columns, starts), shape=(len(queries), lexicon.holds.shape[0]))
    matrix.eliminate_zeros()  # a match of stop words alone
    return matrix


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
