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

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from scipy.special import rel_entr
from sklearn.preprocessing import MultiLabelBinarizer

from whetstone.platform.errors import WhetstoneError
from whetstone.retrieval.lexicon import MAX_WORDS, STOP_STEMS, Lexicon, words

Synonyms = Mapping[str, Mapping[str, float]]
"""Stemmed query phrase -> stemmed phrases it stands for, with a credit in 0..1; if not a key, it stands for itself."""

RELEVANT_GRADE = 3
LEAST_QUERIES = 3
LEAST_SHARE = 0.5
LEAST_LLR = 15.14
MOST_PER_PHRASE = 3
LEARNED = ["phrase", "entry", "credit", "llr", "count_queries"]
_COMMA, _ARROW = re.compile(r"(?<!\\),"), re.compile(r"(?<!\\)=>")
_ESCAPE = re.compile(r"\\(.)")


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


def learn(judgments: pd.DataFrame, products: pd.DataFrame, lexicon: Lexicon) -> pd.DataFrame:
    """Synonyms that the relevant products of train queries show: at most three a phrase, strongest first, phrases in order.

    Returns phrase (of queries) and entry (of the lexicon), both stemmed, credit, llr, count_queries.
    `judgments` (query_id, text of the query, product_id, grade) are of train queries only; those of other products than `products`
    (product_id, text; in the order of the lexicon's rows) are left out. WhetstoneError: judgments without the query's text.
    """
    if "text" not in judgments.columns:
        raise WhetstoneError("judgments lack the column 'text'; join them with the train queries on query_id")
    located = judgments.assign(place=pd.Index(products["product_id"]).get_indexer(judgments["product_id"]))
    relevant = located[(located["grade"] >= RELEVANT_GRADE) & (located["place"] >= 0)]
    texts, holds = products["text"].tolist(), lexicon.holds.tocsr()
    said = cache(lambda place: f" {' '.join(words(texts[place]))} ")
    gaps, shares = [], []
    for (_, query), places in relevant.groupby(["query_id", "text"])["place"]:
        found, phrases = places.unique(), query_phrases(words(str(query)))
        gaps.append([phrase for phrase in phrases if 2 * sum(f" {phrase} " in said(place) for place in found) < len(found)])
        share = holds[found].sum(axis=0) / len(found)
        share[[lexicon.phrases[phrase] for phrase in phrases if phrase in lexicon.phrases]] = 0
        shares.append(sparse.csr_array(share))
    if not gaps:
        return pd.DataFrame(columns=LEARNED)
    held = sparse.vstack(shares)  # s(q, b), (n_queries, n_entries)
    binarizer = MultiLabelBinarizer(sparse_output=True)
    has_gap = sparse.csc_array(binarizer.fit_transform(gaps))  # (n_queries, n_phrases)
    often = np.flatnonzero(has_gap.sum(axis=0) >= LEAST_QUERIES)
    together = sparse.coo_array(has_gap[:, often].T @ held)
    total, n = held.sum(axis=0)[together.col], has_gap.sum(axis=0)[often][together.row]
    phrase, entry = binarizer.classes_[often][together.row], np.array(list(lexicon.phrases), dtype=object)[together.col]
    table = pd.DataFrame({"phrase": phrase, "entry": entry, "credit": together.data / n})
    table = table.assign(llr=log_likelihood_ratio(together.data, n, total, len(gaps)), count_queries=n)
    above_chance = together.data * len(gaps) > total * n
    learned = table[above_chance & (table["credit"] >= LEAST_SHARE) & (table["llr"] >= LEAST_LLR)]
    best_first: pd.DataFrame = learned.sort_values(["phrase", "llr", "entry"], ascending=[True, False, True])
    return best_first.groupby("phrase").head(MOST_PER_PHRASE)


def log_likelihood_ratio(
    together: npt.NDArray[np.float64], trials: npt.NDArray[np.int64], total: npt.NDArray[np.float64], count: int
) -> npt.NDArray[np.float64]:
    """Dunning's G2 of 2 x 2 tables, (n,), >= 0; chi-squared with one degree of freedom if a and b are independent.

    `together` is the mass of b in the `trials` with a (k of n), `total` its mass in all `count` trials (K of N).
    """
    observed = np.stack([together, trials - together, total - together, count - trials - total + together]).clip(min=0)
    row = np.stack([trials, trials, count - trials, count - trials])
    column = np.stack([total, count - total, total, count - total])
    return np.asarray(2 * rel_entr(observed, row * column / count).sum(axis=0).clip(min=0))


def combine(declared: Synonyms, learned: pd.DataFrame) -> Synonyms:
    """Declared rules and, beside them, those of `learn`: a phrase with only learned synonyms still stands for itself."""
    table = {phrase: dict(targets) for phrase, targets in declared.items()}
    for phrase, entry, credit in zip(learned["phrase"], learned["entry"], learned["credit"], strict=True):
        targets = table.setdefault(phrase, {phrase: 1.0})
        targets[entry] = max(credit, targets.get(entry, 0.0))
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
