"""Settle pairs: a human judgment where there is one, otherwise the cascade through the ledger."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from whetstone.grading.annotator import PAIR_COLUMNS, PAIR_ID, Annotator
from whetstone.grading.calibration import NO_ANSWER, Stage
from whetstone.grading.cascade import AFTER, NEVER, NOBODY, settle
from whetstone.grading.guideline import Guideline
from whetstone.grading.ledger import Entry, Ledger, grade_through

Cascade = Sequence[tuple[Annotator, Stage]]
HUMAN = "human"
GRADE_COLUMNS = [*PAIR_ID, "grade", "label", "confidence", "settled_by", "annotator_version", "cost_usd"]


class Graded(NamedTuple):
    """Graded pairs, and what became of all that were asked for.

    `stages` has a row for each stage, asked or not, human first: stage, asked, settled, failed (answered without a grade), unanswered, why,
    new (answers that this call asked for), new_usd. The last two are `vote` and `nobody` (pairs that go without a grade).
    """

    rows: pd.DataFrame
    stages: list[dict[str, Any]]


def grade_pairs(
    pairs: pd.DataFrame, judgments: pd.DataFrame, cascade: Cascade, ledger: Ledger, guideline: Guideline, entry: Entry
) -> Graded:
    """Grade n pairs (`PAIR_COLUMNS` and category, each once, the most worthwhile first).

    `judgments` (query_id, product_id, grade, source) may hold other pairs; `cascade` are the stages in order, each with its calibration.
    A stage is asked for the open pairs, the least sure first (by the calibrated confidence of the latest answer): so a budget that ends
    early is spent where it helps most.

    Returns at most n rows of `GRADE_COLUMNS` in the order of `pairs`, and counts. `confidence` is calibrated, 1 for a human; `cost_usd` is
    what all answers to the pair cost when they were bought. WhetstoneError: a judgment's grade is none of the guideline's.
    """
    ledger.create()  # even if nobody is asked: the report reads it
    known = judgments[[*PAIR_ID, "grade", "source"]]
    judged = pairs[[*PAIR_COLUMNS, "category"]].merge(known, on=PAIR_ID, how="left", validate="one_to_one")
    human, asked = (judged[is_it].reset_index(drop=True) for is_it in (judged["grade"].notna(), judged["grade"].isna()))
    guideline.places(human["grade"], "human judgments of the pairs")
    human = human.assign(confidence=1.0, settled_by=HUMAN, annotator_version=human["source"], cost_usd=0.0)

    shape = len(asked), max(1, len(cascade))
    grades, confidence = np.full(shape, NO_ANSWER), np.zeros(shape)
    latest, cost_usd, is_open = np.zeros(len(asked)), np.zeros(len(asked)), np.full(len(asked), True)
    stages = [_row(HUMAN, asked=len(human), settled=len(human))]
    for place, (annotator, stage) in enumerate(cascade):
        at = np.flatnonzero(is_open)
        at = at[np.argsort(latest[at], kind="stable")]
        answers = grade_through(ledger, annotator, asked.iloc[at], guideline, entry)
        grades[at, place] = answers["grade"].fillna(NO_ANSWER)
        confidence[at, place] = stage.calibration.apply(grades[at, place], answers["confidence"].to_numpy())
        cost_usd[at] += answers["cost_usd"]
        is_graded = grades[:, place] != NO_ANSWER
        latest[is_graded] = confidence[is_graded, place]
        is_open &= ~is_graded | (confidence[:, place] < stage.threshold)
        unanswered, new = answers[~answers["is_answered"]], answers[answers["is_new"]]
        counts = {"asked": len(at), "failed": len(at) - len(unanswered) - int(is_graded.sum()), "unanswered": len(unanswered)}
        why = next(iter(unanswered["failure"]), None)
        stages.append(_row(stage.name, **counts, why=why, new=len(new), new_usd=float(new["cost_usd"].sum())))
    settled = settle(grades, confidence, [stage.threshold for _, stage in cascade] or [NEVER])
    names, versions = ([getattr(stage, part) for _, stage in cascade] for part in ("name", "version"))
    machine = asked.assign(
        grade=settled.grade,
        confidence=settled.confidence,
        settled_by=np.array([*names, *AFTER], dtype=object)[settled.stage],
        annotator_version=np.array([*versions, None, None], dtype=object)[settled.stage],
        cost_usd=cost_usd,
    )
    stages += [_row(name) for name in AFTER[::-1]]
    for row in stages[1:]:
        row["settled"] = int((machine["settled_by"] == row["stage"]).sum())
    rows = pd.concat([human, machine[settled.stage != NOBODY]])[[*PAIR_ID, *GRADE_COLUMNS[4:], "grade"]]
    rows = pairs[PAIR_ID].merge(rows, on=PAIR_ID).astype({"grade": "int64"})
    rows["label"] = rows["grade"].map(guideline.labels).astype("int64")
    return Graded(rows[GRADE_COLUMNS], stages)


def left_out(graded: Graded, names: Sequence[str], warnings: Sequence[str]) -> list[dict[str, Any]]:
    """Rows for the stages that the calibration left out: what no other was sure of is what they were not asked; `warnings` say why."""
    known = {row["stage"]: row["settled"] for row in graded.stages}
    unsure = known["vote"] + known["nobody"]
    whys = {name: next((each for each in warnings if each.startswith(name)), "it was left out") for name in names if name not in known}
    return [_row(name, unanswered=unsure, why=why if unsure else None) for name, why in whys.items()]


def _row(stage: str, **counts: Any) -> dict[str, Any]:
    return {"stage": stage, "asked": 0, "settled": 0, "failed": 0, "unanswered": 0, "why": None, "new": 0, "new_usd": 0.0, **counts}
