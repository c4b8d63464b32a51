r"""Synonyms of the dictionary channel: declared in a Solr synonym file, or learned from train judgments.

Declared, one rule a line; a line that begins with # is a comment, `\,` and `\=>` are literal:
    sofa, couch, settee      each stands for all of them
    tv => television, telly  what is left of the arrow is replaced

Learned by association above chance: shoppers' words that the catalog doesn't use. A query is one trial, however many products were judged
for it. R(q) are its relevant products (grade >= 3); a phrase a of q is a *gap* if fewer than half of R(q) say it; s(q, b) is the share of
R(q) that hold entry b of the lexicon, 0 if q says b itself. Over the n queries with gap a and all N:

    k = sum of s(q, b) over the queries with gap a,   K = sum over all queries
    LLR = 2 * sum over the 2 x 2 table (k, n - k; K - k, N - n - K + k) of  observed * log(observed / expected)

b is taken for a where LLR >= 15.14 (p < 0.0001 at one degree of freedom), k / n >= 0.5 and above chance, and n >= 3; its credit is k / n.
LLR: Dunning 1993, "Accurate methods for the statistics of surprise and coincidence".
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from scipy.special import rel_entr

from whetstone.platform.errors import WhetstoneError
from whetstone.retrieval.lexicon import MAX_WORDS, STOP_STEMS, Lexicon, words

Synonyms = Mapping[str, Mapping[str, float]]
"""Stemmed query phrase -> stemmed phrases it stands for, with a credit in 0..1; if not a key, it stands for itself."""

RELEVANT_GRADE = 3
LEAST_QUERIES = 3
LEAST_SHARE = 0.5
LEAST_LLR = 15.14
MOST_PER_PHRASE = 3
_COMMA, _ARROW = re.compile(r"(?<!\\),"), re.compile(r"(?<!\\)=>")
_ESCAPE = re.compile(r"\\(.)")


class Learned(NamedTuple):
    """One learned synonym: `phrase` of queries, `entry` of the lexicon, both stemmed."""

    phrase: str
    entry: str
    credit: float
    llr: float
    count_queries: int


def parse_solr(lines: Iterable[str], source: str = "synonyms") -> dict[str, dict[str, float]]:
    """Rules of a Solr synonym file, stemmed as queries are, with credit 1; a phrase with several rules has all their targets, as in Solr.

    WhetstoneError: more than one arrow, a term without a word, or a line with only one term; it gives `source` and line.
    """
    table: dict[str, dict[str, float]] = defaultdict(dict)
    for number, line in enumerate(lines, start=1):
        rule = line.strip()
        if not rule or rule.startswith("#"):
            continue
        sides = [[_term(term, f"{source}, line {number}") for term in _COMMA.split(side)] for side in _ARROW.split(rule)]
        if len(sides) > 2 or (len(sides) == 1 and len(sides[0]) < 2):
            raise WhetstoneError(f"{source}, line {number}: {rule!r} is no rule; write `a, b, c` or `a, b => c, d`")
        for phrase in sides[0]:
            table[phrase].update(dict.fromkeys(sides[-1], 1.0))
    return dict(table)


def learn(judgments: pd.DataFrame, products: pd.DataFrame, lexicon: Lexicon) -> list[Learned]:
    """Synonyms that the relevant products of train queries show: at most three a phrase, strongest first, phrases in order.

    `judgments` (query_id, text of the query, product_id, grade) are of train queries only; those of other products than `products`
    (product_id, text; in the order of the lexicon's rows) are left out. WhetstoneError: judgments without the query's text.
    """
    if "text" not in judgments.columns:
        raise WhetstoneError("judgments lack the column 'text'; join them with the train queries on query_id")
    trials = _trials(judgments, products)
    held = _unsaid_shares(trials, lexicon)  # (n_queries, n_entries)
    total, names = held.sum(axis=0), list(lexicon.phrases)
    queries_with: dict[str, list[int]] = defaultdict(list)
    for query, trial in enumerate(trials):
        for phrase in trial.gaps:
            queries_with[phrase].append(query)
    learned: list[Learned] = []
    for phrase, queries in sorted(queries_with.items()):
        if len(queries) < LEAST_QUERIES:
            continue
        together = held[queries].sum(axis=0)
        above_chance = together * len(trials) > total * len(queries)
        likely = np.flatnonzero((together >= LEAST_SHARE * len(queries)) & above_chance)
        llr = log_likelihood_ratio(together[likely], len(queries), total[likely], len(trials))
        found = [
            Learned(phrase, names[entry], float(together[entry] / len(queries)), float(ratio), len(queries))
            for entry, ratio in zip(likely, llr, strict=True)
            if ratio >= LEAST_LLR
        ]
        learned += sorted(found, key=lambda each: (-each.llr, each.entry))[:MOST_PER_PHRASE]
    return learned


class _Trial(NamedTuple):
    """One train query: its phrases, those that are gaps, and the positions of its relevant products."""

    phrases: Sequence[str]
    gaps: Sequence[str]
    relevant: Sequence[int]


def _trials(judgments: pd.DataFrame, products: pd.DataFrame) -> list[_Trial]:
    place = {product_id: position for position, product_id in enumerate(products["product_id"])}
    relevant = judgments[(judgments["grade"] >= RELEVANT_GRADE) & judgments["product_id"].isin(place.keys())]
    texts = products["text"].tolist()
    said = cache(lambda position: f" {' '.join(words(texts[position]))} ")
    trials = []
    for (_, query), group in relevant.groupby(["query_id", "text"]):
        found = sorted({place[product_id] for product_id in group["product_id"]})
        phrases = query_phrases(words(str(query)))
        gaps = [phrase for phrase in phrases if 2 * sum(f" {phrase} " in said(position) for position in found) < len(found)]
        trials.append(_Trial(phrases, gaps, found))
    return trials


def _unsaid_shares(trials: Sequence[_Trial], lexicon: Lexicon) -> sparse.csr_array:
    """s(q, b): share of each query's relevant products that hold each entry, 0 where the query says it itself."""
    shares = [(query, product, 1 / len(trial.relevant)) for query, trial in enumerate(trials) for product in trial.relevant]
    said = [
        (query, lexicon.phrases[phrase], 1.0) for query, trial in enumerate(trials) for phrase in trial.phrases if phrase in lexicon.phrases
    ]
    count_products, count_entries = lexicon.holds.shape
    held = _matrix(shares, (len(trials), count_products)) @ lexicon.holds.astype(np.float64)
    return sparse.csr_array(held - held * _matrix(said, (len(trials), count_entries)))


def _matrix(cells: Sequence[tuple[int, int, float]], shape: tuple[int, int]) -> sparse.csr_array:
    rows, columns, values = np.array(cells, dtype=float).reshape(-1, 3).T
    return sparse.csr_array((values, (rows.astype(np.intp), columns.astype(np.intp))), shape=shape)


def log_likelihood_ratio(
    together: npt.NDArray[np.float64], trials: int, total: npt.NDArray[np.float64], count: int
) -> npt.NDArray[np.float64]:
    """Dunning's G2 of 2 x 2 tables, (n,), >= 0; chi-squared with one degree of freedom if a and b are independent.

    `together` (n,) is the mass of b in the `trials` with a (k of n), `total` (n,) its mass in all `count` trials (K of N).
    """
    observed = np.stack([together, trials - together, total - together, count - trials - total + together]).clip(min=0)
    row = np.array([trials, trials, count - trials, count - trials])[:, None]
    column = np.stack([total, count - total, total, count - total])
    ratio: npt.NDArray[np.float64] = 2 * rel_entr(observed, row * column / count).sum(axis=0).clip(min=0)
    return ratio


def combine(declared: Synonyms, learned: Sequence[Learned]) -> Synonyms:
    """Declared rules and, beside them, learned ones: a phrase with only learned synonyms still stands for itself."""
    table = {phrase: dict(targets) for phrase, targets in declared.items()}
    for each in learned:
        targets = table.setdefault(each.phrase, {each.phrase: 1.0})
        targets[each.entry] = max(each.credit, targets.get(each.entry, 0.0))
    return table


def query_phrases(query: Sequence[str]) -> list[str]:
    """Distinct phrases of up to four stemmed words that neither begin nor end with a stop word."""
    spans = ((start, end) for start in range(len(query)) for end in range(start + 1, min(start + MAX_WORDS, len(query)) + 1))
    return list(dict.fromkeys(" ".join(query[a:b]) for a, b in spans if query[a] not in STOP_STEMS and query[b - 1] not in STOP_STEMS))


def _term(term: str, place: str) -> str:
    phrase = words(_ESCAPE.sub(r"\1", term))
    if not phrase:
        raise WhetstoneError(f"{place}: the term {term.strip()!r} has no word; remove it, or a comma too many")
    return " ".join(phrase)
