"""How well grades agree with human judgments: accuracy, within-one, quadratic kappa, F1, calibration error, stages and cost.

All take n human grades (`truth`) and n given grades of the same pairs, as ints; a "level" is a grade's position in the guideline, so
that a step from E (4) to S (2) is one level. Each measure of agreement is a function of the confusion matrix, counts (levels,
levels): row = human, column = given, best level first. [B] (arXiv 2602.17654) reports accuracy and within-one, [A2] (arXiv
2606.25871) agreement, ECE, share settled and cost. The expected calibration error (ECE) is the mean gap between confidence (0..1) and
share right, over equal-width bins weighted by their pairs (Naeini et al. 2015).

Intervals are 95 % percentile bootstraps (Efron & Tibshirani 1993, chapter 13) that draw whole *queries*: the pairs of a query stand or
fall together, so drawing pairs would claim too much. Every figure is a function of sums over queries, so a draw is a weighted sum.
An interval is {"mean": the figure on all pairs, "low", "high"}; the bounds are None with fewer than two queries or where over 5 % of
the draws leave the figure undefined (a level that only one or two queries have), all three where it is undefined altogether.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from whetstone.grading.guideline import Guideline
from whetstone.platform.errors import WhetstoneError

ECE_BINS = 15
DRAWS = 1_000
BOUNDS = (0.025, 0.975)
Interval = dict[str, float | None]


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


def reliability(confidence: np.ndarray, is_right: np.ndarray) -> list[dict[str, Any]]:
    """The filled bins of the calibration error, rising, for a diagram: `pairs`, mean `confidence`, `share_right`."""
    told = pd.DataFrame({"pairs": 1, "confidence": confidence, "share_right": np.asarray(is_right, dtype=float)})
    bins = told.groupby(_bins(confidence)).agg({"pairs": "sum", "confidence": "mean", "share_right": "mean"})
    return [{str(name): value for name, value in row.items()} for row in bins.to_dict("records")]


def agreement_report(
    truth: np.ndarray,
    given: np.ndarray,
    confidences: Mapping[str, np.ndarray],
    queries: Sequence[str] | np.ndarray,
    guideline: Guideline,
    seed: int,
) -> dict[str, Any]:
    """Agreement of n given grades with the human ones, with intervals, ready for JSON.

    `confidences` are (n,) confidences 0..1 of the given grades, by the name of their calibration error. Its interval is biased upwards and
    may lie above its mean: the absolute gaps of a draw hold the noise of the sample and that of the draw. It bounds from above, and
    proves no error. `seed` is that of the draws; the order of the pairs doesn't count.

    Returns `pairs`, `queries`, `majority_accuracy` (of always giving the commonest human grade), intervals `accuracy`, `within_one`,
    `quadratic_kappa`, `macro_f1` and those of `confidences`, `f1` {level name: interval}, `levels` (names), `confusion` (lists).
    WhetstoneError: no pairs, or a grade outside the guideline.
    """
    names, query = [level.name for level in guideline.levels], _numbers(queries)
    human = np.array(guideline.places(truth, "agreement: human judgments"))
    answer = np.array(guideline.places(given, "agreement: answers"))
    tables = [_per_query(query, human * len(names) + answer, len(names) ** 2)]
    for told in confidences.values():  # of each bin the sum of confidence - number right: its pairs * its gap
        tables.append(_per_query(query, _bins(told), ECE_BINS, told - (truth == given)))
    drawn, *gaps = np.split(_draws(np.hstack(tables), seed), np.cumsum([table.shape[1] for table in tables])[:-1], axis=1)
    figures = scores(drawn.reshape(-1, len(names), len(names)))
    by_level, whole = figures.pop("f1"), tables[0].sum(axis=0).reshape(len(names), -1)
    figures |= {name: np.abs(gap).sum(axis=1) / drawn.sum(axis=1) for name, gap in zip(confidences, gaps, strict=True)}
    return {
        "pairs": len(query),
        "queries": len(tables[0]),
        "majority_accuracy": float(whole.sum(axis=1).max() / len(query)),
        **{name: _interval(values) for name, values in figures.items()},
        "f1": {name: _interval(values) for name, values in zip(names, by_level.T, strict=True)},
        "levels": names,
        "confusion": whole.tolist(),
    }


def stage_table(pairs: pd.DataFrame, stages: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """What each stage of a cascade settled, one row a stage in the order of `stages` ("vote" and the like included).

    `pairs` has query_id, settled_by (one of the stages), is_right, confidence (calibrated) and cost_usd (of all stages that the pair was
    put to). Returns rows of `stage`, `pairs` and intervals `share` (of all pairs), `accuracy`, `confidence` (mean) and `cost_usd` (mean of
    a pair); a stage that settled nothing has a row, too.
    """
    query, place = _numbers(pairs["query_id"].to_numpy()), pd.Index(stages).get_indexer(pd.Index(pairs["settled_by"]))
    sums = [None, pairs["is_right"], pairs["confidence"], pairs["cost_usd"]]
    drawn = _draws(np.hstack([_per_query(query, place, len(stages), each) for each in sums]), seed)
    settled, *parts = np.split(drawn, len(sums), axis=1)
    with np.errstate(invalid="ignore"):
        figures = {"share": settled / settled.sum(axis=1, keepdims=True)}
        figures |= {name: part / settled for name, part in zip(("accuracy", "confidence", "cost_usd"), parts, strict=True)}
    return [
        {"stage": stage, "pairs": int(settled[0, i]), **{name: _interval(values[:, i]) for name, values in figures.items()}}
        for i, stage in enumerate(stages)
    ]


def cost_share(cost_usd: np.ndarray, dearest_usd: np.ndarray, queries: Sequence[str] | np.ndarray, seed: int) -> dict[str, Interval]:
    """What a cascade costs against its dearest stage asked for every pair: (n,) dollars each, (n,) query ids.

    Returns intervals `usd_per_pair`, `dearest_usd_per_pair` and `share` (sum over sum; undefined where the dearest is free).
    """
    query = _numbers(queries)
    columns = [_per_query(query, np.zeros_like(query), 1, each) for each in (None, cost_usd, dearest_usd)]
    pairs, cost, dearest = _draws(np.hstack(columns), seed).T
    usd = {"usd_per_pair": cost / pairs, "dearest_usd_per_pair": dearest / pairs, "share": cost / np.where(dearest > 0, dearest, np.nan)}
    return {name: _interval(values) for name, values in usd.items()}


def raters_agreement(raters: Iterable[Any], guideline: Guideline) -> dict[str, float] | None:
    """How well human raters agree with one another: the mark beside an annotator's agreement with their judgment.

    Every rater of a judgment is set against every other (ordered pairs, so neither is the truth) and all count alike. Two single raters
    agree less than one does with the settled judgment of several, so an annotator may well lie above this.

    `raters` has the single grades of each judgment; None or pandas' NA where they aren't known. Returns `judgments` with two or more
    raters, `accuracy`, `within_one`, `quadratic_kappa`; None where no judgment has two raters.
    """
    known = [np.ma.compressed(panel) for panel in raters]  # DuckDB masks a rater without a grade; None and NA become one value
    panels = [panel for panel in known if len(panel) > 1]
    if not panels:
        return None
    level = np.array(guideline.places(np.concatenate(panels), "agreement: human raters"))
    votes = _per_query(np.repeat(np.arange(len(panels)), [len(panel) for panel in panels]), level, len(guideline.levels))
    measured = scores(votes.T @ votes - np.diag(votes.sum(axis=0)))  # no rater against themselves
    return {"judgments": len(panels), **{name: float(measured[name]) for name in ("accuracy", "within_one", "quadratic_kappa")}}


def _numbers(queries: Sequence[str] | np.ndarray) -> np.ndarray:
    """(n,) numbers 0, 1, ... of the queries by their ids (as objects: numpy's own strings drop a trailing NUL)."""
    if not len(queries):
        raise WhetstoneError("agreement needs at least one pair that was graded and judged")
    return np.asarray(np.unique(np.asarray(queries, dtype=object), return_inverse=True)[1])


def _per_query(query: np.ndarray, cell: np.ndarray, cells: int, weights: npt.ArrayLike | None = None) -> np.ndarray:
    """(queries, cells) sums of the (n,) weights, or counts of the pairs without."""
    return np.bincount(query * cells + cell, weights=weights, minlength=(query.max() + 1) * cells).reshape(-1, cells)


def _bins(confidence: np.ndarray) -> np.ndarray:
    """(n,) bin of each confidence; the last bin includes 1.0."""
    return np.asarray(np.minimum((np.asarray(confidence) * ECE_BINS).astype(int), ECE_BINS - 1))


def _draws(sums: np.ndarray, seed: int) -> np.ndarray:
    """(1 + DRAWS, cells): first the (queries, cells) sums over all queries, then over each draw; NaN draws of a single query."""
    count, rng = len(sums), np.random.default_rng(seed)
    if count == 1:  # it has no spread: an interval of width 0 would claim certainty
        return np.vstack([sums, np.full((DRAWS, sums.shape[1]), np.nan)])
    return np.stack([sums.sum(axis=0), *(np.bincount(rng.integers(count, size=count), minlength=count) @ sums for _ in range(DRAWS))])


def _interval(values: np.ndarray) -> Interval:
    """Of a figure on all queries, then on each draw."""
    low, high = np.nanquantile(values[1:], BOUNDS).tolist() if np.isnan(values[1:]).mean() <= 0.05 else (None, None)
    return {"mean": None if np.isnan(values[0]) else float(values[0]), "low": low, "high": high}
