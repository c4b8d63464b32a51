"""The engagement audit of [B] (arXiv 2602.17654): where shoppers contradict a grade, the strongest annotator looks again.

Of a fixed share of the graded pairs, those are kept whose debiased engagement contradicts the grade: the lowest label although shoppers
click it like a relevant product, or the highest label although they pass it by. Engagement only picks them; it never becomes a label.

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

from whetstone.grading.annotator import PAIR_ID
from whetstone.grading.guideline import Guideline
from whetstone.grading.human import HUMAN

ALPHA = 0.01  # chance of as many (as few) clicks, were the grade right
LOOKS_CAP = 10  # of a pair in its label's typical rate: wrong grades are seen most, since the engine ranks by the truth
ENGAGED, IGNORED = "engaged_irrelevant", "ignored_relevant"
CONFLICT_COLUMNS = [*PAIR_ID, "grade", "label", "settled_by", "kind", "exposure", "clicks", "rate"]


def in_sample(pairs: pd.DataFrame, seed: int, share: float) -> np.ndarray:
    """(n,) bool: which pairs (query, text) are audited; a matter of a pair's own texts, so the sample is stable when others come or go."""
    texts = zip(pairs["query"], pairs["text"], strict=True)
    # 'audit' keeps this draw independent of others that hash a pair and the same seed
    digests = b"".join(hashlib.sha256(json.dumps(["audit", query, text, seed]).encode()).digest()[:8] for query, text in texts)
    return np.asarray(np.frombuffer(digests, dtype=">u8").astype(float) / 2.0**64 < share)


def find_conflicts(graded: pd.DataFrame, rates: pd.DataFrame, guideline: Guideline) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Find the sampled pairs whose engagement contradicts their grade beyond chance.

    A label's typical rate is that of its pairs pooled, none with more than `LOOKS_CAP` looks. A pair of the lowest label conflicts if its
    rate is nearer to that of the highest label (at or past the midpoint of the two) and a Poisson variable with mean exposure *
    irrelevant_rate is as large as its clicks with probability < `ALPHA`; mirrored for the highest label. A pair that few shoppers looked
    at therefore never does.

    `graded` are all graded pairs (query_id, product_id, grade, settled_by, is_sampled), each once: the typical rates come from them,
    conflicts from the sampled ones alone. `rates` are query_id, product_id, exposure, clicks, rate (`debiased`).

    Returns the pairs to judge again (`CONFLICT_COLUMNS`), the most seen first, and facts: graded, sampled, sampled_with_engagement (pairs),
    relevant_rate and irrelevant_rate (typical clicks per look of the highest and the lowest label, None without engagement), and the
    reason why engagement tells nothing (None where it does). WhetstoneError: a grade that the guideline doesn't have.
    """
    guideline.places(graded["grade"], "audit: graded pairs")
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
    rows = seen.assign(label=label, kind=kind)[pd.notna(kind) & seen["is_sampled"]][CONFLICT_COLUMNS]
    rows = rows.sort_values(["exposure", *PAIR_ID], ascending=[False, True, True], ignore_index=True)
    counts = {"graded": len(graded), "sampled": int(graded["is_sampled"].sum()), "sampled_with_engagement": int(seen["is_sampled"].sum())}
    return rows, {**counts, "relevant_rate": relevant, "irrelevant_rate": irrelevant, "reason": reason}


def supersede(conflicts: pd.DataFrame, rejudged: pd.DataFrame) -> pd.DataFrame:
    """Set the strongest annotator's answers beside the grades that they were asked about.

    `conflicts` are n rows of `find_conflicts`; `rejudged` has query_id, product_id, grade (null where it failed), confidence (calibrated,
    0..1), at most one row a pair, in any order.

    Returns n rows in the order of `conflicts`: query_id, product_id, kind, old_grade, old_settled_by, new_grade (Int64, null where there is
    no answer), new_confidence, is_changed, supersedes (changed, and the old grade was not a human's), rate, exposure.
    """
    answers = rejudged[[*PAIR_ID, "grade", "confidence"]].rename(columns={"grade": "new_grade", "confidence": "new_confidence"})
    renamed = conflicts.rename(columns={"grade": "old_grade", "settled_by": "old_settled_by"})
    rows = renamed.merge(answers, on=PAIR_ID, how="left", validate="one_to_one").astype({"new_grade": "Int64", "new_confidence": "float64"})
    rows["is_changed"] = (rows["new_grade"] != rows["old_grade"]).fillna(False).astype(bool)
    rows["supersedes"] = rows["is_changed"] & (rows["old_settled_by"] != HUMAN)
    old, new = ["kind", "old_grade", "old_settled_by"], ["new_grade", "new_confidence", "is_changed", "supersedes"]
    return rows[[*PAIR_ID, *old, *new, "rate", "exposure"]]


def audit_summary(graded: pd.DataFrame, audited: pd.DataFrame) -> dict[str, Any]:
    """The audit in figures; `graded` as for `find_conflicts`, `audited` as `supersede` gives it.

    Returns the counts conflicts, engaged_irrelevant, ignored_relevant, rejudged (answered), unanswered, changed, superseded, disputed
    (changed against a human), sampled_machine (grades of machines in the sample); and of these the estimated share that is wrong,
    sample_error_before and _after (None without any). The module says what it leaves out.
    """
    is_answered = audited["new_grade"].notna()
    machine = audited[is_answered & (audited["old_settled_by"] != HUMAN)]
    sampled_machine = int((graded["is_sampled"] & (graded["settled_by"] != HUMAN)).sum())
    after = 1 - machine["new_confidence"]
    before = after.mask(machine["is_changed"], machine["new_confidence"])
    return {
        "conflicts": len(audited),
        **{kind: int((audited["kind"] == kind).sum()) for kind in (ENGAGED, IGNORED)},
        "rejudged": int(is_answered.sum()),
        "unanswered": int((~is_answered).sum()),
        "changed": int(audited["is_changed"].sum()),
        "superseded": int(audited["supersedes"].sum()),
        "disputed": int((audited["is_changed"] & ~audited["supersedes"]).sum()),
        "sampled_machine": sampled_machine,
        "sample_error_before": float(before.sum()) / sampled_machine if sampled_machine else None,
        "sample_error_after": float(after.sum()) / sampled_machine if sampled_machine else None,
    }


def _typical_rate(seen: pd.DataFrame) -> float | None:
    return float(np.average(seen["rate"], weights=seen["exposure"].clip(upper=LOOKS_CAP))) if len(seen) else None
