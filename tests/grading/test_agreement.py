"""Agreement measures against scikit-learn, hand-worked cases, and their limits."""

from __future__ import annotations

import json
from typing import Any

import duckdb
import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from whetstone.grading.agreement import (
    accuracy,
    agreement,
    agreement_report,
    cost_share,
    expected_calibration_error,
    macro_f1,
    raters_agreement,
    reliability,
    scores,
)
from whetstone.grading.guideline import Guideline, load_guideline
from whetstone.platform.errors import WhetstoneError

TRUTH = np.array([4, 4, 4, 2, 2, 1, 0, 0])
GIVEN = np.array([4, 4, 2, 2, 0, 1, 0, 4])


def test_hand_worked(esci: Guideline) -> None:
    figures = agreement(TRUTH, GIVEN, np.full(8, 0.7), esci)
    assert figures["pairs"] == 8
    assert figures["accuracy"] == accuracy(TRUTH, GIVEN) == 5 / 8
    assert figures["majority_accuracy"] == 3 / 8
    # one level apart at most: all but 2 -> 0 (two levels: 1 lies between) and 0 -> 4
    assert figures["within_one"] == 6 / 8
    # F1: 4: 2*2/(3+3), 2: 2*1/(2+2), 1: 1, 0: 2*1/(2+2)
    assert figures["macro_f1"] == macro_f1(TRUTH, GIVEN) == pytest.approx((2 / 3 + 1 / 2 + 1 + 1 / 2) / 4)
    assert figures["ece"] == pytest.approx(0.7 - 5 / 8)
    assert figures["levels"][0] == "exact"
    assert figures["confusion"] == [[2, 1, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0], [1, 0, 0, 1]]
    assert json.loads(json.dumps(figures)) == figures


places = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)


@settings(max_examples=30, deadline=None)
@given(pairs=places)
def test_measures_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    human, machine = np.array(pairs).T
    measured = scores(sk.confusion_matrix(human, machine, labels=range(4)))
    assert measured["accuracy"] == pytest.approx(sk.accuracy_score(human, machine))
    assert measured["within_one"] == pytest.approx(np.mean([abs(a - b) <= 1 for a, b in pairs]))
    assert measured["macro_f1"] == pytest.approx(sk.f1_score(human, machine, average="macro", zero_division=0))
    assert macro_f1(human, machine) == pytest.approx(measured["macro_f1"])
    occurring = np.union1d(human, machine)
    assert measured["f1"][occurring] == pytest.approx(sk.f1_score(human, machine, average=None, labels=occurring, zero_division=0))
    assert np.isnan(np.delete(measured["f1"], occurring)).all()
    kappa = 0.0 if len(occurring) == 1 else sk.cohen_kappa_score(human, machine, labels=range(4), weights="quadratic")
    assert measured["quadratic_kappa"] == pytest.approx(kappa, abs=1e-12)


def test_kappa_at_its_ends() -> None:
    assert scores(np.diag([3, 2, 1, 2]))["quadratic_kappa"] == 1.0
    assert scores(np.array([[0, 1], [1, 0]]))["quadratic_kappa"] == -1.0
    assert scores(np.array([[2, 0], [0, 0]]))["quadratic_kappa"] == 0.0


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


def test_reliability_hand_worked() -> None:
    confidence, is_right = np.array([0.2, 0.4, 0.9, 1.0]), np.array([True, False, True, True])
    low, middle, high = reliability(confidence, is_right, bins=3)
    assert low == {"low": 0.0, "high": 1 / 3, "pairs": 1, "confidence": 0.2, "share_right": 1.0}
    assert (middle["low"], middle["pairs"], middle["confidence"], middle["share_right"]) == (1 / 3, 1, 0.4, 0.0)
    assert (high["high"], high["pairs"], high["share_right"]) == (1.0, 2, 1.0)
    assert high["confidence"] == pytest.approx(0.95)
    assert reliability(confidence, is_right, bins=10)[5] == {"low": 0.5, "high": 0.6, "pairs": 0, "confidence": None, "share_right": None}


def test_reliability_adds_up_to_the_calibration_error() -> None:
    generator = np.random.default_rng(1)
    confidence, is_right = generator.uniform(size=300), generator.uniform(size=300) < 0.6
    rows = [row for row in reliability(confidence, is_right) if row["pairs"]]
    error = sum(row["pairs"] * abs(row["confidence"] - row["share_right"]) for row in rows) / 300
    assert expected_calibration_error(confidence, is_right) == pytest.approx(error)


