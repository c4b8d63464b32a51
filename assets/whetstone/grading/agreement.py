"""How well grades agree with human judgments: accuracy, within-one, quadratic kappa, F1, calibration error, stages and cost.

All take n pairs: human grades (`truth`), given grades, and the number of each pair's query. A "level" is a grade's position in the
guideline, so that a step from E (4) to S (2) is one level. The expected calibration error (ECE) is the mean gap between confidence
(0..1) and share right, over equal-width bins weighted by their pairs (Naeini et al. 2015).

Intervals are 95 % percentile bootstraps (Efron & Tibshirani 1993, chapter 13) that draw whole *queries*: the pairs of a query stand or
fall together, so drawing pairs would claim too much. An interval is {"mean": the figure on all pairs, "low", "high"}; the bounds are None
with fewer than two queries or where over 5 % of the draws leave the figure undefined, all three where it is undefined altogether.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd

from whetstone.grading.guideline import Guideline

ECE_BINS = 15
DRAWS = 1_000
Interval = dict[str, float | None]


def scores(confusion: np.ndarray) -> dict[str, Any]:
    """Measures of a confusion matrix (levels, levels), row = human, column = given; `f1` (levels,); NaN where undefined.

    `quadratic_kappa` is Cohen's kappa (1968) over levels with squared distances as weights: 1 is perfect, 0 chance; it is 0, too, where
    both sides hold one and the same level throughout, as chance can't be told from skill there. `f1` of a level that occurs on neither
    side is undefined and no part of `macro_f1`.
    """
    step = np.abs(np.subtract.outer(*[np.arange(len(confusion))] * 2))
    human, given, pairs = confusion.sum(axis=1), confusion.sum(axis=0), confusion.sum()
    by_chance = (np.outer(human, given) * step**2).sum()
    f1 = 2 * np.diag(confusion) / np.where(human + given > 0, human + given, np.nan)
    return {
        "accuracy": np.trace(confusion) / pairs,
        "within_one": (confusion * (step <= 1)).sum() / pairs,
        "quadratic_kappa": 1 - (confusion * step**2).sum() * pairs / by_chance if by_chance else 0.0,
        "macro_f1": np.nanmean(f1),
        "f1": f1,
    }


def agreement_report(
    truth: np.ndarray, given: np.ndarray, confidences: Mapping[str, np.ndarray], query: np.ndarray, guideline: Guideline, seed: int
) -> dict[str, Any]:
    """Agreement of n given grades with the human ones, with intervals, ready for JSON.

    `confidences` are (n,) confidences 0..1 of the given grades, by the name of their calibration error. Its interval is biased upwards and
    may lie above its mean, since the gaps of a draw hold the noise of the sample and that of the draw. `seed` is that of the draws.

    Also told: `majority_accuracy`, of always giving the commonest human grade. WhetstoneError: a grade outside the guideline.
    """
    names = [level.name for level in guideline.levels]
    sides = (guideline.places(truth, "agreement: human judgments"), guideline.places(given, "agreement: answers"))
    gaps = {name: (_bins(told), told - (truth == given)) for name, told in confidences.items()}

    def measure(weight: np.ndarray) -> dict[str, Any]:
        errors = {name: np.abs(np.bincount(bins, weight * gap)).sum() / weight.sum() for name, (bins, gap) in gaps.items()}
        return {**scores(_confusion(*sides, len(names), weight)), **errors}

    found, whole = bootstrapped(measure, query, seed), _confusion(*sides, len(names))
    return {
        "pairs": len(truth),
        "queries": len(np.unique(query)),
        "majority_accuracy": float(whole.sum(axis=1).max() / len(truth)),
        **found,
        "f1": dict(zip(names, found["f1"], strict=True)),
        "levels": names,
        "confusion": whole.tolist(),
    }


def stage_table(pairs: pd.DataFrame, stages: Sequence[str], query: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """What each stage of a cascade settled (if anything), one row a stage in the order of `stages` ("vote" and the like included).

    `pairs` has settled_by (one of the stages), is_right, confidence (calibrated) and cost_usd (of all stages that the pair was put to).
    Returns rows of `stage`, `pairs` and intervals `share` (of all pairs), `accuracy`, `confidence` (mean) and `cost_usd` (mean of a pair).
    """
    place = pd.Index(stages).get_indexer(pd.Index(pairs["settled_by"]))
    columns = {"accuracy": "is_right", "confidence": "confidence", "cost_usd": "cost_usd"}

    def measure(weight: np.ndarray) -> dict[str, Any]:
        settled = np.bincount(place, weight, len(stages))
        some = np.where(settled > 0, settled, np.nan)
        means = {name: np.bincount(place, weight * pairs[column], len(stages)) / some for name, column in columns.items()}
        return {"share": settled / weight.sum(), **means}

    found = bootstrapped(measure, query, seed)
    counts = np.bincount(place, minlength=len(stages)).tolist()
    return [{"stage": stage, "pairs": counts[i], **{name: each[i] for name, each in found.items()}} for i, stage in enumerate(stages)]


def raters_agreement(raters: Iterable[Any], guideline: Guideline) -> dict[str, float] | None:
    """How well human raters agree with one another, each of a judgment with every other (ordered pairs, so neither is the truth).

    Two single raters agree less than one does with the settled judgment of several, so an annotator may well lie above this.
    `raters` has the single grades of each judgment (None or pandas' NA: not known); None is returned where no judgment has two raters.
    WhetstoneError: a grade outside the guideline.
    """
    panels = [panel for panel in map(np.ma.compressed, raters) if len(panel) > 1]  # DuckDB masks a rater without a grade
    if not panels:
        return None
    pairs = zip(*(pair for panel in panels for pair in permutations(panel, 2)), strict=True)
    sides = [guideline.places(side, "agreement: human raters") for side in pairs]
    measured = scores(_confusion(sides[0], sides[1], len(guideline.levels)))
    return {"judgments": len(panels), **{name: float(measured[name]) for name in ("accuracy", "within_one", "quadratic_kappa")}}


def reliability(confidence: np.ndarray, is_right: np.ndarray) -> list[dict[str, Any]]:
    """The filled bins of the calibration error, rising, for a diagram: `pairs`, mean `confidence`, `share_right`."""
    told = pd.DataFrame({"pairs": 1, "confidence": confidence, "share_right": is_right.astype(float)})
    bins = told.groupby(_bins(confidence)).agg({"pairs": "sum", "confidence": "mean", "share_right": "mean"})
    return [{str(name): value for name, value in row.items()} for row in bins.to_dict("records")]


def bootstrapped(measure: Callable[[np.ndarray], dict[str, Any]], query: np.ndarray, seed: int) -> dict[str, Any]:
    """The interval of every figure of `measure`, a function of the pairs' weights (n,); a list of them for a figure that is an array."""
    _, query = np.unique(query, return_inverse=True)
    count, rng = query.max() + 1, np.random.default_rng(seed)
    weights = [np.bincount(rng.integers(count, size=count), minlength=count)[query] for _ in range(DRAWS if count > 1 else 0)]
    drawn = [measure(weight) for weight in [np.ones(len(query)), *weights]]
    values = {name: np.array([each[name] for each in drawn]) for name in drawn[0]}
    return {name: _interval(each) if each.ndim == 1 else [_interval(one) for one in each.T] for name, each in values.items()}


def _interval(values: np.ndarray) -> Interval:
    """Of a figure on all pairs, then on each draw."""
    is_told = len(values) > 1 and np.isnan(values[1:]).mean() <= 0.05
    low, high = np.nanquantile(values[1:], (0.025, 0.975)).tolist() if is_told else (None, None)
    return {"mean": None if np.isnan(values[0]) else float(values[0]), "low": low, "high": high}


def _confusion(human: Sequence[int], given: Sequence[int], levels: int, weight: np.ndarray | None = None) -> np.ndarray:
    """Counts, or sums of weights, of the pairs by human level (rows) and given level (columns)."""
    return np.bincount(np.array(human) * levels + np.array(given), weight, levels**2).reshape(levels, levels)


def _bins(confidence: np.ndarray) -> np.ndarray:
    """(n,) bin of each confidence; the last bin includes 1.0."""
    return np.asarray(np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1))
