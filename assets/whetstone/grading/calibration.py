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

from collections.abc import Iterator

import numpy as np
from pydantic.dataclasses import dataclass
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import GroupKFold

NO_ANSWER = -1
PRIOR = 10  # made-up examples a class
FOLDS = 5
Curve = tuple[tuple[float, ...], tuple[float, ...]]  # knots of a piecewise linear map: confidence ascending, probability never falling


@dataclass(frozen=True)
class Calibration:
    """Maps confidence to P(correct): `curves` by predicted grade, `others` for a grade without held-out examples."""

    curves: dict[int, Curve]
    others: Curve

    def apply(self, grades: np.ndarray, confidence: np.ndarray) -> np.ndarray:
        """(n,) probabilities 0..1 for (n,) predicted grades and (n,) confidences 0..1; 0 where there is no answer."""
        calibrated = np.interp(confidence, *self.others)
        for grade, curve in self.curves.items():
            calibrated[grades == grade] = np.interp(confidence[grades == grade], *curve)
        return np.where(grades == NO_ANSWER, 0.0, calibrated)


NONE = Calibration({}, ((0.0, 1.0), (0.0, 1.0)))


@dataclass(frozen=True)
class Stage:
    """A calibrated stage: whose answers, how to read their confidence, from when on it is sure. `dataclasses.asdict` is its JSON."""

    name: str
    version: str
    calibration: Calibration
    threshold: float


def fit_calibration(grades: np.ndarray, confidence: np.ndarray, is_right: np.ndarray) -> Calibration:
    """Fit on the answered of held-out pairs: (n,) predicted grades, (n,) confidences 0..1, (n,) whether the human said the same."""
    is_answered = grades != NO_ANSWER
    if not is_answered.any():
        return NONE
    grades, is_right = grades[is_answered], is_right[is_answered].astype(float)
    confidence = confidence[is_answered].round(9)  # a line through knots one float apart has no finite slope
    prior_confidence = np.quantile(confidence, (np.arange(PRIOR) + 0.5) / PRIOR)
    prior_right = np.full(PRIOR, (is_right.sum() + 1) / (len(is_right) + 2))  # Laplace: never quite 0 or 1

    def fit(rows: np.ndarray) -> Curve:
        isotonic = IsotonicRegression(y_min=0.0, y_max=1.0)
        isotonic.fit(np.append(confidence[rows], prior_confidence), np.append(is_right[rows], prior_right))
        return tuple(isotonic.X_thresholds_.tolist()), tuple(isotonic.y_thresholds_.tolist())

    return Calibration({int(grade): fit(grades == grade) for grade in np.unique(grades)}, fit(np.full(len(grades), False)))


def splits(groups: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions to fit on and to measure, `FOLDS` times (fewer with fewer groups, two at least); pairs of a group (n,) stay together."""
    yield from GroupKFold(min(FOLDS, len(np.unique(groups)))).split(groups, groups=groups)


def cross_fitted(grades: np.ndarray, confidence: np.ndarray, is_right: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(n,) probabilities of held-out pairs, each from a map that was fitted without its own group."""
    calibrated = np.zeros(len(grades))
    for others, held in splits(groups):
        fitted = fit_calibration(grades[others], confidence[others], is_right[others])
        calibrated[held] = fitted.apply(grades[held], confidence[held])
    return calibrated
