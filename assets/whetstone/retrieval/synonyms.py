"""Synonyms of the dictionary channel: declared in a Solr synonym file, or learned from train judgments by association above chance.

Declared, one rule a line, `#` begins a comment, `\\,` and `\\=>` are literal:
    sofa, couch, settee      each stands for all of them
    tv => television, telly  what is left of the arrow is replaced

Learned: shoppers' words that the catalog doesn't use. A query is one trial, however many products were judged for it. With
R(q) = its relevant products (grade >= 3), a phrase `a` of q is a *gap* if fewer than half of R(q) say it, and s(q, b) = share of R(q) that
hold entry `b` of the lexicon. Over the queries with gap a (n of them) and all N queries:

    k = sum of s(q, b) over the queries with gap a,   K = sum over all queries
    LLR = 2 * sum over the 2 x 2 table (k, n - k; K - k, N - n - K + k) of  observed * log(observed / expected)

b is taken for a where LLR >= 15.14 (p < 0.0001 at one degree of freedom), k / n >= 0.5 and above chance, and n >= 3; its credit is k / n.
Dunning 1993, "Accurate methods for the statistics of surprise and coincidence", Computational Linguistics 19(1).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from whetstone.platform.errors import WhetstoneError
from whetstone.retrieval.lexicon import MAX_WORDS, STOP_STEMS, Lexicon, words

Synonyms = Mapping[str, Mapping[str, float]]
"""Stemmed query phrase -> stemmed phrases that it stands for, each with its credit in 0..1; a phrase that isn't a key stands for itself."""

RELEVANT_GRADE = 3
LEAST_QUERIES = 3
LEAST_SHARE = 0.5
LEAST_LLR = 15.14
MOST_PER_PHRASE = 3
_COMMA, _ARROW = re.compile(r"(?<!\\),"), re.compile(r"(?<!\\)=>")
_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True)
class Learned:
    """One learned synonym: `phrase` of queries, `entry` of the lexicon, both stemmed."""

    phrase: str
    entry: str
    credit: float
    llr: float
    count_queries: int


def parse_solr(lines: Iterable[str], source: str = "synonyms") -> dict[str, dict[str, float]]:
    """Rules of a Solr synonym file, normalised and stemmed as queries are.

    Args:
        lines: the file's lines.
        source: what the file is called in messages.

    Returns:
        Synonyms with credit 1; a phrase with several rules has all their targets, as in Solr.

    Raises:
        WhetstoneError: more than one arrow, an empty term, a term without a word or with too many, or a line with one term;
            the message gives file and line.
    """
    table: dict[str, dict[str, float]] = defaultdict(dict)
    for number, line in enumerate(lines, start=1):
        rule = line.split("#", 1)[0].strip()
        if not rule:
            continue
        sides = [
            [_term(term, f"{source}, line {number}") for term in _COMMA.split(side)] for side in _ARROW.split(rule)
        ]
        if len(sides) > 2 or (len(sides) == 1 and len(sides[0]) < 2):
            raise WhetstoneError(f"{source}, line {number}: {rule!r} is no rule; write `a, b, c` or `a, b => c, d`")
        for phrase in sides[0]:
            table[phrase].update(dict.fromkeys(sides[-1], 1.0))
    return dict(table)


