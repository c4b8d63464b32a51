"""The cascade settles as declared, asks no more than it must, and its thresholds are the best of all on the grid."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from whetstone.grading.calibration import NO_ANSWER
from whetstone.grading.cascade import (
    ALWAYS,
    NEVER,
    NOBODY,
    VOTE,
    Choice,
    choose_thresholds,
    settle,
)
from whetstone.platform.settings import Settings

GRADES = [NO_ANSWER, 0, 1, 2, 4]


@st.composite
def answers(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Grades and confidence (n, s) with gaps and ties, and thresholds (s,)."""
    shape = draw(st.tuples(st.integers(0, 12), st.integers(1, 4)))
    grades = draw(hnp.arrays(int, shape, elements=st.sampled_from(GRADES)))
    confidence = draw(hnp.arrays(float, shape, elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])))
    thresholds = draw(st.lists(st.sampled_from([ALWAYS, 0.5, 0.75, NEVER]), min_size=shape[1], max_size=shape[1]))
    return grades, np.where(grades == NO_ANSWER, 0.0, confidence), thresholds


def settle_one(grades: list[int], confidence: list[float], thresholds: list[float]) -> tuple[int, float, int]:
    """The rule, a pair at a time."""
    given = [(grade, sure) for grade, sure in zip(grades, confidence, strict=True) if grade != NO_ANSWER]
    for stage, (grade, sure, least) in enumerate(zip(grades, confidence, thresholds, strict=True)):
        if grade != NO_ANSWER and sure >= least:
            return grade, sure, stage
    if not given:
        return NO_ANSWER, 0.0, NOBODY
    votes = [grade for grade, _ in given]
    winner = max(votes, key=lambda grade: (votes.count(grade), grade))
    return winner, max(sure for grade, sure in given if grade == winner), VOTE


def test_settles_by_hand() -> None:
    grades = np.array([[4, 0, 1], [4, 0, 1], [4, 2, 2], [-1, 4, 4], [0, 4, 1], [-1, 1, 0], [-1, -1, -1], [-1, -1, 0]])
    confidence = np.array(
        [[0.85, 0, 0], [0.84, 0.8, 0], [0.8, 0.7, 0.75], [0.9, 0.1, 0.2], [0.6, 0.5, 0.4], [0, 0.3, 0.6], [0, 0, 0], [np.nan, np.nan, 0.1]]
    )
    settled = settle(grades, confidence, (0.85, 0.80, 0.75))
    assert settled.stage.tolist() == [0, 1, 2, VOTE, VOTE, VOTE, NOBODY, VOTE]
    assert settled.grade.tolist() == [4, 0, 2, 4, 4, 1, NO_ANSWER, 0]  # rows 4 and 5 are ties: the higher grade, not the surer
    assert settled.confidence.tolist() == [0.85, 0.8, 0.75, 0.2, 0.5, 0.3, 0.0, 0.1]


@given(answers())
def test_settles_as_the_rule_says(drawn: tuple[np.ndarray, np.ndarray, list[float]]) -> None:
    grades, confidence, thresholds = drawn
    settled = settle(grades, confidence, thresholds)
    wanted = [settle_one(*row, thresholds) for row in zip(grades.tolist(), confidence.tolist(), strict=True)]
    assert list(zip(*(part.tolist() for part in settled), strict=True)) == wanted


@given(answers())
def test_a_stage_is_asked_while_none_before_it_is_sure(drawn: tuple[np.ndarray, np.ndarray, list[float]]) -> None:
    grades, confidence, thresholds = drawn
    is_sure = (grades != NO_ANSWER) & (confidence >= np.array(thresholds))
    expected = [[not row[:stage].any() for stage in range(len(row))] for row in is_sure]
    assert settle(grades, confidence, thresholds).asked(grades.shape[1]).tolist() == expected


def test_any_confidence_is_told_of_the_grade_that_was_settled_on() -> None:
    grades = np.array([[4, 0, 1], [4, 2, 2], [-1, 4, 4], [-1, -1, -1]])
    settled = settle(grades, np.array([[0.9, 0.1, 0.1], [0.1, 0.2, 0.3], [0.0, 0.1, 0.2], [0.0, 0.0, 0.0]]), (0.8, 0.8, 0.8))
    assert settled.told(grades, np.array([[0.5, 0.6, 0.7]] * 3 + [[0.0] * 3])).tolist() == [0.5, 0.7, 0.7, 0.0]


def test_only_targets_that_can_be_read_are_settings() -> None:
    for bad in ("paper:0.5", "cost", "cost:", "cost:1.5", "cost:-0.1", "cost:nan", "agreement:92%", "price:0.5", "Paper"):
        with pytest.raises(ValueError, match="cascade_target"):
            Settings(cascade_target=bad)


def measured(grades: np.ndarray, confidence: np.ndarray, truth: np.ndarray, costs: list[float], thresholds: tuple[float, ...]) -> Choice:
    """What thresholds give, through `settle` and `asked`."""
    agreement = float((settle(grades, confidence, thresholds).grade == truth).mean())
    cost = float((settle(grades, confidence, thresholds).asked(len(costs)) @ np.array(costs)).mean())
    return Choice(thresholds, agreement, cost)


