"""The champion gate: whether a checkpoint takes the champion's place (methods.md section 9).

One rule, read on *dev* queries, per candidate and paired with the champion:

    better     the mean difference over all queries is above 0, and
    no harm    on none of head, torso and tail is the difference below 0 with p < alpha (paired randomisation test).

Of the candidates that pass, the one with the greatest mean difference is promoted; equals go to the earlier in the
list. "Better" asks for no significance on purpose: few dev queries seldom give it, and the no-harm side is what
protects shoppers. A segment with fewer than two queries can't be tested: it is skipped, and the reason names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from whetstone.evaluation.significance import Difference, paired
from whetstone.evaluation.systems import SEGMENTS, check_per_query, values_of
from whetstone.platform.errors import WhetstoneError

FEWEST_QUERIES = 2
OVERALL = "all"


@dataclass(frozen=True)
class Decision:
    """What the gate decided and why.

    Attributes:
        promoted: whether the champion changed.
        champion: who is champion now.
        before: who was champion before.
        candidate: the promoted one; if none was, the one with the greatest mean difference; None without candidates.
        reason: sentences with the figures of every candidate.
        comparisons: rows of system, against, metric, segment ("all" or a segment), difference, low, high, p, queries.
    """

    promoted: bool
    champion: str
    before: str
    candidate: str | None
    reason: str
    comparisons: list[dict[str, object]]


def decide(
    per_query_dev: pd.DataFrame,
    candidates: Sequence[str],
    champion: str,
    *,
    metric: str = "ndcg@10",
    alpha: float = 0.05,
    seed: int = 0,
) -> Decision:
    """Choose the champion among its challengers and itself.

    Args:
        per_query_dev: system, query_id, split (dev alone), segment and `metric`, for the champion and every candidate.
        candidates: names of the challengers, earlier ones winning ties.
        champion: name of the champion they challenge.
        metric: what decides; greater is better.
        alpha: level of the no-harm test on a segment.
        seed: of intervals and sampled tests.

    Raises:
        WhetstoneError: rows of another split than dev, a candidate named twice or being the champion, a system without
            results.
    """
    others = sorted(set(per_query_dev["split"]) - {"dev"})
    if others:
        raise WhetstoneError(f"champion gate: results of the split {', '.join(others)}; the gate reads dev queries alone")
    if len({*candidates, champion}) != len(candidates) + 1:
        raise WhetstoneError(f"champion gate: {champion!r} against {list(candidates)}: name every system once")
    check_per_query(per_query_dev)
    trials = [_Trial(per_query_dev, candidate, champion, metric, alpha, seed) for candidate in candidates]
    if not trials:
        reason = f"{champion} stays the champion: no checkpoint challenged it."
        return Decision(False, champion, champion, None, reason, [])
    ranked = sorted(trials, key=lambda trial: -trial.gain)  # stable: equals keep the order of the list
    winner = next((trial for trial in ranked if trial.passes), None)
    if winner is None:
        head = f"{champion} stays the champion on the {metric} of the dev queries"
    else:
        head = f"{winner.candidate} becomes the champion in place of {champion} on the {metric} of the dev queries"
    told = ([winner] if winner else []) + [trial for trial in ranked if trial is not winner]
    return Decision(
        promoted=winner is not None,
        champion=winner.candidate if winner else champion,
        before=champion,
        candidate=(winner or ranked[0]).candidate,
        reason=f"{head}: {'; '.join(trial.sentence(winner) for trial in told)}.",
        comparisons=[row for trial in trials for row in trial.rows()],
    )


class _Trial:
    """One candidate against the champion: overall and on every segment."""

    def __init__(self, per_query: pd.DataFrame, candidate: str, champion: str, metric: str, alpha: float, seed: int) -> None:
        self.candidate, self.champion, self.metric, self.alpha = candidate, champion, metric, alpha
        own = per_query[per_query["system"].isin([candidate, champion])]
        self.means = [float(own.loc[own["system"] == name, metric].mean()) for name in (candidate, champion)]
        self.overall = paired(values_of(own, candidate, metric), values_of(own, champion, metric), seed)
        self.segments: dict[str, Difference] = {}
        self.skipped: list[str] = []
        for segment in SEGMENTS:
            rows = own[own["segment"] == segment]
            # Queries where the metric is undefined for either say nothing, so the pairs count, not the rows.
            pairs = rows.dropna(subset=[metric]).groupby("query_id")["system"].nunique().eq(2).sum()
            if pairs < FEWEST_QUERIES:
                self.skipped.append(segment)
                continue
            self.segments[segment] = paired(values_of(rows, candidate, metric), values_of(rows, champion, metric), seed)

    @property
    def gain(self) -> float:
        """Mean difference to sort by; a candidate that shares no scored query with the champion comes last."""
        return self.overall.difference if self.overall.count else -float("inf")

    @property
    def harmed(self) -> list[str]:
        return [name for name, each in self.segments.items() if each.difference < 0 and each.p < self.alpha]

    @property
    def passes(self) -> bool:
        return self.gain > 0 and not self.harmed

    def rows(self) -> list[dict[str, object]]:
        return [
            {
                **{"system": self.candidate, "against": self.champion, "metric": self.metric, "segment": segment},
                **{
                    "difference": each.difference,
                    "low": each.low,
                    "high": each.high,
                    "p": each.p,
                    "queries": each.count,
                },
            }
            for segment, each in {OVERALL: self.overall, **self.segments}.items()
        ]

    def sentence(self, winner: _Trial | None) -> str:
        if not self.overall.count:
            return f"{self.candidate} has no query on which both it and {self.champion} are scored"
        if self is winner:
            verdict = f"is better and not significantly worse (alpha {self.alpha:g}) on any segment tested"
        elif self.passes:
            verdict = "passes too, with a smaller gain"
        elif self.harmed:
            verdict = f"is significantly worse (alpha {self.alpha:g}) on {_and(self.harmed)}"
        else:
            verdict = "is not better"
        parts = [f"{name} {each.difference:+.4f}, p = {each.p:.4f}" for name, each in self.segments.items()]
        if self.skipped:
            parts.append(f"not tested for want of {FEWEST_QUERIES} scored queries: {_and(self.skipped)}")
        own, champions = self.means
        interval = f" [{self.overall.low:+.4f}, {self.overall.high:+.4f}]" if self.overall.count > 1 else ""
        return (
            f"{self.candidate} {verdict}: {own:.4f} against {champions:.4f}, {self.overall.difference:+.4f}{interval}, "
            f"p = {self.overall.p:.4f}, {self.overall.count} queries ({'; '.join(parts)})"
        )


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
