"""The cascade: stages from cheap to dear, each settles the pairs it is sure of ([A2] arXiv 2606.25871).

A stage settles a pair if it answered and its calibrated confidence reaches the stage's threshold; else the next stage is asked. Where
no stage is sure, the majority of the answers decides, ties to the *higher* grade. Shapes throughout: n pairs, s stages in order;
`grades` (n, s) int with NO_ANSWER where a stage gave none, `confidence` (n, s) calibrated, 0..1.

Thresholds are the paper's, or chosen on held-out human labels for a target agreement or cost. All combinations of a coarse grid (every
twentieth of a stage's confidences, "always" and "never") are measured: fine enough to come near the target, too coarse to learn the
labels by heart. The agreement of the choice is still that of the best of many, so a report measures it on other queries.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from whetstone.grading.calibration import NO_ANSWER, Calibration
from whetstone.platform.errors import WhetstoneError

VOTE = -1  # as `stage`: no stage was sure, the majority decided
NOBODY = -2  # as `stage`: no stage answered

ALWAYS, NEVER = 0.0, 2.0  # thresholds that every answer reaches, or none
PAPER_THRESHOLDS = (0.85, 0.80, 0.75)  # [A2]; further stages as the last
MOST_QUANTILES, MOST_COMBINATIONS = 20, 200_000
BLOCK = 64  # pairs
ROUNDING = 1e-9  # of a share that is computed

Ask = Callable[[int, np.ndarray], tuple[np.ndarray, np.ndarray]]


class Settled(NamedTuple):
    """What became of n pairs: grade (n,), confidence (n,) of that grade, stage (n,) that settled it, or VOTE, or NOBODY.

    A vote's confidence is the greatest among the answers for the winner; with NOBODY the grade is NO_ANSWER and the confidence 0.
    """

    grade: np.ndarray
    confidence: np.ndarray
    stage: np.ndarray


@dataclass(frozen=True)
class Target:
    """What thresholds aim at: kind 'paper', 'agreement' (at least `value`, cheapest) or 'cost' (at most `value` of the dearest stage)."""

    kind: str
    value: float = 0.0


class Choice(NamedTuple):
    """Thresholds (s,) with what they give on the held-out pairs: agreement 0..1, dollars a pair, share of the dearest stage's cost.

    `is_met` is False where no thresholds reach the target; these come nearest.
    """

    thresholds: tuple[float, ...]
    agreement: float
    cost_usd: float
    cost_share: float
    is_met: bool


def settle(grades: np.ndarray, confidence: np.ndarray, thresholds: npt.ArrayLike) -> Settled:
    """Settle pairs from all the answers at hand, (n, s) each; `thresholds` (s,) or (n, s)."""
    is_sure = _is_sure(grades, confidence, thresholds)
    winner = vote(grades)
    stage = np.where(is_sure.any(axis=1), is_sure.argmax(axis=1), np.where(winner == NO_ANSWER, NOBODY, VOTE))
    rows, at = np.arange(len(stage)), np.maximum(stage, 0)
    is_for_winner = (grades == winner[:, None]) & (grades != NO_ANSWER)
    return Settled(
        grade=np.where(stage >= 0, grades[rows, at], winner),
        confidence=np.where(stage >= 0, confidence[rows, at], np.where(is_for_winner, confidence, 0.0).max(axis=1)),
        stage=stage,
    )


def asked(grades: np.ndarray, confidence: np.ndarray, thresholds: npt.ArrayLike) -> np.ndarray:
    """(n, s) whether a pair is asked at a stage: no stage before it was sure. The cost of a cascade follows from it."""
    is_open = ~np.logical_or.accumulate(_is_sure(grades, confidence, thresholds), axis=1)
    return np.column_stack([np.full(len(is_open), True), is_open[:, :-1]])


def vote(grades: np.ndarray) -> np.ndarray:
    """(n,) the most frequent grade of (n, s) answers, ties to the higher; NO_ANSWER where there is none."""
    votes = (grades[:, :, None] == grades[:, None, :]).sum(axis=2)  # (n, s): how many gave the same grade
    votes = np.where(grades == NO_ANSWER, 0, votes)
    return np.asarray(np.where(votes == votes.max(axis=1, keepdims=True), grades, NO_ANSWER).max(axis=1))


def run_cascade(
    names: Sequence[str], ask: Ask, calibrations: Sequence[Calibration], thresholds: Sequence[float], n: int
) -> tuple[Settled, np.ndarray, np.ndarray]:
    """Ask stage after stage, each once and only for the pairs that are still open; as `settle` on the answers of all stages.

    `ask(stage, positions (m,))` gives (m,) grades and (m,) raw confidences. Positions come least sure first: ascending by the calibrated
    confidence of the pair's latest answer (0 without any), then by position; so a budget that ends early is spent where it helps most.

    Returns Settled, grades (n, s) and calibrated confidence (n, s), NO_ANSWER and 0 where a stage was not asked. WhetstoneError: a stage
    gives another number of answers than it was asked for.
    """
    grades, confidence = np.full((n, len(names)), NO_ANSWER), np.zeros((n, len(names)))
    open_pairs, latest = np.arange(n), np.zeros(n)
    for stage, (name, calibration, threshold) in enumerate(zip(names, calibrations, thresholds, strict=True)):
        if not len(open_pairs):
            break
        positions = open_pairs[np.argsort(latest[open_pairs], kind="stable")]
        given, raw = (np.asarray(part) for part in ask(stage, positions))
        if not len(given) == len(raw) == len(positions):
            raise WhetstoneError(f"cascade: stage '{name}' gave {len(given)} answers for {len(positions)} pairs; one a pair is needed")
        grades[positions, stage], confidence[positions, stage] = given, calibration.apply(given, raw)
        is_answered = grades[:, stage] != NO_ANSWER
        latest[is_answered] = confidence[is_answered, stage]
        open_pairs = open_pairs[~(is_answered & (confidence[:, stage] >= threshold))[open_pairs]]
    return settle(grades, confidence, thresholds), grades, confidence


def parse_target(text: str) -> Target:
    """Read 'paper', 'agreement:0.92' or 'cost:0.5' (shares 0..1), which is what the setting takes."""
    kind, _, value = text.partition(":")
    return Target(kind, float(value or 0.0))


def paper_thresholds(stages: int) -> tuple[float, ...]:
    """Those of [A2]; stages beyond its three have the last one's."""
    return tuple(PAPER_THRESHOLDS[min(stage, len(PAPER_THRESHOLDS) - 1)] for stage in range(stages))


