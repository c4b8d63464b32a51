"""Calibrated confidence is how often an answer is right: by predicted class, never falling, modest where examples are few."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from whetstone.grading import calibration
from whetstone.grading.calibration import FOLDS, NO_ANSWER, Calibration, cross_fitted, fit_calibration, splits


def calibration_error(confidence: np.ndarray, is_right: np.ndarray) -> float:
    """By definition: the gap of each of 15 bins, weighted by its pairs."""
    place = np.minimum((confidence * 15).astype(int), 14)
    return float(sum(abs((confidence - is_right)[place == each].sum()) for each in range(15)) / len(confidence))


def draw(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Grades, confidences, rightness and its true probability: grade 4 is right with probability c, grade 0 with c squared."""
    rng = np.random.default_rng(seed)
    grades, confidence = rng.choice([4, 0], count), rng.random(count)
    probability = np.where(grades == 4, confidence, confidence**2)
    return grades, confidence, rng.random(count) < probability, probability


def test_finds_each_class_own_curve() -> None:
    grades, confidence, is_right, _ = draw(20_000)
    fitted = fit_calibration(grades, confidence, is_right)
    at = np.array([0.2, 0.5, 0.8])
    np.testing.assert_allclose(fitted.apply(np.full(3, 4), at), at, atol=0.05)
    np.testing.assert_allclose(fitted.apply(np.full(3, 0), at), at**2, atol=0.05)


def test_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pool adjacent violators on right = 0 1 0 1 1 and one made-up 4/7 at 0.6: 0 at 0.2, 11/21 from 0.4 to 0.6, 1 from 0.8."""
    monkeypatch.setattr(calibration, "PRIOR", 1)
    fitted = fit_calibration(np.full(5, 1), np.array([0.2, 0.4, 0.6, 0.8, 0.9]), np.array([0, 1, 0, 1, 1]))
    at = np.array([0.0, 0.2, 0.35, 0.5, 0.675, 0.85, 1.0])
    middle = 11 / 21
    np.testing.assert_allclose(fitted.apply(np.full(7, 1), at), [0, 0, 0.75 * middle, middle, middle + 0.375 * (1 - middle), 1, 1])


def test_few_examples_are_pulled_to_the_average() -> None:
    """Five right answers of grade 2 among 995 of grade 4 that are right in half the cases."""
    grades = np.repeat([2, 4], [5, 995])
    confidence = np.append(np.linspace(0.5, 0.9, 5), np.linspace(0, 1, 995))
    is_right = np.append(np.ones(5), np.arange(995) % 2)
    fitted = fit_calibration(grades, confidence, is_right)
    assert 0.5 < fitted.apply(np.array([2]), np.array([1.0]))[0] < 0.85
    # nobody answered 1: all that is known is how often answers are right
    assert fitted.apply(np.array([1]), np.array([0.9]))[0] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("is_right", [0.0, 1.0])
def test_one_example_or_all_alike_is_never_certain(is_right: float) -> None:
    for count in (1, 8):
        fitted = fit_calibration(np.full(count, 4), np.full(count, 0.7), np.full(count, is_right))
        assert 0.0 < fitted.apply(np.array([4]), np.array([0.7]))[0] < 1.0


def test_better_calibrated_on_other_pairs_than_plain_isotonic_and_none() -> None:
    other_grades, other_confidence, other_right, _ = draw(20_000, seed=99)
    errors: dict[str, list[float]] = {"ours": [], "plain": [], "none": []}
    for seed in range(10):
        grades, confidence, is_right, _ = draw(150, seed)
        plain = np.zeros(len(other_grades))
        for grade in (4, 0):
            peer = IsotonicRegression(out_of_bounds="clip").fit(confidence[grades == grade], is_right[grades == grade])
            plain[other_grades == grade] = peer.predict(other_confidence[other_grades == grade])
        calibrated = fit_calibration(grades, confidence, is_right).apply(other_grades, other_confidence)
        for name, values in (("ours", calibrated), ("plain", plain), ("none", other_confidence)):
            errors[name].append(calibration_error(values, other_right))
    assert np.mean(errors["ours"]) < 0.8 * np.mean(errors["plain"])
    assert np.mean(errors["ours"]) < 0.8 * np.mean(errors["none"])


ANSWERS = st.lists(st.tuples(st.sampled_from([NO_ANSWER, 0, 1, 4]), st.floats(0, 1), st.booleans()), min_size=1, max_size=40).filter(
    lambda rows: any(row[0] != NO_ANSWER for row in rows)
)


@given(ANSWERS)
@example([(0, 0.0, False), (0, 1.0, False), (0, 0.9999999999999999, False)])
def test_never_falls_and_stays_a_probability(rows: list[tuple[int, float, bool]]) -> None:
    grades, confidence, is_right = (np.array(column) for column in zip(*rows, strict=True))
    fitted = fit_calibration(grades, confidence, is_right)
    at = np.linspace(0, 1, 101)
    for grade in (0, 1, 2, 4):
        calibrated = fitted.apply(np.full(101, grade), at)
        assert (np.diff(calibrated) >= -1e-12).all() and calibrated.min() >= 0 and calibrated.max() <= 1
    assert (fitted.apply(np.full(101, NO_ANSWER), at) == 0).all()
    back = Calibration(**json.loads(json.dumps(asdict(fitted))))
    assert back == fitted
    shuffled = np.random.default_rng(0).permutation(len(rows))
    again = fit_calibration(grades[shuffled], confidence[shuffled], is_right[shuffled])
    np.testing.assert_allclose(again.apply(grades, confidence), fitted.apply(grades, confidence), atol=1e-6)


def test_missing_answers_do_not_count() -> None:
    grades, confidence, is_right, _ = draw(200)
    lacking = fit_calibration(np.append(grades, [NO_ANSWER] * 9), np.append(confidence, [0.0] * 9), np.append(is_right, [True] * 9))
    assert lacking == fit_calibration(grades, confidence, is_right)
    assert fit_calibration(np.full(3, NO_ANSWER), np.zeros(3), np.full(3, False)) == calibration.NONE


def test_cross_fitted_never_sees_its_own_group() -> None:
    grades, confidence, is_right, _ = draw(300)
    groups = np.array([f"q{number % 12}" for number in range(300)])
    before = cross_fitted(grades, confidence, is_right, groups)
    for name in np.unique(groups):
        own = groups == name
        after = cross_fitted(grades, confidence, np.where(own, ~is_right, is_right), groups)
        np.testing.assert_array_equal(after[own], before[own])
        assert (after[~own] != before[~own]).any()


def test_folds_are_whole_queries_and_each_is_measured_once() -> None:
    groups = np.repeat(np.arange(7), [6, 5, 4, 3, 2, 1, 1])
    made = list(splits(groups))
    assert len(made) == FOLDS and sorted(np.concatenate([held for _, held in made])) == list(range(22))
    for others, held in made:
        assert set(groups[others]).isdisjoint(groups[held]) and len(others) + len(held) == 22
    assert max(len(held) for _, held in made) == 6  # the largest query is a fold of its own


def test_cross_fitted_with_few_groups() -> None:
    grades, confidence, is_right, _ = draw(90)
    calibrated = cross_fitted(grades, confidence, is_right, np.arange(90) % 3)
    for place in range(3):
        own = np.arange(90) % 3 == place
        alone = fit_calibration(grades[~own], confidence[~own], is_right[~own]).apply(grades[own], confidence[own])
        np.testing.assert_array_equal(calibrated[own], alone)
