"""How well grades agree with human judgments: accuracy, within-one, quadratic kappa, F1, calibration error, stages and cost.

All take n human grades (`truth`) and n given grades of the same pairs, as ints; a "level" is a grade's position in the guideline, so
that a step from E (4) to S (2) is one level. Each measure of agreement is a function of the confusion matrix, counts (levels,
levels): row = human, column = given, best level first. [B] (arXiv 2602.17654) reports accuracy and within-one, [A2] (arXiv
2606.25871) agreement, ECE, share settled and cost.

Intervals are 95 % percentile bootstraps (Efron & Tibshirani 1993, chapter 13) that draw whole *queries*: the pairs of a query stand or
fall together, so drawing pairs would claim too much. Every figure is a function of sums over queries, so a draw is a weighted sum.
An interval is {"mean": the figure on all pairs, "low", "high"}; the bounds are None with fewer than two queries or where over 5 % of
the draws leave the figure undefined (a level that only one or two queries have), all three where it is undefined altogether.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from whetstone.grading.guideline import Guideline
from whetstone.platform.errors import WhetstoneError

ECE_BINS = 15
DRAWS = 1_000
BOUNDS = (0.025, 0.975)
Interval = dict[str, float | None]


def accuracy(truth: npt.ArrayLike, given: npt.ArrayLike) -> float:
    """Share of pairs with the very same grade."""
    truth, given = _same_pairs(truth, given)
    return float((truth == given).mean())


def macro_f1(truth: npt.ArrayLike, given: npt.ArrayLike) -> float:
    """Mean of the F1 of each level that occurs among `truth` or `given`; a level that is never hit counts 0."""
    occurring, place = np.unique(_same_pairs(truth, given), return_inverse=True)
    human, machine = place.reshape(2, -1)
    return float(scores(_confusion(human, machine, len(occurring))[0])["macro_f1"])


def scores(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Measures of (..., levels, levels) confusion matrices, each (...), `f1` (..., levels); NaN where undefined.

    `quadratic_kappa` is Cohen's kappa (1968) over levels with squared distances as weights: 1 is perfect, 0 chance; it is 0, too, where
    both sides hold one and the same level throughout, as chance can't be told from skill there. `f1` of a level that occurs on neither
    side is undefined and no part of `macro_f1`.
    """
    step = np.abs(np.subtract.outer(*[np.arange(confusion.shape[-1])] * 2))
    human, given = confusion.sum(axis=-1), confusion.sum(axis=-2)
    pairs, hits = human.sum(axis=-1), np.diagonal(confusion, axis1=-2, axis2=-1)
    observed = (confusion * step**2).sum(axis=(-2, -1)) * pairs
    by_chance = (human[..., :, None] * given[..., None, :] * step**2).sum(axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = 2 * hits / (human + given)
        return {
            "accuracy": hits.sum(axis=-1) / pairs,
            "within_one": (confusion * (step <= 1)).sum(axis=(-2, -1)) / pairs,
            "quadratic_kappa": np.where(by_chance == 0, 0.0, 1 - observed / by_chance),
            "macro_f1": np.nansum(f1, axis=-1) / (human + given > 0).sum(axis=-1),
            "f1": f1,
        }


def expected_calibration_error(confidence: np.ndarray, is_right: np.ndarray, bins: int = ECE_BINS) -> float:
    """Mean gap between confidence (0..1) and share right, over equal-width bins weighted by their pairs (Naeini et al. 2015)."""
    return float(np.abs(_gaps(confidence, is_right, bins)).sum() / len(confidence))


def reliability(confidence: np.ndarray, is_right: np.ndarray, bins: int = ECE_BINS) -> list[dict[str, Any]]:
    """The bins of the calibration error for a diagram: `low`, `high`, `pairs`, mean `confidence`, `share_right` (None in an empty bin)."""
    place = _bins(confidence, is_right, bins)
    sums = (np.bincount(place, weights=values, minlength=bins).tolist() for values in (None, confidence, is_right))
    return [
        {
            "low": i / bins,
            "high": (i + 1) / bins,
            "pairs": pairs,
            "confidence": told / pairs if pairs else None,
            "share_right": right / pairs if pairs else None,
        }
        for i, (pairs, told, right) in enumerate(zip(*sums, strict=True))
    ]


def agreement(truth: np.ndarray, given: np.ndarray, confidence: np.ndarray, guideline: Guideline) -> dict[str, Any]:
    """Measures of one set of pairs without intervals, as plain numbers and lists for metadata."""
    confusion = _confusion(*_levels(truth, given, guideline), len(guideline.levels))[0]
    return {
        "pairs": int(confusion.sum()),
        "majority_accuracy": _majority(confusion),
        **{name: float(value) for name, value in scores(confusion).items() if name != "f1"},
        "ece": expected_calibration_error(confidence, np.asarray(truth) == np.asarray(given)),
        "levels": [level.name for level in guideline.levels],
        "confusion": confusion.tolist(),
    }


def agreement_report(
    truth: np.ndarray,
    given: np.ndarray,
    confidence: np.ndarray,
    queries: Sequence[str] | np.ndarray,
    guideline: Guideline,
    seed: int,
    others: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Agreement of n given grades with the human ones, with intervals, ready for JSON.

    The interval of a calibration error is biased upwards and may lie above its mean: the absolute gaps of a draw hold the noise of the
    sample and that of the draw. It bounds from above, and proves no error.

    Args:
        truth: (n,) human grades.
        given: (n,) grades to compare.
        confidence: (n,) calibrated confidence 0..1 of `given`.
        queries: (n,) query ids.
        guideline: Whose grades they are.
        seed: Of the draws; the order of the pairs doesn't count.
        others: Further (n,) confidences of the same grades by name, such as the one before calibration.

    Returns:
        `pairs`, `queries`, `majority_accuracy` (of always giving the commonest human grade), intervals `accuracy`, `within_one`,
        `quadratic_kappa`, `macro_f1`, `ece` (and `ece_<name>` of the others), `f1` {level name: interval}, `levels` (names),
        `confusion` (lists).

    Raises:
        WhetstoneError: No pairs, columns of different lengths, a grade outside the guideline, a confidence outside 0..1.
    """
    names, levels = [level.name for level in guideline.levels], len(guideline.levels)
    query = _numbers(queries, truth, given)
    told = {"ece": confidence, **{f"ece_{name}": each for name, each in (others or {}).items()}}
    is_right = np.asarray(truth) == np.asarray(given)
    counts = _confusion(*_levels(truth, given, guideline), levels, query)
    tables = [counts.reshape(len(counts), -1), *(_gaps(each, is_right, ECE_BINS, query) for each in told.values())]
    drawn, *gaps = np.split(_draws(np.hstack(tables), seed), np.cumsum([table.shape[1] for table in tables])[:-1], axis=1)
    figures = scores(drawn.reshape(-1, levels, levels)) | {
        name: np.abs(gap).sum(axis=1) / drawn.sum(axis=1) for name, gap in zip(told, gaps, strict=True)
    }
    by_level, whole = figures.pop("f1"), counts.sum(axis=0)
    return {
        "pairs": len(query),
        "queries": len(counts),
        "majority_accuracy": _majority(whole),
        **{name: _interval(values) for name, values in figures.items()},
        "f1": {name: _interval(values) for name, values in zip(names, by_level.T, strict=True)},
        "levels": names,
        "confusion": whole.tolist(),
    }


def stage_table(
    truth: np.ndarray,
    grade: np.ndarray,
    confidence: np.ndarray,
    settled_by: Sequence[str] | np.ndarray,
    cost_usd: np.ndarray,
    queries: Sequence[str] | np.ndarray,
    stages: Sequence[str],
    seed: int,
) -> list[dict[str, Any]]:
    """What each stage of a cascade settled, one row a stage in the order of `stages` ("vote" and the like included).

    Args:
        truth: (n,) human grades.
        grade: (n,) settled grades.
        confidence: (n,) their calibrated confidence.
        settled_by: (n,) names of the stages that settled them.
        cost_usd: (n,) dollars that each pair cost in all the stages that it was put to.
        queries: (n,) query ids.
        stages: All names; one that settled nothing has a row, too.
        seed: Of the draws.

    Returns:
        Rows of `stage`, `pairs` and intervals `share` (of all pairs), `accuracy`, `confidence` (mean) and `cost_usd` (mean of a pair).
        WhetstoneError: no pairs, columns of different lengths, a stage that `stages` lacks.
    """
    query, settler = _numbers(queries, truth, grade, confidence, settled_by, cost_usd), np.asarray(settled_by, dtype=object)
    if strange := sorted(set(settler) - set(stages)):
        raise WhetstoneError(f"agreement by stage: pairs were settled by {strange}, the cascade has {list(stages)}")
    place = np.array([list(stages).index(name) for name in settler])
    sums = [None, np.asarray(truth) == np.asarray(grade), confidence, cost_usd]
    drawn = _draws(np.hstack([_per_query(query, place, len(stages), each) for each in sums]), seed)
    settled, *parts = np.split(drawn, len(sums), axis=1)
    with np.errstate(invalid="ignore"):
        figures = [settled / settled.sum(axis=1, keepdims=True), *(part / settled for part in parts)]
    names = ["share", "accuracy", "confidence", "cost_usd"]
    return [
        {
            "stage": stage,
            "pairs": int(settled[0, i]),
            **{name: _interval(values[:, i]) for name, values in zip(names, figures, strict=True)},
        }
        for i, stage in enumerate(stages)
    ]


def cost_share(cost_usd: np.ndarray, dearest_usd: np.ndarray, queries: Sequence[str] | np.ndarray, seed: int) -> dict[str, Interval]:
    """What a cascade costs against its dearest stage asked for every pair: (n,) dollars each, (n,) query ids.

    Returns intervals `usd_per_pair`, `dearest_usd_per_pair` and `share` (sum over sum; undefined where the dearest is free).
    """
    query = _numbers(queries, cost_usd, dearest_usd)
    columns = [_per_query(query, np.zeros_like(query), 1, each) for each in (None, cost_usd, dearest_usd)]
    pairs, cost, dearest = _draws(np.hstack(columns), seed).T
    usd = {"usd_per_pair": cost / pairs, "dearest_usd_per_pair": dearest / pairs, "share": cost / np.where(dearest > 0, dearest, np.nan)}
    return {name: _interval(values) for name, values in usd.items()}


def raters_agreement(raters: Iterable[Any], guideline: Guideline) -> dict[str, float] | None:
    """How well human raters agree with one another: the mark beside an annotator's agreement with their judgment.

    Every rater of a judgment is set against every other (ordered pairs, so neither is the truth) and all count alike. Two single raters
    agree less than one does with the settled judgment of several, so an annotator may well lie above this.

    Args:
        raters: The list or array of the single grades of each judgment; None or pandas' NA where they aren't known.
        guideline: Whose grades they are; another one is a WhetstoneError.

    Returns:
        `judgments` with two or more raters, `accuracy`, `within_one`, `quadratic_kappa`; None where no judgment has two raters.
    """
    known = [np.ma.compressed(panel) for panel in raters]  # DuckDB masks a rater without a grade; None and NA become one value
    panels = [panel for panel in known if len(panel) > 1]
    if not panels:
        return None
    level = np.array(guideline.places(np.concatenate(panels), "agreement: human raters"))
    votes = _per_query(np.repeat(np.arange(len(panels)), [len(panel) for panel in panels]), level, len(guideline.levels))
    measured = scores(votes.T @ votes - np.diag(votes.sum(axis=0)))  # no rater against themselves
    return {"judgments": len(panels), **{name: float(measured[name]) for name in ("accuracy", "within_one", "quadratic_kappa")}}


def _same_pairs(*columns: npt.ArrayLike) -> list[np.ndarray]:
    arrays = [np.asarray(column) for column in columns]
    shapes = [array.shape for array in arrays]
    if len(set(shapes)) > 1 or not arrays[0].size:
        raise WhetstoneError(f"agreement needs the same pairs in all columns and at least one, got {shapes}")
    return arrays


def _levels(truth: np.ndarray, given: np.ndarray, guideline: Guideline) -> tuple[np.ndarray, np.ndarray]:
    truth, given = _same_pairs(truth, given)
    return np.array(guideline.places(truth, "agreement: human judgments")), np.array(guideline.places(given, "agreement: answers"))


def _numbers(queries: Sequence[str] | np.ndarray, *others: Any) -> np.ndarray:
    """(n,) numbers 0, 1, ... of the queries by their ids (as objects: numpy's own strings drop a trailing NUL)."""
    ids = _same_pairs(np.asarray(queries, dtype=object), *others)[0]
    _, numbers = np.unique(ids, return_inverse=True)
    return np.asarray(numbers)


def _per_query(query: np.ndarray | None, cell: np.ndarray, cells: int, weights: npt.ArrayLike | None = None) -> np.ndarray:
    """(queries, cells) sums of the (n,) weights, or counts of the pairs without; without queries all are one."""
    query = np.zeros_like(cell) if query is None else query
    return np.bincount(query * cells + cell, weights=weights, minlength=(query.max() + 1) * cells).reshape(-1, cells)


def _confusion(truth: np.ndarray, given: np.ndarray, levels: int, query: np.ndarray | None = None) -> np.ndarray:
    """(queries, levels, levels) counts."""
    return _per_query(query, truth * levels + given, levels * levels).reshape(-1, levels, levels)


def _bins(confidence: np.ndarray, is_right: np.ndarray, bins: int) -> np.ndarray:
    """(n,) bin of each confidence; the last bin includes 1.0."""
    confidence = np.asarray(confidence, dtype=float)
    if not len(confidence) or len(confidence) != len(is_right) or not ((confidence >= 0) & (confidence <= 1)).all():
        raise WhetstoneError(f"calibration needs a confidence in 0..1 for each answer, got {len(confidence)} for {len(is_right)} answers")
    place: np.ndarray = np.minimum((confidence * bins).astype(int), bins - 1)
    return place


def _gaps(confidence: np.ndarray, is_right: np.ndarray, bins: int, query: np.ndarray | None = None) -> np.ndarray:
    """(queries, bins) sum of confidence - number right: pairs of the bin * its gap."""
    place = _bins(confidence, is_right, bins)
    return _per_query(query, place, bins, np.asarray(confidence, dtype=float) - np.asarray(is_right, dtype=float))


def _majority(confusion: np.ndarray) -> float:
    return float(confusion.sum(axis=1).max() / confusion.sum())


def _draws(sums: np.ndarray, seed: int) -> np.ndarray:
    """(1 + DRAWS, cells): first the (queries, cells) sums over all queries, then over each draw; NaN draws of a single query."""
    count, rng = len(sums), np.random.default_rng(seed)
    if count == 1:  # it has no spread: an interval of width 0 would claim certainty
        return np.vstack([sums, np.full((DRAWS, sums.shape[1]), np.nan)])
    return np.stack([sums.sum(axis=0), *(np.bincount(rng.integers(count, size=count), minlength=count) @ sums for _ in range(DRAWS))])


def _interval(values: np.ndarray) -> Interval:
    """Of a figure on all queries, then on each draw."""
    low, high = np.nanquantile(values[1:], BOUNDS).tolist() if np.isnan(values[1:]).mean() <= 0.05 else (None, None)
    mean = None if np.isnan(values[0]) else float(values[0])
    return {"mean": mean, "low": low, "high": high}
