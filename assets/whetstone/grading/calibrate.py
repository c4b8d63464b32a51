"""Calibrate the cascade on human judgments of dev queries, which no annotator was trained on, and measure what it is worth there.

Every stage answers the held-out pairs (through the ledger, so the answers are bought once). Each gets its map from raw confidence to
P(correct), the thresholds follow from the target, and the report says how well the cascade agrees with the humans: on queries that
neither the maps nor the thresholds were fitted on, by folds of queries. Only `ece` is also told for other pairs of the same queries. The
maps that the build goes on with are fitted on all.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd

from whetstone.grading.agreement import agreement_report, cost_share, raters_agreement, reliability, stage_table
from whetstone.grading.annotator import Annotator
from whetstone.grading.calibration import NO_ANSWER, Calibration, cross_fitted, fit_calibration, folds_of
from whetstone.grading.cascade import Settled, Target, asked, choose_thresholds, paper_thresholds, parse_target, settle
from whetstone.grading.guideline import Guideline
from whetstone.grading.ledger import Entry, Ledger, grade_through

LEAST_PAIRS = 30  # held-out answers that a stage needs to be calibrated on
VOTE_NAME = "vote"
NONE = Calibration({}, ((0.0, 1.0), (0.0, 1.0)))


class Stage(NamedTuple):
    """A calibrated stage, as JSON keeps it: whose answers, how to read their confidence, from when on it is sure."""

    name: str
    version: str
    calibration: Calibration
    threshold: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**self._asdict(), "calibration": asdict(self.calibration)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Back from `to_dict`."""
        return cls(data["name"], data["version"], Calibration.from_dict(data["calibration"]), data["threshold"])


def held_out(judged: pd.DataFrame, most: int | None) -> pd.DataFrame:
    """At most so many of the judged dev pairs, in the order of a hash of their ids: a sample that doesn't change when others come or go.

    Where money ends early, what it bought is the first part of it: a sample again, of many queries.
    """
    ids = [f"{len(query)} {query} {product}" for query, product in zip(judged["query_id"], judged["product_id"], strict=True)]
    order = pd.Series([hashlib.sha256(each.encode("utf-8", "surrogatepass")).hexdigest() for each in ids], index=judged.index)
    return judged.loc[order.sort_values(kind="stable").index[:most]].reset_index(drop=True)