def learn(judgments: pd.DataFrame, products: pd.DataFrame, lexicon: Lexicon) -> list[Learned]:
    """Synonyms that the relevant products of train queries show; see the module's text.

    Args:
        judgments: query_id, text (the query's), product_id, grade; of train queries only.
        products: product_id, text; in the order of the lexicon's rows. Judgments of other products are left out.
        lexicon: harvested from these products.

    Returns:
        At most three per phrase, strongest first within it, phrases in order.

    Raises:
        WhetstoneError: judgments without the query's text.
    """
    if "text" not in judgments.columns:
        raise WhetstoneError("judgments lack the column 'text'; join them with the train queries on query_id")
    place = {product_id: position for position, product_id in enumerate(products["product_id"])}
    relevant = judgments[(judgments["grade"] >= RELEVANT_GRADE) & judgments["product_id"].isin(place)]
    texts, rows = products["text"].to_numpy(), lexicon.holds.tocsr()
    total = np.zeros(len(lexicon.phrases))
    gaps: dict[str, list[npt.NDArray[np.float64]]] = defaultdict(list)
    count_queries = 0
    for (_, query), group in relevant.groupby(["query_id", "text"], sort=True):
        found = sorted({place[product_id] for product_id in group["product_id"]})
        share = np.asarray(rows[found].mean(axis=0)).ravel()
        said = [f" {' '.join(words(texts[position]))} " for position in found]
        phrases = query_phrases(words(query))
        total += share
        count_queries += 1
        for phrase in phrases:
            if 2 * sum(f" {phrase} " in text for text in said) < len(said):
                gaps[phrase].append(share)
    learned: list[Learned] = []
    names = list(lexicon.phrases)
    for phrase in sorted(gaps):
        trials = len(gaps[phrase])
        if trials >= LEAST_QUERIES:
            together = np.sum(gaps[phrase], axis=0)
            llr = log_likelihood_ratio(together, trials, total, count_queries)
            above = together / trials > total / count_queries
            fit = np.flatnonzero((llr >= LEAST_LLR) & (together >= LEAST_SHARE * trials) & above)
            fit = [entry for entry in fit if names[entry] != phrase]
            best = sorted(fit, key=lambda entry: (-llr[entry], names[entry]))[:MOST_PER_PHRASE]
            learned += [Learned(phrase, names[b], float(together[b] / trials), float(llr[b]), trials) for b in best]
    return learned


def log_likelihood_ratio(
    together: npt.NDArray[np.float64], trials: float, total: npt.NDArray[np.float64], count: float
) -> npt.NDArray[np.float64]:
    """Dunning's G2 of 2 x 2 tables, elementwise.

    Args:
        together: mass of b in the trials with a (k), (n,).
        trials: trials with a.
        total: mass of b in all trials (K), (n,).
        count: all trials.

    Returns:
        (n,), >= 0; asymptotically chi-squared with one degree of freedom if a and b are independent.
    """
    observed = np.stack([together, trials - together, total - together, count - trials - total + together]).clip(min=0)
    row = np.array([trials, trials, count - trials, count - trials])[:, None]
    column = np.stack([total, count - total, total, count - total])
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(observed > 0, observed * np.log(observed * count / (row * column)), 0.0)
    ratio: npt.NDArray[np.float64] = 2 * terms.sum(axis=0).clip(min=0)
    return ratio


def combine(declared: Synonyms, learned: Sequence[Learned]) -> Synonyms:
    """Declared rules as they are, learned ones beside them: a phrase with only learned synonyms still stands for itself."""
    table = {phrase: dict(targets) for phrase, targets in declared.items()}
    for each in learned:
        targets = table.setdefault(each.phrase, {each.phrase: 1.0})
        targets[each.entry] = max(each.credit, targets.get(each.entry, 0.0))
    return table


def query_phrases(query: Sequence[str]) -> list[str]:
    """Distinct phrases of up to four stemmed words that neither begin nor end with a stop word."""
    spans = (
        (start, end) for start in range(len(query)) for end in range(start + 1, min(start + MAX_WORDS, len(query)) + 1)
    )
    return list(
        dict.fromkeys(
            " ".join(query[a:b]) for a, b in spans if query[a] not in STOP_STEMS and query[b - 1] not in STOP_STEMS
        )
    )


def _term(term: str, place: str) -> str:
    phrase = words(_ESCAPE.sub(r"\1", term))
    if not 0 < len(phrase) <= MAX_WORDS:
        raise WhetstoneError(f"{place}: the term {term.strip()!r} has {len(phrase)} words; a term has 1 to {MAX_WORDS}")
    return " ".join(phrase)
