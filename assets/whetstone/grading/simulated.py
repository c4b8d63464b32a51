"""A stand-in annotator for the demo catalog, whose relevance is known by construction: the truth with declared errors.

It exists so that the cascade, the ledger and the reports can be tried and measured without a paid model. It is called
'simulated' in every row, and it refuses every source but the demo: a real catalog must never be graded by it.

Confidence is what a model's is like: it tells right from wrong answers only in part, and it is too sure. Right answers
draw it from Beta(8, 2) (mean 0.80), wrong ones from Beta(4, 2.5) (mean 0.62).
"""

import hashlib
import json
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from scipy import stats

from whetstone.grading.annotator import make_answers
from whetstone.grading.guideline import Guideline
from whetstone.platform.errors import WhetstoneError

DEMO_SOURCE = "demo"
_RIGHT = (8.0, 2.0)  # parameters of the Beta distributions above
_WRONG = (4.0, 2.5)


def confusion_of(accuracy: float | Mapping[int, float], guideline: Guideline) -> np.ndarray:
    """A confusion matrix from how often each true grade is answered right; errors prefer near levels (weight 1 / distance in levels).

    Args:
        accuracy: Share of right answers, one for all or one per grade.
        guideline: The levels, best first.

    Returns:
        (levels, levels) float: row = true level, column = answered level, rows sum to 1.

    Raises:
        WhetstoneError: A share outside 0..1, or a grade without one.
    """
    shares = accuracy if isinstance(accuracy, Mapping) else dict.fromkeys(guideline.grades, accuracy)
    bad = [grade for grade in guideline.grades if not 0.0 <= shares.get(grade, -1.0) <= 1.0]
    if bad:
        raise WhetstoneError(f"simulated annotator: accuracy of grades {bad} must be given and lie in 0..1, got {accuracy}")
    level = np.arange(len(guideline.grades))
    distance = np.abs(level[:, None] - level[None, :])
    near = np.where(distance > 0, 1.0 / np.maximum(distance, 1), 0.0)
    right = np.array([shares[grade] for grade in guideline.grades])
    confusion: np.ndarray = near / near.sum(axis=1, keepdims=True) * (1.0 - right)[:, None] + np.diag(right)
    return confusion


class SimulatedAnnotator:
    """Answers each pair from the truth through a confusion matrix; the same pair and seed give the same answer in any order and batch."""

    name = "simulated"

    def __init__(
        self,
        truth: Callable[[pd.DataFrame], np.ndarray],
        guideline: Guideline,
        confusion: np.ndarray,
        *,
        seed: int,
        source: str,
    ) -> None:
        """Declare how it errs.

        Args:
            truth: Gives n true grades (int) for n pairs (`PAIR_COLUMNS`).
            guideline: The levels, best first.
            confusion: (levels, levels): row = true level, column = answered level, rows sum to 1.
            seed: Of all its errors and confidences.
            source: The source being built.

        Raises:
            WhetstoneError: Another source than 'demo', or a matrix that isn't one.
        """
        if source != DEMO_SOURCE:
            raise WhetstoneError(
                f"the annotator 'simulated' knows the truth of the source '{DEMO_SOURCE}' alone and refuses '{source}'; "
                "choose another annotator"
            )
        levels = len(guideline.grades)
        confusion = np.asarray(confusion, dtype=float)
        if confusion.shape != (levels, levels) or (confusion < 0).any() or not np.allclose(confusion.sum(axis=1), 1.0):
            raise WhetstoneError(
                f"simulated annotator: confusion must be {levels} x {levels}, not negative, with rows that sum to 1, "
                f"got {confusion.tolist()}"
            )
        self._truth = truth
        self._grades = np.array(guideline.grades)
        self._cumulative = confusion.cumsum(axis=1) / confusion.sum(axis=1, keepdims=True)
        self._seed = seed
        declared = json.dumps([confusion.tolist(), _RIGHT, _WRONG, seed])
        self.version = hashlib.sha256(declared.encode()).hexdigest()[:16]

    def annotate(self, pairs: pd.DataFrame) -> pd.DataFrame:
        """Answer n pairs (`PAIR_COLUMNS`) with n rows (`ANSWER_COLUMNS`).

        Raises:
            WhetstoneError: The truth of a pair is no grade of the guideline.
        """
        true_grade = np.asarray(self._truth(pairs))
        is_true_level = true_grade[:, None] == self._grades[None, :]  # (pairs, levels)
        if not is_true_level.any(axis=1).all():
            strange = sorted(set(true_grade.tolist()) - set(self._grades.tolist()))
            raise WhetstoneError(f"simulated annotator: the truth holds grades {strange}, the guideline has {self._grades.tolist()}")
        true_level = is_true_level.argmax(axis=1)
        draws = self._draws(pairs)  # (pairs, 2) uniform in [0, 1)
        # inverse of the row's cumulative distribution: the first level whose cumulative share exceeds the draw
        answered_level = (draws[:, :1] >= self._cumulative[true_level, :-1]).sum(axis=1)
        right = answered_level == true_level
        confidence = np.where(right, stats.beta.ppf(draws[:, 1], *_RIGHT), stats.beta.ppf(draws[:, 1], *_WRONG))
        return make_answers(pairs, self._grades[answered_level], confidence)

    def _draws(self, pairs: pd.DataFrame) -> np.ndarray:
        """Two uniform numbers a pair, out of a hash of its texts and the seed."""
        digests = b"".join(
            hashlib.sha256(json.dumps([query, text, self._seed]).encode()).digest()[:16]
            for query, text in zip(pairs["query"], pairs["text"], strict=True)
        )
        return np.frombuffer(digests, dtype=">u8").reshape(-1, 2).astype(float) / 2.0**64
