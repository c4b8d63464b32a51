"""Agreement measures against scikit-learn, hand-worked cases, and their limits."""

from __future__ import annotations

import json

import duckdb
import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from whetstone.grading.agreement import agreement_report, raters_agreement, reliability, scores
from whetstone.grading.guideline import Guideline, load_guideline
from whetstone.platform.errors import WhetstoneError

TRUTH = np.array([4, 4, 4, 2, 2, 1, 0, 0])
GIVEN = np.array([4, 4, 2, 2, 0, 1, 0, 4])


def test_hand_worked(esci: Guideline) -> None:
    figures = agreement_report(TRUTH, GIVEN, {"ece": np.full(8, 0.7)}, np.zeros(8), esci, seed=0)
    assert figures["pairs"] == 8
    assert figures["accuracy"]["mean"] == 5 / 8
    assert figures["majority_accuracy"] == 3 / 8
    # one level apart at most: all but 2 -> 0 (two levels: 1 lies between) and 0 -> 4
    assert figures["within_one"]["mean"] == 6 / 8
    # F1: 4: 2*2/(3+3), 2: 2*1/(2+2), 1: 1, 0: 2*1/(2+2)
    assert figures["macro_f1"]["mean"] == pytest.approx((2 / 3 + 1 / 2 + 1 + 1 / 2) / 4)
    assert figures["ece"]["mean"] == pytest.approx(0.7 - 5 / 8)
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
    occurring = np.union1d(human, machine)
    assert measured["f1"][occurring] == pytest.approx(sk.f1_score(human, machine, average=None, labels=occurring, zero_division=0))
    assert np.isnan(np.delete(measured["f1"], occurring)).all()
    kappa = 0.0 if len(occurring) == 1 else sk.cohen_kappa_score(human, machine, labels=range(4), weights="quadratic")
    assert measured["quadratic_kappa"] == pytest.approx(kappa, abs=1e-12)


def test_kappa_at_its_ends() -> None:
    assert scores(np.diag([3, 2, 1, 2]))["quadratic_kappa"] == 1.0
    assert scores(np.array([[0, 1], [1, 0]]))["quadratic_kappa"] == -1.0
    assert scores(np.array([[2, 0], [0, 0]]))["quadratic_kappa"] == 0.0


def ece(confidence: np.ndarray, is_right: np.ndarray) -> float:
    given = np.where(is_right, 4, 0)
    report = agreement_report(np.full(len(given), 4), given, {"ece": confidence}, np.zeros(len(given)), load_guideline("esci"), seed=0)
    return float(report["ece"]["mean"])


def test_calibration_error_hand_worked() -> None:
    # {0.21, 0.25} with one right share a bin -> gap |0.23 - 0.5|; {0.95, 1.0} with one right -> gap |0.975 - 0.5|
    error = ece(np.array([0.21, 0.25, 0.95, 1.0]), np.array([True, False, True, False]))
    assert error == pytest.approx((0.27 + 0.475) / 2)


def test_calibration_error_of_honest_and_of_boasting_confidence() -> None:
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.3, 1.0, 50_000)
    honest = generator.uniform(size=50_000) < confidence
    assert ece(confidence, honest) < 0.01
    assert ece(np.ones(50_000), honest) == pytest.approx(1 - honest.mean())


def test_reliability_hand_worked() -> None:
    low, middle, high = reliability(np.array([0.95, 0.2, 0.4, 1.0]), np.array([True, True, False, True]))
    assert low == {"pairs": 1, "confidence": 0.2, "share_right": 1.0}
    assert middle == {"pairs": 1, "confidence": 0.4, "share_right": 0.0}
    assert high == {"pairs": 2, "confidence": pytest.approx(0.975), "share_right": 1.0}


def test_reliability_adds_up_to_the_calibration_error() -> None:
    generator = np.random.default_rng(1)
    confidence, is_right = generator.uniform(size=300), generator.uniform(size=300) < 0.6
    rows = reliability(confidence, is_right)
    assert ece(confidence, is_right) == pytest.approx(sum(r["pairs"] * abs(r["confidence"] - r["share_right"]) for r in rows) / 300)


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
    for truth, answers, message in (
        ([3], [4], r"human judgments have grades \[3\]"),
        ([4], [-1], r"answers have grades \[-1\]"),
    ):
        with pytest.raises(WhetstoneError, match=message):
            agreement_report(np.array(truth), np.array(answers), {}, np.zeros(1), esci, seed=0)
