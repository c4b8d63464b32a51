"""The one interface of everything that grades: pairs in; a grade with its confidence and cost out, for the ledger to keep.

A pair is a row `query_id, product_id, query (text), text (of the product), category`: a grade is a function of the two texts, the guideline
and the annotator's own version, and so the ledger may keep it for ever. An answer is a row of `PAIR_ID` and `ANSWER`; one that can't be
used (refused, cut off, malformed) has a null grade, confidence 0 and the reason in `failure`. A pair that could not be asked (no money,
no key) has no row. Trouble that may pass (a lost connection) is an exception.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

import numpy as np
import pandas as pd
from tqdm import tqdm

PAIR_ID = ["query_id", "product_id"]
PAIR_COLUMNS = [*PAIR_ID, "query", "text"]
ANSWER = ["grade", "confidence", "cost_usd", "tokens_in", "tokens_out", "failure", "rationale"]

Book = Callable[[pd.DataFrame], object]


class Named(Protocol):
    """In whose name an answer is kept."""

    @property
    def name(self) -> str:
        """Short name, the same in every row, metadata and report."""

    @property
    def version(self) -> str:
        """Changes whenever the same pair might be answered otherwise."""


class Annotator(Named, Protocol):
    """Grades pairs. `version` is a hash of all that can change an answer (weights, prompt, settings) but the guideline."""

    def answer(self, pairs: pd.DataFrame, book: Book) -> str:
        """Answer pairs (`PAIR_COLUMNS`, category, `ledger.IDENTITY`), have each portion booked at once; say why others have no answer."""


class Local(ABC):
    """An annotator that runs on this machine and costs no money."""

    batch = 8192  # pairs between two writes

    def answer(self, pairs: pd.DataFrame, book: Book) -> str:
        """Each batch is booked before the next is begun, so a kill loses at most the one in flight."""
        for start in tqdm(range(0, len(pairs), self.batch), desc="grade", disable=len(pairs) <= self.batch, leave=False):
            book(self.annotate(pairs.iloc[start : start + self.batch]))
        return "not answered"

    @abstractmethod
    def annotate(self, pairs: pd.DataFrame) -> pd.DataFrame:
        """Answers of n pairs."""


def make_answers(pairs: pd.DataFrame, grades: np.ndarray, confidence: np.ndarray, *, cost_usd: float = 0.0) -> pd.DataFrame:
    """Answers without failures and tokens, as local annotators give them: (n,) grades, (n,) confidence 0..1, US dollars a pair."""
    answers = pairs[PAIR_ID].reset_index(drop=True).assign(grade=grades, confidence=confidence, cost_usd=cost_usd)
    answers = answers.astype({"grade": "Int64", "confidence": float})
    return answers.assign(tokens_in=0, tokens_out=0, failure=None, rationale=None)