def choose_thresholds(grades: np.ndarray, confidence: np.ndarray, truth: np.ndarray, costs: Sequence[float], target: Target) -> Choice:
    """Choose thresholds on n held-out pairs with human grades `truth` (n,); `costs` (s,) are a stage's mean dollars a pair.

    'agreement' takes the cheapest combination that agrees enough, 'cost' the one that agrees best among those cheap enough; of equals
    the cheaper, then the one that agrees better, then the lower thresholds from the first stage on. Confidence should be cross-fitted.
    """
    prices, stages = np.asarray(costs, dtype=float), grades.shape[1]
    if target.kind == "paper":
        grid = [np.array([limit]) for limit in paper_thresholds(stages)]
    else:
        count = min(MOST_QUANTILES, int(MOST_COMBINATIONS ** (1 / stages)))
        grid = [_grid(confidence[grades[:, stage] != NO_ANSWER, stage], count) for stage in range(stages)]
    agreement, cost = _measure(grades, confidence, truth, prices, grid)
    share = cost / prices.max() if prices.max() else np.zeros_like(cost)
    fits = share <= target.value + ROUNDING if target.kind == "cost" else agreement >= target.value - ROUNDING
    cheapest, best = np.lexsort((-agreement, cost)), np.lexsort((cost, -agreement))  # stable: of equals the lower thresholds
    is_met = bool(fits.any())
    # a target that can't be met makes its own goal the first criterion, and of equals the other one the second
    order = cheapest if (target.kind == "agreement") == is_met else best
    chosen = order[fits[order]][0] if is_met else order[0]
    places = np.unravel_index(chosen, [len(values) for values in grid])
    thresholds = tuple(float(values[place]) for values, place in zip(grid, places, strict=True))
    return Choice(thresholds, float(agreement[chosen]), float(cost[chosen]), float(share[chosen]), is_met)


def _grid(confidence: np.ndarray, count: int) -> np.ndarray:
    """Thresholds to try for a stage: ALWAYS, `count` quantiles of its confidences, NEVER; ascending."""
    quantiles = np.quantile(confidence, np.arange(count) / count, method="inverted_cdf") if len(confidence) else []
    return np.unique([ALWAYS, *quantiles, NEVER])


def _measure(
    grades: np.ndarray, confidence: np.ndarray, truth: np.ndarray, prices: np.ndarray, grid: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Agreement and dollars a pair of every combination of thresholds, in C order; block by block, for memory.

    A stage's thresholds lie along an axis of their own, behind that of the pairs.
    """
    n, stages = grades.shape
    limits = np.meshgrid(*grid, indexing="ij", sparse=True)
    right, asked_at = np.zeros([len(values) for values in grid]), [np.zeros(1)] * stages
    for rows in np.array_split(np.arange(n), -(-n // BLOCK)):
        is_open = np.full((len(rows), *[1] * stages), True)
        for stage in range(stages):
            sure = np.where(grades[rows, stage] == NO_ANSWER, -1.0, confidence[rows, stage])
            is_sure = sure.reshape(is_open.shape[:1] + (1,) * stages) >= limits[stage]
            asked_at[stage] = asked_at[stage] + is_open.sum(axis=0)
            right += (is_open & is_sure)[grades[rows, stage] == truth[rows]].sum(axis=0)
            is_open = is_open & ~is_sure
        right += is_open[vote(grades[rows]) == truth[rows]].sum(axis=0)
    cost = np.broadcast_to(sum(count * price for count, price in zip(asked_at, prices, strict=True)), right.shape)
    return right.ravel() / n, cost.ravel() / n


def _is_sure(grades: np.ndarray, confidence: np.ndarray, thresholds: npt.ArrayLike) -> np.ndarray:
    """(n, s) whether a stage answered with enough confidence."""
    return np.asarray((grades != NO_ANSWER) & (confidence >= np.asarray(thresholds, dtype=float)))
