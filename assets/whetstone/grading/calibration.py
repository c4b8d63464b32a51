"""From what an annotator says it is sure of to how often it is right: one map a predicted class ([A2] arXiv 2606.25871).

A model's confidence is no probability, and its classes differ: 0.9 for "exact" may be right more often than 0.9 for "complement". So
for each *predicted* class an isotonic (never falling) map confidence -> P(correct) is fitted on held-out human labels, hard labels:

    min over rising f of  sum_i (f(confidence_i) - is_right_i)^2

Isotonic regression alone is too sure where examples are few: five right answers make a plateau at 1.0. So every class is given `PRIOR`
made-up examples, spread evenly over the confidences of all classes, each as right as all answers are on average. They are nothing to a
class of hundreds and pull a class of five to the average; a class without examples is the average.

Straight lines between the centres of the plateaus (Oron and Flournoy 2017) did better in simulation and worse on real data: on 807 ESCI
pairs the calibration error of other pairs of the same queries was 0.061 with them and 0.027 without.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.isotonic import IsotonicRegression

from whetstone.platform.errors import WhetstoneError

NO_ANSWER = -1
PRIOR = 10  # made-up examples a class
Curve = tuple[tuple[float, ...], tuple[float, ...]]  # knots of a piecewise linear map: confidence ascending, probability never falling


@dataclass(frozen=True)
class Calibration:
    """Maps confidence to P(correct): `curves` by predicted grade, `others` for a grade without held-out examples."""

    curves: Mapping[int, Curve]
    others: Curve

    def apply(self, grades: np.ndarray, confidence: np.ndarray) -> np.ndarray:
        """(n,) probabilities 0..1 for (n,) predicted grades and (n,) confidences 0..1; 0 where there is no answer."""
        grades, confidence = _answers(grades, confidence)
        calibrated = np.interp(confidence, *self.others)
        for grade, curve in self.curves.items():
            calibrated[grades == grade] = np.interp(confidence[grades == grade], *curve)
        return np.where(grades == NO_ANSWER, 0.0, calibrated)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Back from its `dataclasses.asdict`, through JSON or not."""
        return cls({int(grade): _curve(*knots) for grade, knots in data["curves"].items()}, _curve(*data["others"]))


def fit_calibration(grades: np.ndarray, confidence: np.ndarray, is_right: np.ndarray) -> Calibration:
    """Fit on held-out pairs: (n,) predicted grades, (n,) confidences 0..1, (n,) whether the human said the same.

    Pairs without an answer don't count. WhetstoneError: not one answered pair, or a confidence outside 0..1.
    """
    grades, confidence = _answers(grades, confidence)
    is_answered = grades != NO_ANSWER
    if not is_answered.any():
        raise WhetstoneError("calibration: no held-out answer with a human judgment; add judgments of dev queries")
    grades, confidence, is_right = grades[is_answered], confidence[is_answered], np.asarray(is_right, dtype=float)[is_answered]
    prior_confidence = np.quantile(confidence, (np.arange(PRIOR) + 0.5) / PRIOR)
    prior_right = np.full(PRIOR, (is_right.sum() + 1) / (len(is_right) + 2))  # Laplace: never quite 0 or 1

    def fit(rows: np.ndarray) -> Curve:
        isotonic = IsotonicRegression(y_min=0.0, y_max=1.0)
        isotonic.fit(np.append(confidence[rows], prior_confidence), np.append(is_right[rows], prior_right))
        return _curve(isotonic.X_thresholds_, isotonic.y_thresholds_)

    return Calibration({int(grade): fit(grades == grade) for grade in np.unique(grades)}, fit(np.full(len(grades), False)))


def cross_fitted(grades: np.ndarray, confidence: np.ndarray, is_right: np.ndarray, groups: np.ndarray, folds: int = 5) -> np.ndarray:
    """(n,) probabilities of held-out pairs, each from a map that was fitted without its own group's fold (`folds_of`)."""
    fold_of = folds_of(groups, folds)
    grades, confidence, is_right = np.asarray(grades), np.asarray(confidence), np.asarray(is_right)
    calibrated = np.zeros(len(grades))
    for fold in range(fold_of.max() + 1):
        held = fold_of == fold
        calibrated[held] = fit_calibration(grades[~held], confidence[~held], is_right[~held]).apply(grades[held], confidence[held])
    return calibrated


def folds_of(groups: np.ndarray, folds: int = 5) -> np.ndarray:
    """(n,) fold of each pair by its group (n,), a query's id: pairs of a query resemble each other, so they stay together.

    The largest group goes first, to the fold with the fewest pairs; with fewer groups than folds each is a fold. WhetstoneError for a
    single group, whose map could only be judged by the pairs that made it.
    """
    # as objects: pandas' factorize, and numpy's own texts, take "q" and "q\0" for the same
    _, group, sizes = np.unique(np.asarray(groups, dtype=object), return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise WhetstoneError("calibration: the held-out judgments are of one query; judge two dev queries at least")
    fold_of, load = np.zeros(len(sizes), dtype=int), np.zeros(min(folds, len(sizes)), dtype=int)
    for largest in np.argsort(-sizes, kind="stable"):
        fold_of[largest] = load.argmin()
        load[load.argmin()] += sizes[largest]
    return np.asarray(fold_of[group])


def _curve(x: Any, y: Any) -> Curve:
    return tuple(map(float, x)), tuple(map(float, y))


def _answers(grades: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Arrays; the confidence of a missing answer is 0, all others must lie in 0..1."""
    grades = np.asarray(grades, dtype=int)
    # rounded, because a line through knots one float apart has no finite slope
    confidence = np.where(grades == NO_ANSWER, 0.0, np.asarray(confidence, dtype=float)).round(9)
    if not ((confidence >= 0.0) & (confidence <= 1.0)).all():
        raise WhetstoneError("calibration: an answer's confidence lies outside 0..1; give each answer one inside")
    return grades, confidence
