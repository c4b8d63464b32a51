"""How well grades agree with human judgments: accuracy, within-one, quadratic kappa, macro F1, confusion matrix, calibration error.

All take n human grades (`truth`) and n given grades (`given`) of the same pairs, as ints; a "level" is a grade's position in the
guideline, so that a step from E (4) to S (2) is one level. [B] (arXiv 2602.17654) reports accuracy and within-one, [A2] (arXiv
2606.25871) agreement and ECE. What can't be compared is a WhetstoneError.
"""

from typing import Any

import numpy as np
import sklearn.metrics as sk

from whetstone.grading.guideline import Guideline
from whetstone.platform.errors import WhetstoneError

ECE_BINS = 15


def accuracy(truth: np.ndarray, given: np.ndarray) -> float:
    """Share of pairs with the very same grade."""
    return float(sk.accuracy_score(*_grades(truth, given)))


def within_one(truth: np.ndarray, given: np.ndarray, guideline: Guideline) -> float:
    """Share of pairs whose levels differ by at most one step."""
    truth_level, given_level = _levels(truth, given, guideline)
    return float((np.abs(truth_level - given_level) <= 1).mean())


def quadratic_kappa(truth: np.ndarray, given: np.ndarray, guideline: Guideline) -> float:
    """Cohen's kappa over levels, squared distances as weights (Cohen 1968): 1 is perfect, 0 chance.

    It is 0, too, where both sides hold one and the same level throughout: chance can't be told from skill there.
    """
    truth_level, given_level = _levels(truth, given, guideline)
    if len(np.union1d(truth_level, given_level)) == 1:
        return 0.0
    return float(sk.cohen_kappa_score(truth_level, given_level, labels=np.arange(len(guideline.levels)), weights="quadratic"))


def macro_f1(truth: np.ndarray, given: np.ndarray) -> float:
    """Mean of the F1 of each level that occurs among `truth` or `given`; a level that is never hit counts 0."""
    return float(sk.f1_score(*_grades(truth, given), average="macro", zero_division=0.0))


def confusion_matrix(truth: np.ndarray, given: np.ndarray, guideline: Guideline) -> np.ndarray:
    """(levels, levels) counts, best level first: row = human level, column = given level."""
    return np.asarray(sk.confusion_matrix(*_levels(truth, given, guideline), labels=np.arange(len(guideline.levels))))


def expected_calibration_error(confidence: np.ndarray, is_right: np.ndarray, bins: int = ECE_BINS) -> float:
    """Mean gap between confidence (0..1) and share right, over equal-width bins weighted by their pairs (Naeini et al. 2015)."""
    confidence, is_right = np.asarray(confidence, dtype=float), np.asarray(is_right, dtype=float)
    if not len(confidence) or len(confidence) != len(is_right):
        raise WhetstoneError(f"calibration error needs as many confidences as answers, got {len(confidence)} and {len(is_right)}")
    place = np.minimum((confidence * bins).astype(int), bins - 1)  # the last bin includes 1.0
    # per bin: |sum of confidence - number right| = pairs in the bin * gap
    return float(np.abs(np.bincount(place, weights=confidence - is_right)).sum() / len(confidence))


def agreement(truth: np.ndarray, given: np.ndarray, confidence: np.ndarray, guideline: Guideline) -> dict[str, Any]:
    """All of the above for one set of pairs, as plain numbers and lists for metadata and reports."""
    truth, given = _grades(truth, given)
    return {
        "pairs": len(truth),
        "accuracy": accuracy(truth, given),
        "majority_accuracy": float(np.unique(truth, return_counts=True)[1].max() / len(truth)),
        "within_one": within_one(truth, given, guideline),
        "quadratic_kappa": quadratic_kappa(truth, given, guideline),
        "macro_f1": macro_f1(truth, given),
        "ece": expected_calibration_error(confidence, truth == given),
        "levels": [level.name for level in guideline.levels],
        "confusion": confusion_matrix(truth, given, guideline).tolist(),
    }


def _grades(truth: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth, given = np.asarray(truth, dtype=int), np.asarray(given, dtype=int)
    if truth.shape != given.shape or not truth.size:
        raise WhetstoneError(f"agreement needs the same pairs on both sides and at least one, got {truth.shape} and {given.shape}")
    return truth, given


def _levels(truth: np.ndarray, given: np.ndarray, guideline: Guideline) -> tuple[np.ndarray, np.ndarray]:
    truth, given = _grades(truth, given)
    return np.array(guideline.places(truth, "agreement: human judgments")), np.array(guideline.places(given, "agreement: answers"))