@pytest.mark.parametrize(("count", "seed"), [(150, 0), (12, 0), (12, 10)])  # few pairs make many equals
@pytest.mark.parametrize("stages", [1, 2, 3, 4])
@pytest.mark.parametrize("target", ["paper", "agreement:0.5", "agreement:0.7", "agreement:1", "cost:0.6", "cost:0.25", "cost:0"])
def test_no_other_thresholds_are_better(stages: int, target: str, count: int, seed: int) -> None:
    """Every combination of a confidence that occurs, ALWAYS and NEVER is tried one by one."""
    rng = np.random.default_rng([stages, seed])
    levels = np.array([0.2, 0.45, 0.6, 0.9])[: 4 if stages < 4 else 2]  # few, so that the grid holds them all
    truth = rng.choice([0, 1, 4], count)
    confidence = rng.choice(levels, (count, stages))
    grades = np.where(rng.random((count, stages)) < confidence, truth[:, None], rng.choice([NO_ANSWER, 0, 1, 4], (count, stages)))
    confidence[grades == NO_ANSWER] = 0.0
    costs = [0.0, 0.001, 0.02, 0.1][:stages] if stages > 1 else [0.5]
    choice = choose_thresholds(grades, confidence, truth, costs, target)
    check = measured(grades, confidence, truth, costs, choice.thresholds)
    assert choice[1:3] == pytest.approx(check[1:3])
    if target == "paper":
        assert choice.thresholds == (0.85, 0.80, 0.75, 0.75)[:stages] and choice.is_met
        return
    kind, goal = target.split(":")[0], float(target.split(":")[1])
    every = [measured(grades, confidence, truth, costs, each) for each in product([ALWAYS, *levels, NEVER], repeat=stages)]
    is_cheap = kind == "cost"
    meets = [each for each in every if (each.cost_usd / max(costs) <= goal + 1e-9 if is_cheap else each.agreement >= goal - 1e-9)]
    assert choice.is_met == bool(meets)
    if is_cheap == bool(meets):  # the best agreement, of those the cheapest
        best = min(meets or every, key=lambda each: (-each.agreement, round(each.cost_usd, 12)))
    else:
        best = min(meets or every, key=lambda each: (round(each.cost_usd, 12), -each.agreement))
    assert (choice.agreement, choice.cost_usd) == pytest.approx((best.agreement, best.cost_usd))


def test_cost_is_a_share_of_the_dearest_stage_wherever_it_is() -> None:
    grades, truth = np.full((10, 2), 4), np.full(10, 4)
    choice = choose_thresholds(grades, np.full((10, 2), 0.9), truth, [0.4, 0.1], "cost:1.0")
    assert choice.is_met and choice.cost_usd == pytest.approx(0.4)


def test_of_equals_the_better() -> None:
    """Both stages are free, so all combinations cost the same: the sure half of the first, then the second, is right throughout."""
    grades, confidence = np.array([[4, 0], [0, 4]] * 10), np.array([[0.9, 0.1], [0.2, 0.8]] * 10)
    choice = choose_thresholds(grades, confidence, np.full(20, 4), [0.0, 0.0], "agreement:0.5")
    assert (choice.agreement, choice.thresholds) == (1.0, (0.9, ALWAYS))


def test_of_equals_the_lower_thresholds() -> None:
    grades, truth = np.full((40, 2), 4), np.full(40, 4)
    confidence = np.linspace(0.1, 0.9, 80).reshape(40, 2)
    assert choose_thresholds(grades, confidence, truth, [0.0, 0.0], "cost:0.5") == Choice((ALWAYS, ALWAYS), 1.0, 0.0, True)


def test_free_stages_alone() -> None:
    """Costs of 0 everywhere: the best agreement for nothing, and a share of 0."""
    grades, truth = np.array([[4, 0], [4, 4], [0, 4], [0, 0]] * 5), np.array([4, 4, 4, 4] * 5)
    confidence = np.array([[0.9, 0.5], [0.8, 0.8], [0.2, 0.7], [0.1, 0.1]] * 5)
    for target in ("agreement:0.7", "cost:0"):
        choice = choose_thresholds(grades, confidence, truth, [0.0, 0.0], target)
        assert (choice.agreement, choice.cost_usd, choice.is_met) == (0.75, 0.0, True)
    assert not choose_thresholds(grades, confidence, truth, [0.0, 0.0], "agreement:0.8").is_met


def test_a_stage_that_never_answered() -> None:
    grades, truth = np.tile([NO_ANSWER, 4], (30, 1)), np.full(30, 4)
    choice = choose_thresholds(grades, np.tile([0.0, 0.5], (30, 1)), truth, [0.1, 1.0], "agreement:0.9")
    assert (choice.agreement, choice.cost_usd, choice.is_met) == (1.0, pytest.approx(1.1), True)


def test_many_stages_stay_small() -> None:
    rng = np.random.default_rng(0)
    grades, confidence = rng.choice([0, 4], (500, 5)), rng.random((500, 5))
    choice = choose_thresholds(grades, confidence, grades[:, 4], [0.0] * 4 + [1.0], "cost:0.8")
    assert choice.is_met and choice.agreement > 0.6
