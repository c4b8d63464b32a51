"""One category's audit from end to end: find the conflicts, have the strongest stage judge them again, write down what supersedes.

A correction is a row of the ledger of its own (annotator 'audit', version = the judge's name and version); the old rows stay.
"""

from typing import Any, NamedTuple

import pandas as pd

from whetstone.grading.annotator import PAIR_ID, Annotator
from whetstone.grading.audit import audit_summary, find_conflicts, in_sample, supersede
from whetstone.grading.calibrate import Stage
from whetstone.grading.calibration import NO_ANSWER
from whetstone.grading.engagement import debiased, examination_exponent
from whetstone.grading.guideline import Guideline
from whetstone.grading.ledger import Entry, Ledger, booked, grade_through, ledger_keys


class Corrector(NamedTuple):
    """In whose name a correction stands in the ledger; its version says whose grade it is."""

    name: str
    version: str


def audit_category(
    graded: pd.DataFrame,
    engagement: pd.DataFrame,
    log: pd.DataFrame,
    human: pd.DataFrame,
    judge: tuple[Annotator, Stage] | None,
    ledger: Ledger,
    guideline: Guideline,
    entry: Entry,
    share: float,
    seed: int,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Audit the grades of a category.

    `graded` are its graded pairs (query_id, product_id, category, query, text, grade, label, settled_by), `engagement` is its engagement.
    `log` is the engagement of judged pairs of the whole shop, which examination by rank is estimated from, with the `human` judgments of
    train and dev queries as a control for relevance. `judge` is the strongest stage, if there is any; its answers and the corrections
    are kept in the `ledger`, new ones booked on `entry`. `share` of the graded pairs is sampled, by `seed`.

    Returns the re-judged conflicts (`audit.supersede`, with `new_label`), and facts in plain values: those of `find_conflicts` and
    `audit_summary`, examination_exponent, why_unanswered.
    """
    eta = examination_exponent(log, human)
    graded = graded.assign(is_sampled=in_sample(graded, seed, share))
    conflicts, facts = find_conflicts(graded, debiased(engagement, eta), guideline)
    pairs = conflicts[PAIR_ID].merge(graded[[*PAIR_ID, "query", "text", "category"]], on=PAIR_ID)
    if judge and len(pairs):
        annotator, stage = judge
        answers = grade_through(ledger, annotator, pairs, guideline, entry)
        grades = answers["grade"].fillna(NO_ANSWER).to_numpy(dtype=int)
        answers["confidence"] = stage.calibration.apply(grades, answers["confidence"].to_numpy())
    else:
        answers = pd.DataFrame(columns=[*PAIR_ID, "grade", "confidence"], dtype=object)
    audited = supersede(conflicts, answers)
    audited["new_label"] = audited["new_grade"].map(guideline.labels).astype("Int64")
    corrected = audited[audited["supersedes"]]
    if judge and len(corrected):
        asked = corrected[PAIR_ID].merge(pairs, on=PAIR_ID)
        corrector = Corrector("audit", f"{judge[0].name} {judge[0].version}")
        asked = asked.join(ledger_keys(asked, corrector, guideline))
        ledger.append(booked(asked, answers.assign(cost_usd=0.0, tokens_in=0, tokens_out=0), entry))  # its price is booked already
    unanswered = answers["failure"].dropna().tolist() if "failure" in answers else []
    facts |= {**audit_summary(graded, audited), "examination_exponent": eta, "why_unanswered": unanswered[0] if unanswered else None}
    return audited, facts
