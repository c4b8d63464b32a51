"""A stand-in annotator for the demo catalog, whose relevance is known by construction: the truth with declared errors.

So the cascade, the ledger and the reports can be tried and measured without a paid model. A small and a large one stand in for the paid
stages at a declared price; they err independently. A real catalog has no file of the truth and can't be graded so.

Confidence is like a model's too sure, and tells right from wrong only in part: right answers draw it from Beta(8, 2) (mean 0.80), wrong
ones from Beta(4, 2.5) (mean 0.62).
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from whetstone.grading.annotator import Local, make_answers
from whetstone.grading.guideline import Guideline

_RIGHT = (8.0, 2.0)  # parameters of the Beta distributions above
_WRONG = (4.0, 2.5)


def confusion_of(accuracy: float, guideline: Guideline) -> np.ndarray:
    """(levels, levels) confusion matrix, row = true level, column = answered level, rows sum to 1.

    `accuracy` (0..1) is the share of right answers at every level; errors prefer near levels (weight 1 / distance in levels).
    """
    level = np.arange(len(guideline.levels))
    distance = np.abs(level[:, None] - level)
    near = np.where(distance > 0, 1.0 / np.maximum(distance, 1), 0.0)
    return np.asarray(near / near.sum(axis=1, keepdims=True) * (1.0 - accuracy) + np.eye(len(level)) * accuracy)


@dataclass(eq=False)
class SimulatedAnnotator(Local):
    """Answers each pair from the truth through a confusion matrix; the same pair and seed give the same answer in any order and batch."""

    name: str  # those of another draw their errors independently
    truth: Callable[[pd.DataFrame], np.ndarray]  # n true grades of n pairs
    guideline: Guideline
    confusion: np.ndarray  # as `confusion_of` makes it
    cost_usd: float  # of a pair
    seed: int
    truth_version: str  # a hash of what `truth` reads, so that a demo of equal texts and another truth is asked anew

    def __post_init__(self) -> None:
        self._cumulative = self.confusion.cumsum(axis=1) / self.confusion.sum(axis=1, keepdims=True)
        declared = json.dumps([self.name, self.confusion.tolist(), _RIGHT, _WRONG, self.seed, self.truth_version])
        self.version = hashlib.sha256(declared.encode()).hexdigest()[:16]

    def annotate(self, pairs: pd.DataFrame) -> pd.DataFrame:
        """Answers of n pairs; a truth that is no grade of the guideline is an error."""
        true_level = np.array(self.guideline.places(self.truth(pairs), "simulated annotator: the truth's pairs"), dtype=int)
        texts = zip(pairs["query"], pairs["text"], strict=True)
        digests = [hashlib.sha256(json.dumps([*each, self.name, self.seed]).encode()).digest()[:16] for each in texts]
        draws = np.frombuffer(b"".join(digests), dtype=">u8").reshape(-1, 2).astype(float) / 2.0**64  # uniform in [0, 1)
        # inverse of the row's cumulative distribution: the first level whose cumulative share exceeds the draw
        level = (draws[:, :1] >= self._cumulative[true_level, :-1]).sum(axis=1)
        confidence = np.where(level == true_level, stats.beta.ppf(draws[:, 1], *_RIGHT), stats.beta.ppf(draws[:, 1], *_WRONG))
        return make_answers(pairs, np.array(self.guideline.grades)[level], confidence, cost_usd=self.cost_usd)