def test_raters_hand_worked(esci: Guideline) -> None:
    # of the three pairs of the first judgment one agrees, two are a level apart; the second pair is three levels apart
    found = raters_agreement([[4, 4, 2], None, [0, 4], [1], []], esci)
    assert found is not None
    assert found["judgments"] == 2
    assert found["accuracy"] == pytest.approx(1 / 4)
    assert found["within_one"] == pytest.approx(3 / 4)
    sides = np.array([[0, 0], [0, 1], [0, 1], [3, 0]])
    kappa = sk.cohen_kappa_score([*sides[:, 0], *sides[:, 1]], [*sides[:, 1], *sides[:, 0]], weights="quadratic", labels=range(4))
    assert found["quadratic_kappa"] == pytest.approx(kappa)
    assert raters_agreement([[4], None], esci) is None
    with pytest.raises(WhetstoneError, match=r"raters have grades \[3\]"):
        raters_agreement([[4, 3]], esci)


@settings(max_examples=30, deadline=None)
@given(panels=st.lists(st.lists(st.sampled_from([4, 2, 1, 0]), max_size=4), min_size=1, max_size=6), data=st.data())
def test_raters_are_all_ordered_pairs_in_any_order(panels: list[list[int]], data: st.DataObject) -> None:
    esci = load_guideline("esci")
    ordered = [(a, b) for panel in panels for i, a in enumerate(panel) for j, b in enumerate(panel) if i != j]
    assume(ordered)
    found = raters_agreement(panels, esci)
    left, right = (np.array([esci.grades.index(grade) for grade in side]) for side in zip(*ordered, strict=True))
    expected = scores(sk.confusion_matrix(left, right, labels=range(4)))
    assert found == {"judgments": sum(len(panel) > 1 for panel in panels)} | {
        name: pytest.approx(float(expected[name])) for name in ("accuracy", "within_one", "quadratic_kappa")
    }
    moved = [data.draw(st.permutations(panel)) for panel in data.draw(st.permutations(panels))]
    assert raters_agreement(moved, esci) == found


def test_raters_as_the_warehouse_gives_them(esci: Guideline) -> None:
    rows = duckdb.sql("select * from (values (1, [4, 4, null]), (2, null), (3, [2, 0]), (4, [1, null])) as t(n, raters) order by n").df()
    found = raters_agreement(rows["raters"], esci)
    assert found is not None and (found["judgments"], found["accuracy"]) == (2, 0.5)


def test_what_cannot_be_compared_is_refused(esci: Guideline) -> None:
    with pytest.raises(WhetstoneError, match="same pairs"):
        accuracy(TRUTH, GIVEN[:-1])
    with pytest.raises(WhetstoneError, match="at least one"):
        macro_f1(TRUTH[:0], GIVEN[:0])
    with pytest.raises(WhetstoneError, match=r"human judgments have grades \[3\]"):
        agreement(np.array([3]), np.array([4]), np.array([0.5]), esci)
    with pytest.raises(WhetstoneError, match=r"answers have grades \[-1\]"):
        agreement(np.array([4]), np.array([-1]), np.array([0.5]), esci)
    for confidence in ([], [0.5, 1.5], [0.5, np.nan], [0.5, -0.1]):
        with pytest.raises(WhetstoneError, match="calibration"):
            expected_calibration_error(np.array(confidence), np.ones(len(confidence)))
    fine: dict[str, Any] = {
        "truth": TRUTH,
        "given": GIVEN,
        "confidence": np.full(8, 0.7),
        "queries": ["q"] * 8,
        "guideline": esci,
        "seed": 0,
    }
    for column in ("truth", "given", "confidence", "queries"):
        with pytest.raises(WhetstoneError, match="needs"):
            agreement_report(**{**fine, column: fine[column][:-1]})
    with pytest.raises(WhetstoneError, match="at least one"):
        agreement_report(**{name: value[:0] if isinstance(value, np.ndarray | list) else value for name, value in fine.items()})
    with pytest.raises(WhetstoneError, match="same pairs"):
        cost_share(np.ones(2), np.ones(3), ["q"] * 2, seed=0)
