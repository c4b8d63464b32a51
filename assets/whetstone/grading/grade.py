"""Settle pairs: a human judgment where there is one, otherwise the cascade through the ledger."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from whetstone.grading.annotator import PAIR_ID, Annotator, check_pairs
from whetstone.grading.calibrate import VOTE_NAME, Stage
from whetstone.grading.calibration import NO_ANSWER
from whetstone.grading.cascade import NOBODY, VOTE, run_cascade
from whetstone.grading.guideline import Guideline
from whetstone.grading.human import split_judged
from whetstone.grading.ledger import Entry, Ledger, grade_through

GRADE_COLUMNS = [*PAIR_ID, "grade", "label", "confidence", "settled_by", "annotator_version", "cost_usd"]


class Graded(NamedTuple):
    """Graded pairs, and what became of all that were asked for.

    `stages` has a row for each stage, asked or not, human first: stage, asked, settled, failed (answered without a grade), unanswered, why,
    new (answers that this call asked for), new_usd. The last two are `vote` and `nobody` (pairs that go without a grade).
    """

    rows: pd.DataFrame
    stages: list[dict[str, Any]]


def grade_pairs(
    pairs: pd.DataFrame,
    judgments: pd.DataFrame,
    cascade: Sequence[tuple[Annotator, Stage]],
    ledger: Ledger,
    guideline: Guideline,
    entry: Entry,
) -> Graded:
    """Grade n pairs (`PAIR_COLUMNS` and category, each once, the most worthwhile first).

    `judgments` (query_id, product_id, grade, source) may hold other pairs; `cascade` are the stages in order, each with its calibration;
    answers are kept in the `ledger`, new ones booked on `entry`.

    Returns at most n rows with `GRADE_COLUMNS` in the order of `pairs`, and counts. `confidence` is calibrated, 1 for a human; `settled_by`
    is human, a stage or vote; `cost_usd` is what all answers to the pair cost when they were bought. WhetstoneError: bad pairs, judgments
    or answers, or an annotator that gives no answer at all for now.
    """
    check_pairs(pairs)
    ledger.create()  # even if nobody is asked: the report reads it
    human, asked = split_judged(pairs, judgments, guideline)
    stages = [_row("human", len(human), len(human)), *(_row(stage.name, 0, 0) for _, stage in cascade)]
    cost_usd = np.zeros(len(asked))

    def ask(number: int, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        answers = grade_through(ledger, cascade[number][0], asked.iloc[positions], guideline, entry)
        cost_usd[positions] += answers["cost_usd"].to_numpy()
        unanswered = ~answers["is_answered"]
        stages[number + 1] |= {
            "asked": len(answers),
            "failed": int((answers["grade"].isna() & answers["is_answered"]).sum()),
            "unanswered": int(unanswered.sum()),
            "why": answers.loc[unanswered, "failure"].iloc[0] if unanswered.any() else None,
            "new": int(answers["is_new"].sum()),
            "new_usd": float(answers.loc[answers["is_new"], "cost_usd"].sum()),
        }
        return answers["grade"].fillna(NO_ANSWER).to_numpy(dtype=int), answers["confidence"].to_numpy()

    names = [stage.name for _, stage in cascade]
    grade, confidence, by = np.full(len(asked), NO_ANSWER), np.zeros(len(asked)), np.full(len(asked), NOBODY)
    if cascade:
        limits = [stage.threshold for _, stage in cascade]
        (grade, confidence, by), *_ = run_cascade(names, ask, [stage.calibration for _, stage in cascade], limits, len(asked))
    who = np.array([*names, "nobody", VOTE_NAME], dtype=object)[by]  # NOBODY is -2, VOTE is -1
    version = np.array([*(stage.version for _, stage in cascade), None, None], dtype=object)[by]
    machine = asked[PAIR_ID].assign(grade=grade, confidence=confidence, settled_by=who, annotator_version=version, cost_usd=cost_usd)
    for row in stages[1:]:
        row["settled"] = int((who == row["stage"]).sum())
    stages += [_row(name, 0, int((by == code).sum())) for name, code in ((VOTE_NAME, VOTE), ("nobody", NOBODY))]
    graded = pd.concat([human.rename(columns={"annotator": "settled_by"}), machine[by != NOBODY]])
    rows = pairs[PAIR_ID].merge(graded, on=PAIR_ID, validate="one_to_one").astype({"grade": "int64"})
    rows["label"] = rows["grade"].map(guideline.labels).astype("int64")
    return Graded(rows[GRADE_COLUMNS], stages)


def left_out(graded: Graded, names: Sequence[str], warnings: Sequence[str]) -> list[dict[str, Any]]:
    """Rows for the stages that the calibration left out: what no other was sure of is what they were not asked; `warnings` say why."""
    known = {row["stage"]: row["settled"] for row in graded.stages}
    unsure = known[VOTE_NAME] + known["nobody"]
    whys = {name: next((each for each in warnings if each.startswith(name)), "it was left out") for name in names if name not in known}
    return [{**_row(name, 0, 0), "unanswered": unsure, "why": why if unsure else None} for name, why in whys.items()]


def _row(stage: str, asked: int, settled: int) -> dict[str, Any]:
    return {"stage": stage, "asked": asked, "settled": settled, "failed": 0, "unanswered": 0, "why": None, "new": 0, "new_usd": 0.0}
