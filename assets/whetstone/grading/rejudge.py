"""One category's audit from end to end: find the conflicts, have the strongest stage judge them again, write down what supersedes.

A correction is a row of the ledger of its own (annotator 'audit', version = the judge's name and version); the old rows stay.
"""

from __future__ import annotations

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

    Args:
        graded: its graded pairs: query_id, product_id, category, query, text, grade, label, settled_by.
        engagement: its engagement.
        log: the engagement of judged pairs of the whole shop, which examination by rank is estimated from...
        human: ...with these human judgments of train and dev queries as a control for relevance.
        judge: the strongest stage, or None where there is none.
        ledger: where its answers are kept and corrections are written.
        guideline: what grades mean.
        entry: on whose account new answers are booked.
        share: of the graded pairs that is sampled.
        seed: of the sample and of the bootstrap.

    Returns:
        The re-judged conflicts (`audit.supersede`, with `new_label`), and facts in plain values: those of `audit.audit_summary`,
        eta, and sampled_machine, how many grades the sample's errors are of.
    """
    eta = examination_exponent(log, human)
    graded = graded.assign(is_sampled=in_sample(graded, seed, share))
    conflicts = find_conflicts(graded, debiased(engagement, eta), guideline)
    pairs = conflicts.rows[PAIR_ID].merge(graded[[*PAIR_ID, "query", "text", "category"]], on=PAIR_ID)
    if judge and len(pairs):
        annotator, stage = judge
        answers = grade_through(ledger, annotator, pairs, guideline, entry)
        grades = answers["grade"].fillna(NO_ANSWER).to_numpy(dtype=int)
        answers["confidence"] = stage.calibration.apply(grades, answers["confidence"].to_numpy())
    else:
        answers = pd.DataFrame(columns=[*PAIR_ID, "grade", "confidence"], dtype=object)
    audited = supersede(conflicts.rows, answers)
    audited["new_label"] = audited["new_grade"].map(guideline.labels).astype("Int64")
    corrected = audited[audited["supersedes"]]
    if judge and len(corrected):
        asked = corrected[PAIR_ID].merge(pairs, on=PAIR_ID)
        corrector = Corrector("audit", f"{judge[0].name} {judge[0].version}")
        asked = asked.join(ledger_keys(asked, corrector, guideline))
        ledger.append(booked(asked, answers.assign(cost_usd=0.0, tokens_in=0, tokens_out=0), entry))  # its price is booked already
    summary = audit_summary(graded, conflicts, audited, seed)
    unanswered = answers["failure"].dropna() if "failure" in answers else pd.Series(dtype=object)
    return audited, {
        **{name: value["mean"] if isinstance(value, dict) else value for name, value in summary.items()},
        "sampled_machine": summary["sample_error_before"]["count"],
        "examination_exponent": eta,
        "why_unanswered": unanswered.iloc[0] if len(unanswered) else None,
    }
