"""Calibrate the cascade on human judgments of dev queries, which no annotator was trained on, and measure what it is worth there.

Every stage answers the held-out pairs (through the ledger, so the answers are bought once). Each gets its map from raw confidence to
P(correct), the thresholds follow from the target, and the report says how well the cascade agrees with the humans: on queries that
neither the maps nor the thresholds were fitted on, by folds of queries. Only `ece` is also told for other pairs of the same queries. The
maps that the build goes on with are fitted on all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from whetstone.grading.agreement import agreement_report, cost_share, raters_agreement, reliability, stage_table
from whetstone.grading.annotator import Annotator
from whetstone.grading.calibration import NO_ANSWER, Calibration, cross_fitted, fit_calibration, folds_of
from whetstone.grading.cascade import PAPER_THRESHOLDS, Settled, Target, asked, choose_thresholds, parse_target, settle
from whetstone.grading.guideline import Guideline
from whetstone.grading.ledger import Entry, Ledger, grade_through

LEAST_PAIRS = 30  # held-out answers that a stage needs to be calibrated on
VOTE_NAME = "vote"
NONE = Calibration("none", {}, ((0.0, 1.0), (0.0, 1.0)))


class Stage(NamedTuple):
    """A calibrated stage, as JSON keeps it: whose answers, how to read their confidence, from when on it is sure."""

    name: str
    version: str
    calibration: Calibration
    threshold: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**self._asdict(), "calibration": self.calibration.to_dict()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Stage:
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
    """Ask every annotator for every held-out pair; fit, choose, measure.

    Args:
        judged: n human-judged dev pairs: query_id, product_id, category, query, text, grade, raters.
        annotators: the stages in order.
        ledger: where answers are kept.
        guideline: what grades mean.
        entry: on whose account new answers are booked.
        target: of the thresholds, see `cascade.parse_target`.
        seed: of the bootstrap.

    Returns:
        JSON values: `stages` (`Stage.to_dict`; those that answered), `dropped` ([{stage, why}]), `target`, `is_met`, and `report`:
        agreement of the cascade, of each stage alone, share settled and accuracy by stage, cost against the dearest stage, reliability
        before and after, the human raters' own agreement. Without judgments of two queries stages go uncalibrated and report is None.
    """
    wanted = parse_target(target)
    dropped: list[dict[str, Any]] = []
    if judged["query_id"].nunique() < 2:
        limits = [PAPER_THRESHOLDS[min(i, len(PAPER_THRESHOLDS) - 1)] for i in range(len(annotators))]
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
    maps = [_fit(answer, judged["grade"].to_numpy()) for _, answer in answers]  # of all that a stage answered, not of the common ones alone
    common = judged[is_common].reset_index(drop=True)
    answers = [(annotator, answer[is_common].reset_index(drop=True)) for annotator, answer in answers]
    truth, queries = common["grade"].to_numpy(), common["query_id"].to_numpy()
    grades = np.column_stack([answer["grade"].fillna(NO_ANSWER).to_numpy(dtype=int) for _, answer in answers])
    raw = np.column_stack([answer["confidence"].to_numpy() for _, answer in answers])
    costs = np.column_stack([answer["cost_usd"].to_numpy() for _, answer in answers])
    is_right = grades == truth[:, None]
    count = range(len(answers))
    fitted = np.column_stack([cross_fitted(grades[:, i], raw[:, i], is_right[:, i], queries) for i in count])
    pairs = np.arange(len(truth))
    by_pair = np.column_stack([cross_fitted(grades[:, i], raw[:, i], is_right[:, i], pairs) for i in count])
    choice = choose_thresholds(grades, fitted, truth, costs.mean(axis=0), wanted)
    stages = [
        Stage(annotator.name, annotator.version, map_, threshold)
        for (annotator, _), map_, threshold in zip(answers, maps, choice.thresholds, strict=True)
    ]
    settled, is_asked = _settled_by_others(grades, fitted, truth, costs, queries, wanted)
    paid = (costs * is_asked).sum(axis=1)
    names = [annotator.name for annotator, _ in answers]
    everybody = [*names, VOTE_NAME, "nobody"]
    return {
        "stages": [stage.to_dict() for stage in stages],
        "dropped": dropped,
        "target": target,
        "is_met": choice.is_met,
        "report": {
            **_alone(
                truth, settled.grade, _of(settled, grades, by_pair), _of(settled, grades, raw), settled.confidence, queries, guideline, seed
            ),
            "stages": stage_table(truth, settled.grade, settled.confidence, _named(settled, names), paid, queries, everybody, seed),
            "alone": {
                name: _alone(truth, grades[:, i], by_pair[:, i], raw[:, i], fitted[:, i], queries, guideline, seed)
                for i, name in enumerate(names)
            },
            "cost": cost_share(paid, costs[:, costs.mean(axis=0).argmax()], queries, seed),
            "raters": raters_agreement(common["raters"], guideline),
        },
    }


def _fit(answer: pd.DataFrame, truth: np.ndarray) -> Calibration:
    grades = answer["grade"].fillna(NO_ANSWER).to_numpy(dtype=int)
    return fit_calibration(grades, answer["confidence"].to_numpy(), grades == truth)


def _settled_by_others(
    grades: np.ndarray, confidence: np.ndarray, truth: np.ndarray, costs: np.ndarray, queries: np.ndarray, target: Target
) -> tuple[Settled, np.ndarray]:
    """The held-out pairs settled, and (n, s) which stages they were asked at, by thresholds that were chosen on other queries.

    Thresholds are the best of many on the pairs that they were chosen on, so those can't measure them.
    """
    fold_of, parts, is_asked = folds_of(queries), [], np.zeros(grades.shape, dtype=bool)
    for fold in range(fold_of.max() + 1):
        held, others = fold_of == fold, fold_of != fold
        chosen = choose_thresholds(grades[others], confidence[others], truth[others], costs[others].mean(axis=0), target).thresholds
        parts.append((np.flatnonzero(held), settle(grades[held], confidence[held], chosen)))
        is_asked[held] = asked(grades[held], confidence[held], chosen)
    order = np.argsort(np.concatenate([places for places, _ in parts]))
    grade, sure, stage = (np.concatenate([part[i] for _, part in parts])[order] for i in range(3))
    return Settled(grade, sure, stage), is_asked


def _alone(
    truth: np.ndarray,
    given: np.ndarray,
    by_pair: np.ndarray,
    raw: np.ndarray,
    by_query: np.ndarray,
    queries: np.ndarray,
    guideline: Guideline,
    seed: int,
) -> dict[str, Any]:
    """Agreement where there is a grade, with the reliability before and after calibration.

    `ece` is that of other pairs of the judged queries, `ece_new_queries` that of other queries. The second holds, besides what the map
    gets wrong, which queries happen to be hard: with few judged queries that is most of it.
    """
    has = given != NO_ANSWER
    is_right, others = (truth == given)[has], {"raw": raw[has], "new_queries": by_query[has]}
    return {
        **agreement_report(truth[has], given[has], by_pair[has], queries[has], guideline, seed, others),
        "without_grade": int((~has).sum()),
        "reliability_before": reliability(raw[has], is_right),
        "reliability_after": reliability(by_pair[has], is_right),
    }


def _of(settled: Settled, grades: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """(n,) of some (n, s) confidence that of the grade that was settled on: of the stage that settled it, or the greatest of its voters."""
    is_settler = np.arange(grades.shape[1]) == settled.stage[:, None]
    gave: np.ndarray = (grades == settled.grade[:, None]) & (is_settler | (settled.stage[:, None] < 0))
    told: np.ndarray = np.where(gave, confidence, 0.0).max(axis=1)
    return told


def _named(settled: Settled, names: Sequence[str]) -> np.ndarray:
    """(n,) who settled each pair."""
    by: np.ndarray = np.array([*names, "nobody", VOTE_NAME], dtype=object)[settled.stage]  # NOBODY is -2, VOTE is -1
    return by