def calibrate(
    judged: pd.DataFrame, annotators: Sequence[Annotator], ledger: Ledger, guideline: Guideline, entry: Entry, target: str, seed: int
) -> dict[str, Any]:
    """Ask every annotator, the stages in order, for every held-out pair; fit, choose, measure.

    `judged` are n human-judged dev pairs (query_id, product_id, category, query, text, grade, raters), `entry` is the account of new
    answers, `target` is that of the thresholds (`cascade.parse_target`), `seed` that of the bootstrap.

    Returns JSON values: `stages` (`Stage.to_dict`; those that answered), `dropped` ([{stage, why}]), `target`, `is_met`, and `report`:
    agreement of the cascade, of each stage alone, share settled and accuracy by stage, cost against the dearest stage, reliability
    before and after, the human raters' own agreement. Without judgments of two queries stages go uncalibrated and report is None.
    """
    wanted = parse_target(target)
    dropped: list[dict[str, Any]] = []
    if judged["query_id"].nunique() < 2:
        limits = paper_thresholds(len(annotators))
        stages = [Stage(each.name, each.version, NONE, limit) for each, limit in zip(annotators, limits, strict=True)]
        return {"stages": [each.to_dict() for each in stages], "dropped": dropped, "target": "paper", "is_met": False, "report": None}
    answers: list[tuple[Annotator, pd.DataFrame]] = []
    is_common = np.full(len(judged), True)  # pairs that every stage so far has answered
    for annotator in annotators:
        answer = grade_through(ledger, annotator, judged, guideline, entry)
        is_common_now = is_common & answer["is_answered"].to_numpy()
        graded = is_common_now & answer["grade"].notna().to_numpy()
        if graded.sum() < min(LEAST_PAIRS, len(judged)) or judged["query_id"][graded].nunique() < 2:
            why = f"it graded {graded.sum()} of the {len(judged)} held-out pairs"
            reasons = answer["failure"].dropna()
            dropped.append({"stage": annotator.name, "why": f"{why}: {reasons.iloc[0]}" if len(reasons) else why})
        else:
            answers.append((annotator, answer))
            is_common = is_common_now
    if not answers:
        return {"stages": [], "dropped": dropped, "target": target, "is_met": False, "report": None}
    truth, queries = judged["grade"].to_numpy(), judged["query_id"].to_numpy()
    names = [annotator.name for annotator, _ in answers]
    grades = np.column_stack([answer["grade"].fillna(NO_ANSWER).to_numpy(dtype=int) for _, answer in answers])
    raw, costs = (np.column_stack([answer[column].to_numpy() for _, answer in answers]) for column in ("confidence", "cost_usd"))
    # the maps are fitted on all that a stage answered, not on the common pairs alone
    maps = [fit_calibration(grades[:, i], raw[:, i], grades[:, i] == truth) for i in range(len(names))]
    truth, queries, grades, raw, costs = (each[is_common] for each in (truth, queries, grades, raw, costs))

    def fitted_without(groups: np.ndarray) -> np.ndarray:
        """(n, s) confidence by maps that know neither the pair's group nor those of its fold."""
        is_right = grades == truth[:, None]
        return np.column_stack([cross_fitted(grades[:, i], raw[:, i], is_right[:, i], groups) for i in range(len(names))])

    fitted = fitted_without(queries)
    # `ece` is that of other pairs of the judged queries, `ece_new_queries` that of other queries. The second holds, besides what the map
    # gets wrong, which queries happen to be hard: with few judged queries that is most of it.
    told = {"ece": fitted_without(np.arange(len(truth))), "ece_raw": raw, "ece_new_queries": fitted}
    choice = choose_thresholds(grades, fitted, truth, costs.mean(axis=0), wanted)
    how = zip(answers, maps, choice.thresholds, strict=True)
    stages = [Stage(annotator.name, annotator.version, map_, limit) for (annotator, _), map_, limit in how]
    limits_of = _thresholds_by_others(grades, fitted, truth, costs, queries, wanted)
    settled = settle(grades, fitted, limits_of)
    paid = (costs * asked(grades, fitted, limits_of)).sum(axis=1)
    everybody = [*names, VOTE_NAME, "nobody"]
    by_pair = {
        "query_id": queries,
        "settled_by": np.array([*names, "nobody", VOTE_NAME], dtype=object)[settled.stage],  # NOBODY is -2, VOTE is -1
        "is_right": settled.grade == truth,
        "confidence": settled.confidence,
        "cost_usd": paid,
    }
    alone = {
        name: _measured(truth, grades[:, i], {kind: each[:, i] for kind, each in told.items()}, queries, guideline, seed)
        for i, name in enumerate(names)
    }
    told_of_settled = {kind: _of(settled, grades, each) for kind, each in told.items()}
    report = {
        **_measured(truth, settled.grade, told_of_settled, queries, guideline, seed),
        "stages": stage_table(pd.DataFrame(by_pair), everybody, seed),
        "alone": alone,
        "cost": cost_share(paid, costs[:, costs.mean(axis=0).argmax()], queries, seed),
        "raters": raters_agreement(judged.loc[is_common, "raters"], guideline),
    }
    found = {"stages": [stage.to_dict() for stage in stages], "dropped": dropped, "target": target}
    return {**found, "is_met": choice.is_met, "report": report}


def _thresholds_by_others(
    grades: np.ndarray, confidence: np.ndarray, truth: np.ndarray, costs: np.ndarray, queries: np.ndarray, target: Target
) -> np.ndarray:
    """(n, s) thresholds for each pair, chosen on other queries: where they were chosen they are the best of many, and measure nothing."""
    fold_of, limits = folds_of(queries), np.zeros(grades.shape)
    for fold in range(fold_of.max() + 1):
        others = fold_of != fold
        measured = grades[others], confidence[others], truth[others], costs[others].mean(axis=0)
        limits[~others] = choose_thresholds(*measured, target).thresholds
    return limits


def _measured(
    truth: np.ndarray, given: np.ndarray, told: dict[str, np.ndarray], queries: np.ndarray, guideline: Guideline, seed: int
) -> dict[str, Any]:
    """Agreement where there is a grade, with the reliability before and after calibration; `told` are `ece` and `ece_raw` at least."""
    has = given != NO_ANSWER
    told, is_right = {name: each[has] for name, each in told.items()}, (truth == given)[has]
    return {
        **agreement_report(truth[has], given[has], told, queries[has], guideline, seed),
        "without_grade": int((~has).sum()),
        "reliability_before": reliability(told["ece_raw"], is_right),
        "reliability_after": reliability(told["ece"], is_right),
    }


def _of(settled: Settled, grades: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """(n,) of some (n, s) confidence that of the grade that was settled on: of the stage that settled it, or the greatest of its voters."""
    is_settler = np.arange(grades.shape[1]) == settled.stage[:, None]
    gave = (grades == settled.grade[:, None]) & (is_settler | (settled.stage[:, None] < 0))
    return np.asarray(np.where(gave, confidence, 0.0).max(axis=1))
