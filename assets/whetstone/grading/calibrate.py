"""Calibrate the cascade on human judgments of dev queries, which no annotator was trained on, and measure what it is worth there.

Every stage answers the held-out pairs (through the ledger, so the answers are bought once). Each gets its map from raw confidence to
P(correct), the thresholds follow from the target, and the report says how well the cascade agrees with the humans: on queries that
neither maps nor thresholds were fitted on, by folds of queries. The maps that the build goes on with are fitted on all.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from whetstone.grading.agreement import agreement_report, bootstrapped, raters_agreement, reliability, stage_table
from whetstone.grading.annotator import Annotator
from whetstone.grading.calibration import NO_ANSWER, NONE, Stage, cross_fitted, fit_calibration, splits
from whetstone.grading.cascade import AFTER, choose_thresholds, paper_thresholds, settle
from whetstone.grading.guideline import Guideline
from whetstone.grading.ledger import Entry, Ledger, grade_through

LEAST_PAIRS = 30  # held-out answers that a stage needs to be calibrated on


def held_out(judged: pd.DataFrame, most: int | None) -> pd.DataFrame:
    """At most so many judged dev pairs, in the order of a hash of ids: a stable sample, and its head is one where money ends early."""
    ids = [f"{len(query)} {query} {product}" for query, product in zip(judged["query_id"], judged["product_id"], strict=True)]
    order = pd.Series([hashlib.sha256(each.encode("utf-8", "surrogatepass")).hexdigest() for each in ids], index=judged.index)
    return judged.loc[order.sort_values(kind="stable").index[:most]].reset_index(drop=True)


def calibrate(
    judged: pd.DataFrame, annotators: Sequence[Annotator], ledger: Ledger, guideline: Guideline, entry: Entry, target: str, seed: int
) -> dict[str, Any]:
    """Ask every annotator, the stages in order, for every held-out pair; fit, choose, measure.

    `judged` are n human-judged dev pairs (query_id, product_id, category, query, text, grade, raters), `entry` is the account of new
    answers, `target` is that of the thresholds (`choose_thresholds`), `seed` that of the bootstrap.

    Returns JSON values: `stages` (`Stage`; those that answered), `dropped` ([{stage, why}]), `target`, `is_met`, `report` (None, and stages
    uncalibrated, without judgments of two queries). WhetstoneError: a judgment's grade is none of the guideline's.
    """
    found: dict[str, Any] = {"stages": [], "dropped": [], "target": target, "is_met": False, "report": None}
    if judged["query_id"].nunique() < 2:
        limits = zip(annotators, paper_thresholds(len(annotators)), strict=True)
        return {**found, "target": "paper", "stages": [asdict(Stage(each.name, each.version, NONE, limit)) for each, limit in limits]}
    answers: list[tuple[Annotator, pd.DataFrame]] = []
    is_common = np.full(len(judged), True)  # pairs that every stage so far has answered
    for annotator in annotators:
        answer = grade_through(ledger, annotator, judged, guideline, entry)
        is_common_now = is_common & answer["is_answered"].to_numpy()
        graded = is_common_now & answer["grade"].notna().to_numpy()
        if graded.sum() < min(LEAST_PAIRS, len(judged)) or judged["query_id"][graded].nunique() < 2:
            whys = [f"it graded {graded.sum()} of the {len(judged)} held-out pairs", *answer["failure"].dropna().head(1)]
            found["dropped"].append({"stage": annotator.name, "why": ": ".join(whys)})
        else:
            answers.append((annotator, answer))
            is_common = is_common_now
    return {**found, **_fitted(judged, is_common, answers, guideline, target, seed)} if answers else found


def _fitted(
    judged: pd.DataFrame, is_common: np.ndarray, answers: list[tuple[Annotator, pd.DataFrame]], guideline: Guideline, target: str, seed: int
) -> dict[str, Any]:
    """`is_met`, `stages` and `report` of the stages that gave `answers` (one a pair); all but the maps from the pairs that `is_common`."""

    def columns(name: str) -> np.ndarray:
        return np.column_stack([answer[name].to_numpy(dtype=float, na_value=NO_ANSWER) for _, answer in answers])

    truth, grades, raw, costs = judged["grade"].to_numpy(), columns("grade").astype(int), columns("confidence"), columns("cost_usd")
    # the maps are fitted on all that a stage answered, not on the common pairs alone
    maps = [fit_calibration(*stage, stage[0] == truth) for stage in zip(grades.T, raw.T, strict=True)]
    # as objects: pandas' factorize, and numpy's own texts, take "q" and "q\0" for the same
    query = np.unique(judged["query_id"].to_numpy(dtype=object), return_inverse=True)[1]
    truth, grades, raw, costs, query = (each[is_common] for each in (truth, grades, raw, costs, query))

    def fitted_without(groups: np.ndarray) -> np.ndarray:
        """(n, s) confidence by maps that know neither the pair's group nor those of its fold."""
        return np.column_stack([cross_fitted(*stage, stage[0] == truth, groups) for stage in zip(grades.T, raw.T, strict=True)])

    fitted = fitted_without(query)
    # `ece` is that of other pairs of the judged queries, `ece_new_queries` that of other queries. The second holds, besides what the map
    # gets wrong, which queries happen to be hard: with few judged queries that is most of it.
    told = {"ece": fitted_without(np.arange(len(truth))), "ece_raw": raw, "ece_new_queries": fitted}

    def chosen(rows: np.ndarray) -> Any:
        return choose_thresholds(grades[rows], fitted[rows], truth[rows], costs[rows].mean(axis=0), target)

    choice, names = chosen(np.arange(len(truth))), [annotator.name for annotator, _ in answers]
    # where thresholds were chosen they are the best of many and measure nothing, so each pair is settled by those of other queries
    limits_of = np.zeros(grades.shape)
    for others, held in splits(query):
        limits_of[held] = chosen(others).thresholds
    settled = settle(grades, fitted, limits_of)

    def measured(given: np.ndarray, confidences: dict[str, np.ndarray]) -> dict[str, Any]:
        """Agreement where there is a grade, with the reliability before and after calibration."""
        has = given != NO_ANSWER
        confidences, is_right = {name: each[has] for name, each in confidences.items()}, (truth == given)[has]
        return {
            **agreement_report(truth[has], given[has], confidences, query[has], guideline, seed),
            "without_grade": int((~has).sum()),
            "reliability_before": reliability(confidences["ece_raw"], is_right),
            "reliability_after": reliability(confidences["ece"], is_right),
        }

    paid, dearest = (costs * settled.asked(len(names))).sum(axis=1), costs[:, costs.mean(axis=0).argmax()]

    def cost(weight: np.ndarray) -> dict[str, Any]:
        usd, most = weight @ paid, weight @ dearest
        return {"usd_per_pair": usd / weight.sum(), "share": usd / most if most else np.nan}

    settled_by = np.array([*names, *AFTER], dtype=object)[settled.stage]
    by_pair = {"settled_by": settled_by, "is_right": settled.grade == truth, "confidence": settled.confidence, "cost_usd": paid}
    report = {
        **measured(settled.grade, {name: settled.told(grades, each) for name, each in told.items()}),
        "stages": stage_table(pd.DataFrame(by_pair), [*names, *AFTER[::-1]], query, seed),
        "alone": {name: measured(grades[:, i], {kind: each[:, i] for kind, each in told.items()}) for i, name in enumerate(names)},
        "cost": bootstrapped(cost, query, seed),
        "raters": raters_agreement(judged.loc[is_common, "raters"], guideline),
    }
    made = zip(answers, maps, choice.thresholds, strict=True)
    stages = [asdict(Stage(each.name, each.version, *rest)) for (each, _), *rest in made]
    return {"is_met": choice.is_met, "stages": stages, "report": report}
