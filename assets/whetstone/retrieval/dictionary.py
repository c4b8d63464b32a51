"""Channel `dictionary`: longest-match look-up of query phrases in the lexicon, expanded by synonyms ([A] section 3).

The query is cut from the left into the longest phrases that the lexicon or the synonyms know. A product that holds the
entry of a phrase (or of what it stands for) covers its words in full; one that holds only an entry for a part of the
phrase covers that part by half, so that "hot dog bun" prefers hot dog buns to dogs. With c(w, d) the best credit that
d has for word w of query q:

    score(q, d) = sum over w of idf(w) * c(w, d) / sum over w of idf(w)        in 0..1

Stop words weigh nothing; words that nobody knows weigh most and stay in the denominator. Unlike bm25 it reads what a
product *is* (brand, category, attributes, the title's own part), not every word of its text, and follows synonyms.
[A] is arXiv 2606.23911.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from whetstone.retrieval.channels import ChannelInputs
from whetstone.retrieval.lexicon import STOP_STEMS, Lexicon, harvest, longest_matches, longest_sizes, words
from whetstone.retrieval.ranking import top_k
from whetstone.retrieval.synonyms import Synonyms, combine, learn, parse_solr

PART_CREDIT = 0.5
"""What an entry for only a part of a longest match is worth."""
DECIMALS = 6


def search(inputs: ChannelInputs, depth: int) -> pd.DataFrame:
    """The channel's entry: harvest the lexicon, read and learn synonyms, look the queries up; a run."""
    lexicon = harvest(inputs.products)
    synonyms = combine(parse_solr(inputs.synonyms), learn(inputs.judgments, inputs.products, lexicon))
    return top_k(
        coverage(list(inputs.queries["text"]), lexicon, synonyms),
        list(inputs.products["product_id"]),
        list(inputs.queries["query_id"]),
        depth,
        drop_non_positive=True,
    )


def coverage(queries: Sequence[str], lexicon: Lexicon, synonyms: Synonyms) -> sparse.csr_array:
    """Idf-weighted share of each query that each product covers.

    Args:
        queries: n_queries texts.
        lexicon: of n_products.
        synonyms: from `combine`; may be empty.

    Returns:
        (n_queries, n_products), sparse, in 0..1, rounded to 6 decimals so that equal coverage ties.
    """
    known = {phrase for phrase, targets in synonyms.items() if any(target in lexicon.phrases for target in targets)}
    known.update(phrase for phrase in lexicon.phrases if phrase not in synonyms)
    longest = longest_sizes(known)
    columns: list[npt.NDArray[np.intp]] = []
    values: list[npt.NDArray[np.float64]] = []
    for query in queries:
        products, shares = _cover(words(query), lexicon, synonyms, known, longest)
        columns.append(products)
        values.append(shares)
    starts = np.cumsum([0, *(len(each) for each in columns)])
    empty = np.empty(0, dtype=np.intp)
    return sparse.csr_array(
        (np.concatenate([empty.astype(float), *values]), np.concatenate([empty, *columns]), starts),
        shape=(len(queries), lexicon.holds.shape[0]),
    )


def _cover(
    query: Sequence[str], lexicon: Lexicon, synonyms: Synonyms, known: Container[str], longest: Mapping[str, int]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Ascending positions of the products that cover any of a query's stemmed words, and the share each covers."""
    idf = np.array([0.0 if word in STOP_STEMS else lexicon.idf.get(word, lexicon.unknown_idf) for word in query])
    found = [_cover_match(query, span, idf, lexicon, synonyms) for span in longest_matches(query, longest, known)]
    if not found or not idf.any():
        return np.empty(0, dtype=np.intp), np.empty(0)
    products, place = np.unique(np.concatenate([products for products, _ in found]), return_inverse=True)
    covered = np.bincount(place, np.concatenate([weights for _, weights in found]))
    return products, np.round(covered / idf.sum(), DECIMALS)


def _cover_match(
    query: Sequence[str], span: tuple[int, int], idf: npt.NDArray[np.float64], lexicon: Lexicon, synonyms: Synonyms
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Products that hold the longest match `span`, or an entry for a part of it, and the idf of the words that each covers."""
    first, last = span
    holders: list[tuple[int, int, float, npt.NDArray[np.intp]]] = []  # words [start, end) are covered this well by these products
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
