"""Agreement measures against hand-worked cases, their definitions and limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whetstone.grading.agreement import (
    accuracy,
    agreement,
    confusion_matrix,
    expected_calibration_error,
    macro_f1,
    quadratic_kappa,
    within_one,
)
from whetstone.grading.guideline import Guideline, load_guideline
from whetstone.platform.errors import WhetstoneError

TRUTH = np.array([4, 4, 4, 2, 2, 1, 0, 0])
GIVEN = np.array([4, 4, 2, 2, 0, 1, 0, 4])


def test_hand_worked(esci: Guideline) -> None:
    assert accuracy(TRUTH, GIVEN) == 5 / 8
    # one level apart at most: all but 2 -> 0 (two levels: 1 lies between) and 0 -> 4
    assert within_one(TRUTH, GIVEN, esci) == 6 / 8
    # F1: 4: 2*2/(3+3), 2: 2*1/(2+2), 1: 1, 0: 2*1/(2+2)
    assert macro_f1(TRUTH, GIVEN) == pytest.approx((2 / 3 + 1 / 2 + 1 + 1 / 2) / 4)
    assert confusion_matrix(TRUTH, GIVEN, esci).tolist() == [[2, 1, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0], [1, 0, 0, 1]]


def test_macro_f1_leaves_out_levels_that_nobody_uses() -> None:
    assert macro_f1(np.array([4, 4, 0]), np.array([4, 4, 0])) == 1.0
    assert macro_f1(np.array([4, 4]), np.array([4, 2])) == pytest.approx((2 / 3 + 0) / 2)


grades = st.lists(st.sampled_from([4, 2, 1, 0]), min_size=2, max_size=30)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), truth=grades)
def test_kappa_is_its_definition(data: st.DataObject, truth: list[int]) -> None:
    guideline = load_guideline("esci")
    given_grades = data.draw(st.lists(st.sampled_from([4, 2, 1, 0]), min_size=len(truth), max_size=len(truth)))
    kappa = quadratic_kappa(np.array(truth), np.array(given_grades), guideline)
    # 1 - observed / expected squared distance in levels, expected over all combinations of the two sides
    left = np.array([guideline.grades.index(grade) for grade in truth])
    right = np.array([guideline.grades.index(grade) for grade in given_grades])
    expected = ((left[:, None] - right[None, :]) ** 2).mean()
    assert kappa == pytest.approx(1 - ((left - right) ** 2).mean() / expected if expected else 0.0)


def test_kappa_at_its_ends(esci: Guideline) -> None:
    assert quadratic_kappa(TRUTH, TRUTH, esci) == 1.0
    assert quadratic_kappa(np.array([4, 0]), np.array([0, 4]), esci) == -1.0
    assert quadratic_kappa(np.array([4, 4]), np.array([4, 4]), esci) == 0.0


def test_calibration_error_hand_worked() -> None:
    # bins of width 0.5: {0.2, 0.4} with one right -> gap |0.3 - 0.5|; {0.9, 1.0} with one right -> gap |0.95 - 0.5|
    error = expected_calibration_error(np.array([0.2, 0.4, 0.9, 1.0]), np.array([True, False, True, False]), bins=2)
    assert error == pytest.approx((0.2 + 0.45) / 2)


def test_calibration_error_of_honest_and_of_boasting_confidence() -> None:
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.3, 1.0, 50_000)
    honest = generator.uniform(size=50_000) < confidence
    assert expected_calibration_error(confidence, honest) < 0.01
    assert expected_calibration_error(np.ones(50_000), honest) == pytest.approx(1 - honest.mean())


def test_report_holds_plain_numbers(esci: Guideline) -> None:
    report = agreement(TRUTH, GIVEN, np.full(8, 0.7), esci)
    assert report["pairs"] == 8
    assert report["accuracy"] == 5 / 8
    assert report["majority_accuracy"] == 3 / 8
    assert report["ece"] == pytest.approx(0.7 - 5 / 8)
    assert report["levels"][0] == "exact"
    assert np.array(report["confusion"]).sum() == 8


def test_what_cannot_be_compared_is_refused(esci: Guideline) -> None:
    with pytest.raises(WhetstoneError, match="same pairs"):
        accuracy(TRUTH, GIVEN[:-1])
    with pytest.raises(WhetstoneError, match="at least one"):
        macro_f1(TRUTH[:0], GIVEN[:0])
    with pytest.raises(WhetstoneError, match=r"\[3\]"):
        within_one(np.array([3]), np.array([4]), esci)
    with pytest.raises(WhetstoneError, match="calibration"):
        expected_calibration_error(np.array([]), np.array([]))
