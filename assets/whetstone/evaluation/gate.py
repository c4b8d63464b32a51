"""The champion gate: whether a checkpoint takes the champion's place (methods.md section 9).

One rule, read on the NDCG@10 of *dev* queries, per candidate and paired with the champion:

    better     the mean difference over all queries is above 0, and
    no harm    on none of head, torso and tail is the difference below 0 with p < alpha (paired randomisation test).

Of the candidates that pass, the one with the greatest mean difference is promoted; equals go to the earlier in the list. "Better" asks
for no significance on purpose: few dev queries seldom give it, and the no-harm side is what protects shoppers. A segment with fewer
than two queries can't be tested: it is skipped, and the reason names it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from whetstone.evaluation.report import SEGMENTS
from whetstone.evaluation.significance import paired
from whetstone.platform.errors import WhetstoneError

METRIC = "ndcg@10"
FEWEST_QUERIES = 2
SEED = 0  # of intervals and sampled tests


@dataclass(frozen=True)
class Decision:
    """What the gate decided and why."""

    promoted: bool
    champion: str  # who is it now
    before: str
    reason: str  # sentences with the figures of every candidate


class _Trial(NamedTuple):
    candidate: str
    passes: bool
    gain: float
    sentence: str


def decide(per_query_dev: pd.DataFrame, candidates: Sequence[str], champion: str, *, alpha: float = 0.05) -> Decision:
    """Choose the champion among its challengers (earlier ones win ties) and itself.

    `per_query_dev` has system, query_id, split (WhetstoneError: any but dev), segment and ndcg@10; `alpha` is the no-harm test's level.
    """
    if others := sorted(set(per_query_dev["split"]) - {"dev"}):
        raise WhetstoneError(f"champion gate: results of the split {', '.join(others)}; the gate reads dev queries alone")
    stays = f"{champion} stays the champion"
    if not candidates:
        why = "no dev query has a human judgment, so nothing can be compared" if per_query_dev.empty else "no checkpoint challenged it"
        return Decision(False, champion, champion, f"{stays}: {why}.")
    scores = per_query_dev.pivot(index=["query_id", "segment"], columns="system", values=METRIC)
    trials = [_try(scores, candidate, champion, alpha) for candidate in candidates]
    trials.sort(key=lambda trial: (not trial.passes, -trial.gain))  # stable: equals keep the order of the list
    best = trials[0]
    head = f"{best.candidate} becomes the champion in place of {champion}" if best.passes else stays
    reason = f"{head} on the {METRIC} of the dev queries: {'; '.join(trial.sentence for trial in trials)}."
    return Decision(best.passes, best.candidate if best.passes else champion, champion, reason)


def _try(scores: pd.DataFrame, candidate: str, champion: str, alpha: float) -> _Trial:
    """One candidate against the champion: overall and on every segment; `scores` are (query_id, segment) x system."""
    both = scores[[candidate, champion]].dropna()  # where the metric is undefined for either, a query says nothing
    if both.empty:
        return _Trial(candidate, False, -float("inf"), f"{candidate} has no query on which both it and {champion} are scored")
    parts = {name: both[both.index.get_level_values("segment") == name] for name in SEGMENTS}
    overall = paired(both.to_numpy(), SEED)
    tested = {name: paired(part.to_numpy(), SEED) for name, part in parts.items() if len(part) >= FEWEST_QUERIES}
    harmed = [name for name, each in tested.items() if each.mean < 0 and each.p < alpha]
    passes = overall.mean > 0 and not harmed
    verdict = f"is better and not significantly worse (alpha {alpha:g}) on any segment tested" if passes else "is not better"
    if harmed:
        verdict = f"is significantly worse (alpha {alpha:g}) on {' and '.join(harmed)}"
    figures = [f"{name} {each.mean:+.4f}, p = {each.p:.4f}" for name, each in tested.items()]
    if skipped := [name for name in SEGMENTS if name not in tested]:
        figures.append(f"not tested for want of {FEWEST_QUERIES} scored queries: {' and '.join(skipped)}")
    means = f"{both[candidate].mean():.4f} against {both[champion].mean():.4f}, {overall.mean:+.4f}"
    interval = f" [{overall.low:+.4f}, {overall.high:+.4f}]" if overall.count > 1 else ""
    sentence = f"{candidate} {verdict}: {means}{interval}, p = {overall.p:.4f}, {overall.count} queries ({'; '.join(figures)})"
    return _Trial(candidate, passes, overall.mean, sentence)
