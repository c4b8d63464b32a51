"""The champion gate: whether a checkpoint takes the champion's place (methods.md section 9).

One rule, read on the NDCG@10 of *dev* queries, per candidate and paired with the champion:

    better     the mean difference over all queries is above 0, and
    no harm    on none of head, torso and tail is the difference below 0 with p < alpha (paired randomisation test).

Of the candidates that pass, the one with the greatest mean difference is promoted; equals go to the earlier in the list. "Better" asks
for no significance on purpose: few dev queries seldom give it, and the no-harm side is what protects shoppers. A segment with fewer
than two queries can't be tested: it is skipped, and the reason names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from whetstone.evaluation.significance import paired
from whetstone.evaluation.systems import SEGMENTS, check_per_query, values_of
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
    candidate: str | None  # the promoted one; if none was, the one with the greatest mean difference; None without candidates
    reason: str  # sentences with the figures of every candidate
    comparisons: list[dict[str, object]]  # system, against, metric, segment ("all" or one), difference, low, high, p, queries


def decide(per_query_dev: pd.DataFrame, candidates: Sequence[str], champion: str, *, alpha: float = 0.05) -> Decision:
    """Choose the champion among its challengers (earlier ones win ties) and itself.

    `per_query_dev` has system, query_id, split (dev alone), segment and ndcg@10 of the champion and every candidate; `alpha` is the level
    of the no-harm test on a segment.
    WhetstoneError: rows of another split than dev, a candidate named twice or being the champion, a system without results.
    """
    if others := sorted(set(per_query_dev["split"]) - {"dev"}):
        raise WhetstoneError(f"champion gate: results of the split {', '.join(others)}; the gate reads dev queries alone")
    if len({*candidates, champion}) != len(candidates) + 1:
        raise WhetstoneError(f"champion gate: {champion!r} against {list(candidates)}: name every system once")
    check_per_query(per_query_dev)
    if not candidates:
        return Decision(False, champion, champion, None, f"{champion} stays the champion: no checkpoint challenged it.", [])
    trials = [_Trial(per_query_dev, candidate, champion, alpha) for candidate in candidates]
    best, *rest = sorted(trials, key=lambda trial: (not trial.passes, -trial.gain))  # stable: equals keep the order of the list
    head = f"{best.candidate} becomes the champion in place of {champion}" if best.passes else f"{champion} stays the champion"
    sentences = [best.sentence(is_best=True), *(trial.sentence(is_best=False) for trial in rest)]
    return Decision(
        promoted=best.passes,
        champion=best.candidate if best.passes else champion,
        before=champion,
        candidate=best.candidate,
        reason=f"{head} on the {METRIC} of the dev queries: {'; '.join(sentences)}.",
        comparisons=[row for trial in trials for row in trial.rows()],
    )


def undecided(champion: str) -> Decision:
    """The decision where no dev query has a human judgment: nothing changes."""
    reason = f"{champion} stays the champion: no dev query has a human judgment, so nothing can be compared."
    return Decision(False, champion, champion, None, reason, [])


class _Trial:
    """One candidate against the champion: overall and on every segment."""

    def __init__(self, per_query: pd.DataFrame, candidate: str, champion: str, alpha: float) -> None:
        self.candidate, self.champion, self.alpha = candidate, champion, alpha
        values = {"new": values_of(per_query, candidate, METRIC), "old": values_of(per_query, champion, METRIC)}
        segment = per_query[per_query["system"] == candidate].sort_values("query_id")["segment"]
        # Queries where the metric is undefined for either say nothing, so the pairs count, not the rows.
        pairs = pd.DataFrame({**values, "segment": segment.to_numpy()}).dropna()
        parts = {"all": pairs, **{name: pairs[pairs["segment"] == name] for name in SEGMENTS}}
        self.skipped = [name for name in SEGMENTS if len(parts[name]) < FEWEST_QUERIES]
        self.means = pairs[["new", "old"]].mean()
        self.parts = {
            name: paired(part["new"].to_numpy(), part["old"].to_numpy(), SEED) for name, part in parts.items() if name not in self.skipped
        }
        self.overall = self.parts["all"]
        self.segments = {name: each for name, each in self.parts.items() if name != "all"}
        self.gain = self.overall.mean if self.overall.count else -float("inf")  # without a shared query: last
        self.harmed = [name for name, each in self.segments.items() if each.mean < 0 and each.p < alpha]
        self.passes = self.gain > 0 and not self.harmed

    def rows(self) -> list[dict[str, object]]:
        names = {"system": self.candidate, "against": self.champion, "metric": METRIC}
        return [{**names, "segment": segment, **each.figures, "queries": each.count} for segment, each in self.parts.items()]

    def sentence(self, is_best: bool) -> str:
        if not self.overall.count:
            return f"{self.candidate} has no query on which both it and {self.champion} are scored"
        if self.passes and is_best:
            verdict = f"is better and not significantly worse (alpha {self.alpha:g}) on any segment tested"
        elif self.passes:
            verdict = "passes too, with no greater gain"
        elif self.harmed:
            verdict = f"is significantly worse (alpha {self.alpha:g}) on {_and(self.harmed)}"
        else:
            verdict = "is not better"
        parts = [f"{name} {each.mean:+.4f}, p = {each.p:.4f}" for name, each in self.segments.items()]
        if self.skipped:
            parts.append(f"not tested for want of {FEWEST_QUERIES} scored queries: {_and(self.skipped)}")
        interval = f" [{self.overall.low:+.4f}, {self.overall.high:+.4f}]" if self.overall.count > 1 else ""
        return (
            f"{self.candidate} {verdict}: {self.means['new']:.4f} against {self.means['old']:.4f}, "
            f"{self.overall.mean:+.4f}{interval}, p = {self.overall.p:.4f}, {self.overall.count} queries ({'; '.join(parts)})"
        )


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
