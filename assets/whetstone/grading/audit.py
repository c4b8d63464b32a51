"""The engagement audit of [B] (arXiv 2602.17654): where shoppers contradict a grade, the strongest annotator looks again.

Of a fixed share of the graded pairs, those are kept whose debiased engagement contradicts the grade: the lowest label although shoppers
click it like a relevant product, or the highest label although they pass it by. Engagement never becomes a label. Which answer in the
ledger supersedes which is said here alone.

What is estimated: p, the strongest annotator's calibrated confidence, is P(its grade is the one that a human would give). A machine's
grade that it contradicts is thus wrong with probability p at least, one that it confirms with 1 - p; the grade that stands afterwards
is wrong with 1 - p. What is not: pairs outside the conflicts, and unanswered ones, count as right, so the sample's error is what
engagement could reveal and no error rate of the grades; p was calibrated on pairs at large, and conflicts are harder. Human grades stay
out of the error (p is measured against them): a contradicted one is reported as disputed, and stands.
"""

import hashlib
import json
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from whetstone.grading.annotator import PAIR_ID, Annotator
from whetstone.grading.calibration import NO_ANSWER, Stage
from whetstone.grading.grade import HUMAN
from whetstone.grading.guideline import Guideline
from whetstone.grading.ledger import Entry, Ledger, grade_through

ALPHA = 0.01  # chance of as many (as few) clicks, were the grade right
LOOKS_CAP = 10  # of a pair in its label's typical rate: wrong grades are seen most, since the engine ranks by the truth
ENGAGED, IGNORED = "engaged_irrelevant", "ignored_relevant"
_OLD, _NEW = ["kind", "old_grade", "old_settled_by"], ["new_grade", "new_confidence", "is_changed", "supersedes"]


