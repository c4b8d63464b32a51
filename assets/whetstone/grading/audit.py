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
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from whetstone.grading.annotator import PAIR_ID
from whetstone.grading.guideline import Guideline
from whetstone.grading.human import HUMAN

SAMPLE_SHARE = 0.3  # [B]
ALPHA = 0.01  # chance of as many (as few) clicks, were the grade right
LOOKS_CAP = 10  # of a pair in its label's typical rate: wrong grades are seen most, since the engine ranks by the truth
RESAMPLES = 1_000
ENGAGED, IGNORED = "engaged_irrelevant", "ignored_relevant"
CONFLICT_COLUMNS = [*PAIR_ID, "grade", "label", "settled_by", "kind", "exposure", "clicks", "rate"]


class Conflicts(NamedTuple):
    """Pairs to judge again, and how they were found.

    `rows`: `CONFLICT_COLUMNS`, the most seen first. `facts`: graded, sampled, sampled_with_engagement (pairs), relevant_rate and
    irrelevant_rate (typical clicks per look of the highest and the lowest label, None without engagement), and the reason why engagement
    tells nothing (None where it does).
    """

    rows: pd.DataFrame
    facts: dict[str, Any]


def in_sample(pairs: pd.DataFrame, seed: int, share: float = SAMPLE_SHARE) -> np.ndarray:
    """(n,) bool: which pairs (query, text) are audited; a matter of a pair's own texts, so the sample is stable when others come or go."""
    texts = zip(pairs["query"], pairs["text"], strict=True)
    # 'audit' keeps this draw independent of others that hash a pair and the same seed
    digests = b"".join(hashlib.sha256(json.dumps(["audit", query, text, seed]).encode()).digest()[:8] for query, text in texts)
    return np.asarray(np.frombuffer(digests, dtype=">u8").astype(float) / 2.0**64 < share)


def find_conflicts(graded: pd.DataFrame, rates: pd.DataFrame, guideline: Guideline) -> Conflicts:
    """Find the sampled pairs whose engagement contradicts their grade beyond chance.

    A label's typical rate is that of its pairs pooled, none with more than `LOOKS_CAP` looks. A pair of the lowest label conflicts if its
    rate is nearer to that of the highest label (at or past the midpoint of the two) and a Poisson variable with mean exposure *
    irrelevant_rate is as large as its clicks with probability < `ALPHA`; mirrored for the highest label. A pair that few shoppers looked
    at therefore never does.

    Args:
        graded: query_id, product_id, grade, settled_by, is_sampled (`in_sample`), each pair once. Pass all graded pairs: the typical
            rates come from them, conflicts from the sampled ones alone.
        rates: query_id, product_id, exposure, clicks, rate (`debiased`).
        guideline: Says which grades have the highest and the lowest label.

    Raises:
        WhetstoneError: A grade that the guideline doesn't have.
    """
    guideline.places(graded["grade"], "audit: graded pairs")
    top, bottom = max(guideline.labels.values()), min(guideline.labels.values())
    seen = graded.merge(rates, on=PAIR_ID, validate="one_to_one")
    label, clicks, exposure = seen["grade"].map(guideline.labels), seen["clicks"], seen["exposure"]
    relevant, irrelevant = (_typical_rate(seen[label == which]) for which in (top, bottom))
    reason = None
    kind = np.full(len(seen), None, dtype=object)
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
    facts = {
        "graded": len(graded),
        "sampled": int(graded["is_sampled"].sum()),
        "sampled_with_engagement": int(seen["is_sampled"].sum()),
        "relevant_rate": relevant,
        "irrelevant_rate": irrelevant,
        "reason": reason,
    }
    return Conflicts(rows, facts)


