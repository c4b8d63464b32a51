"""The one interface of everything that grades: pairs in, a grade with its confidence and cost out.

A pair is a row `query_id, product_id, query (text), text (of the product)`: an annotator sees no more than that, so whatever it
says is a function of the two texts, the guideline and its own version, and the ledger may keep it for ever.

An answer is a row of its pair: `query_id, product_id, grade, confidence, cost_usd, tokens_in, tokens_out, failure, rationale`. An
answer that can't be used (refused, cut off, malformed) has a null grade, confidence 0 and the reason in `failure`; it is never a
guess. A pair that could not be asked (no money, no key, an expired batch) has no row. Trouble that may pass (a lost connection) is
an exception, not an answer.
"""

from typing import Protocol

import numpy as np
import pandas as pd

from whetstone.grading.guideline import Guideline
from whetstone.platform.errors import WhetstoneError

PAIR_ID = ["query_id", "product_id"]
PAIR_COLUMNS = [*PAIR_ID, "query", "text"]
_KINDS = {"grade": "Int64", "confidence": "float64", "cost_usd": "float64", "tokens_in": "int64", "tokens_out": "int64"}
_WORDS = ["failure", "rationale"]
ANSWER_COLUMNS = [*PAIR_ID, *_KINDS, *_WORDS]


class Named(Protocol):
    """In whose name an answer is kept."""

    @property
    def name(self) -> str:
        """Short name, the same in every row, metadata and report."""

    @property
    def version(self) -> str:
        """Changes whenever the same pair might be answered otherwise."""


class Annotator(Named, Protocol):
    """Grades pairs. `name` says who, `version` is a hash of all that can change an answer (weights, prompt, settings) but the guideline."""

    @property
    def batch_size(self) -> int:
        """Most pairs of one call."""

    @property
    def keeps_books(self) -> bool:
        """Whether it writes its answers to the ledger itself, because they are paid for one by one."""

    @property
    def unanswered(self) -> str:
        """Why pairs of the last call have no answer."""

    def annotate(self, pairs: pd.DataFrame) -> pd.DataFrame:
        """Answer pairs (`PAIR_COLUMNS`, perhaps category) with rows (`ANSWER_COLUMNS`) in the same order."""


class Local:
    """What annotators that run on this machine and cost no money have in common."""

    batch_size = 8192
    keeps_books = False
    unanswered = "not answered"


def make_answers(pairs: pd.DataFrame, grades: np.ndarray, confidence: np.ndarray, *, cost_usd: float = 0.0) -> pd.DataFrame:
    """Answers without failures and tokens, as local annotators give them: (n,) grades, (n,) confidence, US dollars a pair."""
    answers = pairs[PAIR_ID].reset_index(drop=True)
    answers = answers.assign(grade=grades, confidence=confidence, cost_usd=cost_usd, tokens_in=0, tokens_out=0)
    return answers.astype(_KINDS).assign(**{word: np.full(len(pairs), None, dtype=object) for word in _WORDS})


def check_pairs(pairs: pd.DataFrame) -> None:
    """Raise WhetstoneError for pairs without the four columns, with a null in them, or with the same pair twice."""
    if missing := [column for column in PAIR_COLUMNS if column not in pairs]:
        raise WhetstoneError(f"pairs to grade lack the columns {missing}; they need {PAIR_COLUMNS}")
    _refuse(pairs[PAIR_COLUMNS].isna().any(axis=1), pairs, "a pair to grade has a null id or text")
    _refuse(pairs.duplicated(PAIR_ID), pairs, "a pair to grade is there twice; pass each pair once")


def check_answers(pairs: pd.DataFrame, answers: pd.DataFrame, guideline: Guideline) -> pd.DataFrame:
    """Refuse answers that don't fit their pairs or the guideline, before anything is built on them.

    Returns the same answers with `ANSWER_COLUMNS` in order, exact types (grade nullable Int64) and index 0..n-1. WhetstoneError, naming the
    first pair: a column that is missing; an answer to no pair, or in another order than the pairs; a grade outside the guideline; a grade
    with a failure or neither of both; a confidence outside 0..1; a cost or token count that is negative or no number.
    """
    if missing := [column for column in ANSWER_COLUMNS if column not in answers]:
        raise WhetstoneError(f"the annotator's answers lack the columns {missing}; they need {ANSWER_COLUMNS}")
    places = pd.MultiIndex.from_frame(pairs[PAIR_ID]).get_indexer(pd.MultiIndex.from_frame(answers[PAIR_ID]))
    _refuse(places < 0, answers, "the annotator answered a pair that it was not asked")
    _refuse(np.diff(places, prepend=-1) <= 0, answers, "the annotator's answer is out of order; keep the order of the pairs")
    try:
        checked = answers[ANSWER_COLUMNS].reset_index(drop=True).astype(_KINDS)
    except (TypeError, ValueError) as error:
        raise WhetstoneError(f"the annotator's answers have a column of the wrong type: {error}") from error
    failed = checked["failure"].notna()
    for word in _WORDS:
        checked[word] = checked[word].astype(object).where(checked[word].notna(), None)
    _refuse(failed == checked["grade"].notna(), checked, "an answer has both a grade and a failure, or neither")
    unknown = ~failed & ~checked["grade"].isin(guideline.grades).astype(bool)
    _refuse(unknown, checked, f"an answer's grade is none of guideline '{guideline.name}' {guideline.grades}")
    _refuse(~checked["confidence"].between(0.0, 1.0), checked, "an answer's confidence lies outside 0..1")
    for column in ("cost_usd", "tokens_in", "tokens_out"):
        _refuse(~checked[column].between(0, np.finfo(float).max), checked, f"an answer's {column} is negative or no number")
    return checked


def _refuse(bad: np.ndarray | pd.Series, rows: pd.DataFrame, problem: str) -> None:
    """Raise for the first row that is bad."""
    positions = np.flatnonzero(np.asarray(bad, dtype=bool))
    if len(positions):
        row = rows.iloc[positions[0]]
        where = f"query {row['query_id']!r}, product {row['product_id']!r} (row {positions[0]}, {len(positions)} in all)"
        raise WhetstoneError(f"{problem}: {where}")