def audit_category(
    graded: pd.DataFrame, rates: pd.DataFrame, judge: tuple[Annotator, Stage] | None, ledger: Ledger, guideline: Guideline, entry: Entry
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Audit the grades of a category: `graded` (with category, query, text, settled_by) and `rates` as for `find_conflicts`.

    Returns a row for each conflict: `PAIR_ID`, kind, old_grade, old_settled_by, new_grade (Int64, null without an answer), new_confidence,
    is_changed, supersedes (changed, and the old grade was not a human's), rate, exposure, new_label; and facts in plain values: counts
    (disputed: changed against a human), the estimated shares of sampled_machine that are wrong, and whys.
    """
    is_sampled, (conflicts, reason) = graded["is_sampled"], find_conflicts(graded, rates, guideline)
    audited = conflicts.rename(columns={"grade": "old_grade", "settled_by": "old_settled_by"})
    answers = conflicts.assign(grade=None, confidence=np.nan, failure=None)
    if judge:
        answers = grade_through(ledger, judge[0], conflicts, guideline, entry)
        grades = answers["grade"].fillna(NO_ANSWER).to_numpy(dtype=int)
        answers["confidence"] = judge[1].calibration.apply(grades, answers["confidence"].to_numpy())
    audited["new_grade"], audited["new_confidence"] = answers["grade"].astype("Int64"), answers["confidence"].astype(float)
    audited["is_changed"] = (audited["new_grade"] != audited["old_grade"]).fillna(False).astype(bool)
    audited["supersedes"] = audited["is_changed"] & (audited["old_settled_by"] != HUMAN)
    machine = audited[audited["new_grade"].notna() & (audited["old_settled_by"] != HUMAN)]
    sampled_machine = int((is_sampled & (graded["settled_by"] != HUMAN)).sum())
    after = 1 - machine["new_confidence"]
    before = after.mask(machine["is_changed"], machine["new_confidence"])
    facts = {
        "graded": len(graded),
        "sampled": int(is_sampled.sum()),
        "sampled_machine": sampled_machine,
        "conflicts": len(audited),
        "rejudged": int(audited["new_grade"].notna().sum()),
        "changed": int(audited["is_changed"].sum()),
        "superseded": int(audited["supersedes"].sum()),
        "disputed": int((audited["is_changed"] & ~audited["supersedes"]).sum()),
        "sample_error_before": float(before.sum()) / sampled_machine if sampled_machine else None,
        "sample_error_after": float(after.sum()) / sampled_machine if sampled_machine else None,
        "reason": reason,
        "why_unanswered": next(iter(answers["failure"].dropna()), None),
    }
    audited["new_label"] = audited["new_grade"].map(guideline.labels).astype("Int64")
    return audited[[*PAIR_ID, *_OLD, *_NEW, "rate", "exposure", "new_label"]], facts


def in_sample(pairs: pd.DataFrame, seed: int, share: float) -> np.ndarray:
    """(n,) bool: which pairs (query, text) are audited; a matter of a pair's own texts, so the sample is stable when others come or go."""
    texts = zip(pairs["query"], pairs["text"], strict=True)
    # 'audit' keeps this draw independent of others that hash a pair and the same seed
    digests = b"".join(hashlib.sha256(json.dumps(["audit", query, text, seed]).encode()).digest()[:8] for query, text in texts)
    return np.asarray(np.frombuffer(digests, dtype=">u8").astype(float) / 2.0**64 < share)


def find_conflicts(graded: pd.DataFrame, rates: pd.DataFrame, guideline: Guideline) -> tuple[pd.DataFrame, str | None]:
    """Find the sampled pairs whose engagement contradicts their grade beyond chance.

    A label's typical rate is that of its pairs pooled, none with more than `LOOKS_CAP` looks. A pair of the lowest label conflicts if its
    rate is nearer to that of the highest label (at or past the midpoint of the two) and a Poisson variable with mean exposure *
    irrelevant_rate is as large as its clicks with probability < `ALPHA` (so never where few looked); mirrored for the highest label.

    `graded` are all graded pairs (query_id, product_id, grade, is_sampled, others), each once: the typical rates come from them, conflicts
    from the sampled ones alone. `rates` are `debiased`'s.

    Returns the pairs to judge again (`graded` with label, kind and the rates), most seen first, and perhaps why engagement tells nothing.
    """
    top, bottom = max(guideline.labels.values()), min(guideline.labels.values())
    seen = graded.merge(rates, on=PAIR_ID, validate="one_to_one")
    label, clicks, exposure = seen["grade"].map(guideline.labels), seen["clicks"], seen["exposure"]
    relevant, irrelevant = (_typical_rate(seen[label == which]) for which in (top, bottom))
    reason, kind = None, np.full(len(seen), None, dtype=object)
    if relevant is None or irrelevant is None:
        reason = f"no engagement that can be freed of position with pairs of both label {top} and label {bottom}"
    elif relevant <= irrelevant:
        reason = f"shoppers click label {top} no more than label {bottom} ({relevant:.3g} and {irrelevant:.3g} clicks per look)"
    else:
        midpoint = (relevant + irrelevant) / 2
        is_engaged = (seen["rate"] >= midpoint) & (stats.poisson.sf(clicks - 1, exposure * irrelevant) < ALPHA)  # P(as many or more)
        is_ignored = (seen["rate"] <= midpoint) & (stats.poisson.cdf(clicks, exposure * relevant) < ALPHA)
        kind[(label == bottom) & is_engaged] = ENGAGED
        kind[(label == top) & is_ignored] = IGNORED
    rows = seen.assign(label=label, kind=kind)[pd.notna(kind) & seen["is_sampled"]]
    return rows.sort_values(["exposure", *PAIR_ID], ascending=[False, True, True], ignore_index=True), reason


def _typical_rate(seen: pd.DataFrame) -> float | None:
    return float(np.average(seen["rate"], weights=seen["exposure"].clip(upper=LOOKS_CAP))) if len(seen) else None
