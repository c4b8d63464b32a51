"""The cascade: stages from cheap to dear, each settles the pairs it is sure of ([A2] arXiv 2606.25871).

A stage settles a pair if it answered and its calibrated confidence reaches the stage's threshold; else the next stage is asked. Where
no stage is sure, the majority of the answers decides, ties to the *higher* grade. Shapes throughout: n pairs, s stages in order;
`grades` (n, s) int with NO_ANSWER where a stage gave none, `confidence` (n, s) calibrated, 0..1.

Thresholds are the paper's, or chosen on held-out human labels for a target agreement or cost. All combinations of a coarse grid (every
twentieth of a stage's confidences at most, "always" and "never") are measured: too coarse to learn the labels by heart. The agreement of
the choice is still that of the best of many, so a report measures it on other queries.
"""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from whetstone.grading.calibration import NO_ANSWER

VOTE = -1  # as `stage`: no stage was sure, the majority decided
NOBODY = -2  # as `stage`: no stage answered
AFTER = ("nobody", "vote")  # their names; behind those of the stages, these codes index them

ALWAYS, NEVER = 0.0, 2.0  # thresholds that every answer reaches, or none
PAPER_THRESHOLDS = (0.85, 0.80, 0.75)  # [A2]; further stages as the last
MOST_QUANTILES, MOST_COMBINATIONS = 20, 5_000
ROUNDING = 1e-9  # of a share that is computed


class Settled(NamedTuple):
    """What became of n pairs: grade (n,), confidence (n,) of that grade, stage (n,) that settled it, or VOTE, or NOBODY.

    A vote's confidence is the greatest among the answers for the winner; with NOBODY the grade is NO_ANSWER and the confidence 0.
    """

    grade: np.ndarray
    confidence: np.ndarray
    stage: np.ndarray

    def asked(self, stages: int) -> np.ndarray:
        """(n, s) whether a pair was put to a stage: none before it was sure. The cost of a cascade follows from it."""
        return np.asarray((np.arange(stages) <= self.stage[:, None]) | (self.stage[:, None] < 0))

    def told(self, grades: np.ndarray, confidence: np.ndarray) -> np.ndarray:
        """(n,) of any (n, s) confidence that of the grade: of the stage that settled it, or the greatest of its voters."""
        is_settler = (np.arange(grades.shape[1]) == self.stage[:, None]) | (self.stage[:, None] < 0)
        return np.asarray(np.where(is_settler & (grades == self.grade[:, None]), confidence, 0.0).max(axis=1))


class Choice(NamedTuple):
    """Thresholds (s,) and what they give on the held-out pairs; where none reach the target (not `is_met`), those that come nearest."""

    thresholds: tuple[float, ...]
    agreement: float  # 0..1
    cost_usd: float  # a pair
    is_met: bool = True


def settle(grades: np.ndarray, confidence: np.ndarray, thresholds: npt.ArrayLike) -> Settled:
    """Settle pairs from all the answers at hand, (n, s) each; `thresholds` (s,) or (n, s)."""
    is_sure = (grades != NO_ANSWER) & (confidence >= np.asarray(thresholds))
    winner = vote(grades)
    stage = np.where(is_sure.any(axis=1), is_sure.argmax(axis=1), np.where(winner == NO_ANSWER, NOBODY, VOTE))
    grade = np.where(stage >= 0, grades[np.arange(len(stage)), np.maximum(stage, 0)], winner)
    settled = Settled(grade, np.zeros(len(grade)), stage)
    return settled._replace(confidence=settled.told(np.where(grades == NO_ANSWER, -2, grades), confidence))


def vote(grades: np.ndarray) -> np.ndarray:
    """(n,) the most frequent grade of (n, s) answers, ties to the higher; NO_ANSWER where there is none."""
    votes = (grades[:, :, None] == grades[:, None, :]).sum(axis=2)  # (n, s): how many gave the same grade
    votes = np.where(grades == NO_ANSWER, 0, votes)
    return np.asarray(np.where(votes == votes.max(axis=1, keepdims=True), grades, NO_ANSWER).max(axis=1))


def paper_thresholds(stages: int) -> tuple[float, ...]:
    """Those of [A2]; stages beyond its three have the last one's."""
    return tuple(PAPER_THRESHOLDS[min(stage, len(PAPER_THRESHOLDS) - 1)] for stage in range(stages))


def choose_thresholds(grades: np.ndarray, confidence: np.ndarray, truth: np.ndarray, costs: Sequence[float], target: str) -> Choice:
    """Choose thresholds on n held-out pairs with human grades `truth` (n,); `costs` (s,) are a stage's mean dollars a pair.

    `target` is 'paper', or 'agreement:0.92', the cheapest combination that agrees that often, or 'cost:0.5', the one that agrees best of
    those that cost at most this share of the dearest stage for all. Of equals the cheaper, then the one that agrees better, then the lower
    thresholds from the first stage on. Confidence should be cross-fitted.
    """
    prices, stages = np.asarray(costs, dtype=float), grades.shape[1]

    def measured(thresholds: tuple[float, ...]) -> Choice:
        settled = settle(grades, confidence, thresholds)
        return Choice(thresholds, float((settled.grade == truth).mean()), round(float(settled.asked(stages).mean(axis=0) @ prices), 12))

    kind, _, value = target.partition(":")
    if kind == "paper":
        return measured(paper_thresholds(stages))
    is_cost, goal = kind == "cost", float(value)
    count = min(MOST_QUANTILES, int(MOST_COMBINATIONS ** (1 / stages)) - 2)  # and always, and never
    told = [confidence[grades[:, i] != NO_ANSWER, i] for i in range(stages)]
    quantiles = [np.quantile(each, np.arange(count) / count, method="inverted_cdf") if len(each) else [] for each in told]
    tried = [measured(each) for each in product(*(np.unique([ALWAYS, *each, NEVER]).tolist() for each in quantiles))]
    most_usd = (goal + ROUNDING) * prices.max()
    fitting = [each for each in tried if (each.cost_usd <= most_usd if is_cost else each.agreement >= goal - ROUNDING)]
    # a target that can't be met makes its own goal the first criterion, and of equals the other one the second
    is_by_cost = is_cost != bool(fitting)
    best = min(fitting or tried, key=lambda each: (each.cost_usd, -each.agreement) if is_by_cost else (-each.agreement, each.cost_usd))
    return best._replace(is_met=bool(fitting))