def supersede(conflicts: pd.DataFrame, rejudged: pd.DataFrame) -> pd.DataFrame:
    """Set the strongest annotator's answers beside the grades that they were asked about.

    Args:
        conflicts: n rows of `find_conflicts`.
        rejudged: query_id, product_id, grade (null where it failed), confidence (calibrated, 0..1); at most one row a pair, in any order.

    Returns:
        n rows in the order of `conflicts`: query_id, product_id, kind, old_grade, old_settled_by, new_grade (Int64, null where there is no
        answer), new_confidence, is_changed, supersedes (changed, and the old grade was not a human's), rate, exposure.
    """
    answers = rejudged[[*PAIR_ID, "grade", "confidence"]].rename(columns={"grade": "new_grade", "confidence": "new_confidence"})
    renamed = conflicts.rename(columns={"grade": "old_grade", "settled_by": "old_settled_by"})
    rows = renamed.merge(answers, on=PAIR_ID, how="left", validate="one_to_one").astype({"new_grade": "Int64", "new_confidence": "float64"})
    rows["is_changed"] = (rows["new_grade"] != rows["old_grade"]).fillna(False).astype(bool)
    rows["supersedes"] = rows["is_changed"] & (rows["old_settled_by"] != HUMAN)
    old, new = ["kind", "old_grade", "old_settled_by"], ["new_grade", "new_confidence", "is_changed", "supersedes"]
    return rows[[*PAIR_ID, *old, *new, "rate", "exposure"]]


def audit_summary(graded: pd.DataFrame, conflicts: Conflicts, audited: pd.DataFrame, seed: int) -> dict[str, Any]:
    """The audit in figures, JSON-ready; `graded` as for `find_conflicts`, `audited` as `supersede` gives it.

    Returns:
        The conflicts' facts; the counts conflicts, engaged_irrelevant, ignored_relevant, rejudged (answered), unanswered, changed,
        superseded, disputed (changed against a human); and as {mean, low, high, count} with a 95 % bootstrap over queries, None where
        count is 0: share_changed of the re-judged (human grades included, as in [B]); conflict_error_before and _after, the estimated
        share of wrong grades among the re-judged machine grades; sample_error_before and _after, the same errors per sampled machine
        grade. The module says what these leave out.
    """
    answered = audited[audited["new_grade"].notna()]
    machine = answered[answered["old_settled_by"] != HUMAN]
    confidence = machine["new_confidence"]
    errors = machine[PAIR_ID].assign(before=confidence.where(machine["is_changed"], 1 - confidence), after=1 - confidence)
    sampled = graded.loc[graded["is_sampled"] & (graded["settled_by"] != HUMAN), PAIR_ID]
    sampled = sampled.merge(errors, on=PAIR_ID, how="left").fillna({"before": 0.0, "after": 0.0})
    return {
        **conflicts.facts,
        "conflicts": len(audited),
        **{kind: int((audited["kind"] == kind).sum()) for kind in (ENGAGED, IGNORED)},
        "rejudged": len(answered),
        "unanswered": len(audited) - len(answered),
        "changed": int(audited["is_changed"].sum()),
        "superseded": int(audited["supersedes"].sum()),
        "disputed": int((audited["is_changed"] & ~audited["supersedes"]).sum()),
        "share_changed": _mean_over_queries(answered["query_id"], answered["is_changed"], seed),
        **{f"conflict_error_{when}": _mean_over_queries(errors["query_id"], errors[when], seed) for when in ("before", "after")},
        **{f"sample_error_{when}": _mean_over_queries(sampled["query_id"], sampled[when], seed) for when in ("before", "after")},
    }


def _typical_rate(seen: pd.DataFrame) -> float | None:
    return float(np.average(seen["rate"], weights=seen["exposure"].clip(upper=LOOKS_CAP))) if len(seen) else None


def _mean_over_queries(query_id: pd.Series, values: pd.Series, seed: int) -> dict[str, Any]:
    """Mean of the pairs' values; percentile interval from resampling whole queries, whose pairs are not independent."""
    sums = values.astype(float).groupby(query_id).agg(["sum", "count"]).to_numpy()  # (queries, 2)
    mean = float(sums[:, 0].sum() / sums[:, 1].sum()) if len(sums) else None
    bounds: list[float | None] = [None, None]
    if len(sums) > 1:  # one query has no spread: an interval of width 0 would claim certainty
        rng = np.random.default_rng(seed)
        samples = np.array([sums[rng.integers(len(sums), size=len(sums))].sum(axis=0) for _ in range(RESAMPLES)])
        bounds = np.quantile(samples[:, 0] / samples[:, 1], (0.025, 0.975)).tolist()
    return {"mean": mean, "low": bounds[0], "high": bounds[1], "count": len(values)}
