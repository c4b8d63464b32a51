"""Agreement measures against scikit-learn, hand-worked cases, a bootstrap written out in loops, and their limits."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import duckdb
import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from whetstone.grading import agreement as module
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
    stage_table,
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


Pairs = dict[str, Any]
COLUMNS = ("truth", "given", "confidence", "queries")


def some_pairs(guideline: Guideline, queries: int, per_query: int = 12, seed: int = 0) -> Pairs:
    """Pairs of which queries differ in how many are right, with an honest confidence and a boasting raw one."""
    rng = np.random.default_rng(seed)
    query = np.repeat(np.arange(queries), per_query)
    skill = rng.uniform(0.4, 1.0, queries)[query]
    truth = rng.choice(guideline.grades, len(query))
    answer = np.where(rng.uniform(size=len(query)) < skill, truth, rng.choice(guideline.grades, len(query)))
    ids = np.array([f"q{number}\0🦷" for number in query], dtype=object)
    return {"truth": truth, "given": answer, "confidence": skill, "queries": ids, "raw": skill**0.25}


def report_of(pairs: Pairs, guideline: Guideline, seed: int) -> dict[str, Any]:
    return agreement_report(*(pairs[name] for name in COLUMNS), guideline, seed, {"raw": pairs["raw"]})


def by_loops(pairs: Pairs, seed: int, figure: Callable[[Pairs], float]) -> tuple[float, float]:
    """The interval by definition: draw queries, gather the rows of each as often as it was drawn, measure them."""
    rng, ids = np.random.default_rng(seed), sorted(set(pairs["queries"]))
    rows = [np.flatnonzero(pairs["queries"] == each) for each in ids]
    drawn = []
    for _ in range(module.DRAWS):
        chosen = np.concatenate([rows[number] for number in rng.integers(len(ids), size=len(ids))])
        drawn.append(figure({name: values[chosen] for name, values in pairs.items()}))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def test_report_is_the_bootstrap_written_out(esci: Guideline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAWS", 100)
    pairs = some_pairs(esci, queries=15)
    report = report_of(pairs, esci, seed=3)
    step = {grade: place for place, grade in enumerate(esci.grades)}
    level = {side: np.array([step[grade] for grade in pairs[side]]) for side in ("truth", "given")}
    pairs |= {"human": level["truth"], "machine": level["given"]}

    figures: dict[str, Callable[[Pairs], float]] = {
        "accuracy": lambda p: sk.accuracy_score(p["human"], p["machine"]),
        "within_one": lambda p: np.mean(np.abs(p["human"] - p["machine"]) <= 1),
        "quadratic_kappa": lambda p: sk.cohen_kappa_score(p["human"], p["machine"], weights="quadratic"),
        "macro_f1": lambda p: sk.f1_score(p["human"], p["machine"], average="macro"),
        "ece": lambda p: expected_calibration_error(p["confidence"], p["human"] == p["machine"]),
        "ece_raw": lambda p: expected_calibration_error(p["raw"], p["human"] == p["machine"]),
    }
    for name, figure in figures.items():
        assert report[name]["mean"] == pytest.approx(figure(pairs)), name
        assert (report[name]["low"], report[name]["high"]) == pytest.approx(by_loops(pairs, 3, figure)), name
    for place, level_name in enumerate(report["levels"]):
        one = by_loops(pairs, 3, lambda p, place=place: sk.f1_score(p["human"] == place, p["machine"] == place))  # type: ignore[misc]
        assert (report["f1"][level_name]["low"], report["f1"][level_name]["high"]) == pytest.approx(one)
    assert report["confusion"] == sk.confusion_matrix(level["truth"], level["given"]).tolist()
    assert (report["pairs"], report["queries"]) == (180, 15)
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_intervals_hold_the_mean_and_shrink_with_more_queries(esci: Guideline) -> None:
    few, many = (report_of(some_pairs(esci, queries), esci, seed=0) for queries in (20, 320))
    for name in ("accuracy", "within_one", "quadratic_kappa", "macro_f1"):
        assert few[name]["low"] < few[name]["mean"] < few[name]["high"]
        # 16 times the queries: a quarter of the width
        assert (many[name]["high"] - many[name]["low"]) / (few[name]["high"] - few[name]["low"]) == pytest.approx(0.25, abs=0.1)
    assert many["ece_raw"]["low"] > many["ece"]["high"]


def test_pairs_that_only_repeat_their_query_add_nothing(esci: Guideline) -> None:
    pairs = some_pairs(esci, queries=30, per_query=4)
    thrice = {name: np.tile(values, 3) for name, values in pairs.items()}
    once, again = (report_of(each, esci, seed=1)["accuracy"] for each in (pairs, thrice))
    assert again == pytest.approx(once)


def test_order_of_the_pairs_changes_nothing_and_the_seed_only_the_draws(esci: Guideline) -> None:
    pairs = some_pairs(esci, queries=9)
    report = report_of(pairs, esci, seed=1)
    order = np.random.default_rng(2).permutation(len(pairs["truth"]))
    shuffled = report_of({name: values[order] for name, values in pairs.items()}, esci, seed=1)
    assert shuffled["confusion"] == report["confusion"]
    for name in ("accuracy", "quadratic_kappa", "ece", "ece_raw"):
        assert shuffled[name] == pytest.approx(report[name])
    other = report_of(pairs, esci, seed=2)["quadratic_kappa"]
    assert other["mean"] == report["quadratic_kappa"]["mean"]
    assert other["low"] != report["quadratic_kappa"]["low"]


def test_what_has_no_spread_has_no_interval(esci: Guideline) -> None:
    single = agreement_report(TRUTH, GIVEN, np.full(8, 0.7), ["q"] * 8, esci, seed=0)
    assert single["accuracy"] == {"mean": 5 / 8, "low": None, "high": None}
    assert single["quadratic_kappa"]["mean"] is not None and single["quadratic_kappa"]["low"] is None
    # 'exact' in every query, 'substitute' in one of five, the others in none
    truth = np.array([4, 4, 4, 4, 2])
    report = agreement_report(truth, np.array([4, 4, 4, 4, 4]), np.full(5, 0.7), list("abcde"), esci, seed=0)
    assert report["f1"]["exact"]["low"] is not None
    assert report["f1"]["substitute"] == {"mean": 0.0, "low": None, "high": None}
    assert report["f1"]["irrelevant"] == {"mean": None, "low": None, "high": None}
    assert report["majority_accuracy"] == 4 / 5
    assert "ece_raw" not in report


def test_queries_are_told_apart_by_their_whole_id(esci: Guideline) -> None:
    ids = ["a", "a\0", "", "'", "🦷\n", "🦷", *["x" * 5000] * 2]
    assert agreement_report(TRUTH, GIVEN, np.full(8, 0.7), ids, esci, seed=0)["queries"] == 7


def test_stage_table_hand_worked() -> None:
    columns: Pairs = {
        "truth": np.array([4, 2, 0, 4]),
        "grade": np.array([4, 0, 0, 4]),
        "confidence": np.array([0.9, 0.8, 0.7, 0.5]),
        "settled_by": ["local", "local", "large", "vote"],
        "cost_usd": np.array([0.0, 0.0, 0.02, 0.04]),
        "queries": list("aabb"),
    }
    rows = stage_table(**columns, stages=["local", "small", "large", "vote"], seed=0)
    assert [row["stage"] for row in rows] == ["local", "small", "large", "vote"]
    assert [row["pairs"] for row in rows] == [2, 0, 1, 1]
    assert [row["share"]["mean"] for row in rows] == [0.5, 0.0, 0.25, 0.25]
    assert [row["accuracy"]["mean"] for row in rows] == [0.5, None, 1.0, 1.0]
    assert [row["confidence"]["mean"] for row in rows] == [pytest.approx(0.85), None, 0.7, 0.5]
    assert [row["cost_usd"]["mean"] for row in rows] == [0.0, None, 0.02, 0.04]
    assert (rows[0]["share"]["low"], rows[0]["share"]["high"]) == (0.0, 1.0)  # some draws hold query a twice, some b
    assert rows[0]["accuracy"]["low"] is None  # one query has all that 'local' settled
    json.dumps(rows, allow_nan=False)
    with pytest.raises(WhetstoneError, match=r"settled by \['vote'\]"):
        stage_table(**columns, stages=["local", "small", "large"], seed=0)


def test_stage_intervals_are_the_bootstrap_written_out(esci: Guideline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAWS", 100)
    pairs = some_pairs(esci, queries=20)
    rng = np.random.default_rng(5)
    pairs |= {"stage": rng.choice(np.array(["local", "large"], dtype=object), 240), "usd": rng.uniform(size=240)}
    row = stage_table(
        pairs["truth"], pairs["given"], pairs["confidence"], pairs["stage"], pairs["usd"], pairs["queries"], ["local", "large"], seed=7
    )[1]
    is_right = pairs["truth"] == pairs["given"]
    pairs |= {"is_large": pairs["stage"] == "large", "is_right": is_right}
    figures: dict[str, Callable[[Pairs], float]] = {
        "share": lambda p: p["is_large"].mean(),
        "accuracy": lambda p: p["is_right"][p["is_large"]].mean(),
        "confidence": lambda p: p["confidence"][p["is_large"]].mean(),
        "cost_usd": lambda p: p["usd"][p["is_large"]].mean(),
    }
    for name, figure in figures.items():
        assert row[name]["mean"] == pytest.approx(figure(pairs))
        assert (row[name]["low"], row[name]["high"]) == pytest.approx(by_loops(pairs, 7, figure))


def test_cost_share() -> None:
    cost, dearest, queries = np.array([0.0, 1.0, 3.0, 0.0]), np.array([2.0, 2.0, 3.0, 1.0]), np.array(list("aabc"), dtype=object)
    figures = cost_share(cost, dearest, queries, seed=1)
    assert [figures[name]["mean"] for name in ("usd_per_pair", "dearest_usd_per_pair", "share")] == [1.0, 2.0, 0.5]
    pairs = {"cost": cost, "dearest": dearest, "queries": queries}
    expected = by_loops(pairs, 1, lambda p: p["cost"].sum() / p["dearest"].sum())
    assert (figures["share"]["low"], figures["share"]["high"]) == pytest.approx(expected)
    free = cost_share(np.ones(4), np.zeros(4), queries, seed=1)
    assert free["share"] == {"mean": None, "low": None, "high": None}
    assert free["usd_per_pair"] == {"mean": 1.0, "low": 1.0, "high": 1.0}


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
    fine: Pairs = {"truth": TRUTH, "given": GIVEN, "confidence": np.full(8, 0.7), "queries": ["q"] * 8, "guideline": esci, "seed": 0}
    for column in ("truth", "given", "confidence", "queries"):
        with pytest.raises(WhetstoneError, match="needs"):
            agreement_report(**{**fine, column: fine[column][:-1]})
    with pytest.raises(WhetstoneError, match="at least one"):
        agreement_report(**{name: value[:0] if isinstance(value, np.ndarray | list) else value for name, value in fine.items()})
    with pytest.raises(WhetstoneError, match="same pairs"):
        cost_share(np.ones(2), np.ones(3), ["q"] * 2, seed=0)
