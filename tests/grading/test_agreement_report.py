"""The agreement report, stages and cost: hand-worked, and their intervals against a bootstrap written out in loops."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk

from whetstone.grading import agreement as module
from whetstone.grading.agreement import agreement_report, bootstrapped, stage_table
from whetstone.grading.guideline import Guideline

TRUTH = np.array([4, 4, 4, 2, 2, 1, 0, 0])
GIVEN = np.array([4, 4, 2, 2, 0, 1, 0, 4])

Pairs = dict[str, Any]


def calibration_error(confidence: np.ndarray, is_right: np.ndarray) -> float:
    """By definition: the gap of each of 15 bins, weighted by its pairs."""
    place = np.minimum((confidence * 15).astype(int), 14)
    return float(sum(abs((confidence - is_right)[place == each].sum()) for each in range(15)) / len(confidence))


def some_pairs(guideline: Guideline, queries: int, per_query: int = 12, seed: int = 0) -> Pairs:
    """Pairs of which queries differ in how many are right, with an honest confidence and a boasting raw one."""
    rng = np.random.default_rng(seed)
    query = np.repeat(np.arange(queries), per_query)
    skill = rng.uniform(0.4, 1.0, queries)[query]
    truth = rng.choice(guideline.grades, len(query))
    answer = np.where(rng.uniform(size=len(query)) < skill, truth, rng.choice(guideline.grades, len(query)))
    return {"truth": truth, "given": answer, "confidence": skill, "queries": query, "raw": skill**0.25}


def report_of(pairs: Pairs, guideline: Guideline, seed: int) -> dict[str, Any]:
    told = {"ece": pairs["confidence"], "ece_raw": pairs["raw"]}
    return agreement_report(pairs["truth"], pairs["given"], told, pairs["queries"], guideline, seed)


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
        "ece": lambda p: calibration_error(p["confidence"], p["human"] == p["machine"]),
        "ece_raw": lambda p: calibration_error(p["raw"], p["human"] == p["machine"]),
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
    single = agreement_report(TRUTH, GIVEN, {"ece": np.full(8, 0.7)}, np.zeros(8), esci, seed=0)
    assert single["accuracy"] == {"mean": 5 / 8, "low": None, "high": None}
    assert single["quadratic_kappa"]["mean"] is not None and single["quadratic_kappa"]["low"] is None
    # 'exact' in every query, 'substitute' in one of five, the others in none
    truth = np.array([4, 4, 4, 4, 2])
    report = agreement_report(truth, np.array([4, 4, 4, 4, 4]), {"ece": np.full(5, 0.7)}, np.arange(5), esci, seed=0)
    assert report["f1"]["exact"]["low"] is not None
    assert report["f1"]["substitute"] == {"mean": 0.0, "low": None, "high": None}
    assert report["f1"]["irrelevant"] == {"mean": None, "low": None, "high": None}
    assert report["majority_accuracy"] == 4 / 5
    assert "ece_raw" not in report


def test_stage_table_hand_worked() -> None:
    columns: Pairs = {
        "is_right": np.array([True, False, True, True]),
        "confidence": np.array([0.9, 0.8, 0.7, 0.5]),
        "settled_by": ["local", "local", "large", "vote"],
        "cost_usd": np.array([0.0, 0.0, 0.02, 0.04]),
    }
    rows = stage_table(pd.DataFrame(columns), ["local", "small", "large", "vote"], np.array([0, 0, 1, 1]), seed=0)
    assert [row["stage"] for row in rows] == ["local", "small", "large", "vote"]
    assert [row["pairs"] for row in rows] == [2, 0, 1, 1]
    assert [row["share"]["mean"] for row in rows] == [0.5, 0.0, 0.25, 0.25]
    assert [row["accuracy"]["mean"] for row in rows] == [0.5, None, 1.0, 1.0]
    assert [row["confidence"]["mean"] for row in rows] == [pytest.approx(0.85), None, 0.7, 0.5]
    assert [row["cost_usd"]["mean"] for row in rows] == [0.0, None, 0.02, 0.04]
    assert (rows[0]["share"]["low"], rows[0]["share"]["high"]) == (0.0, 1.0)  # some draws hold query a twice, some b
    assert rows[0]["accuracy"]["low"] is None  # one query has all that 'local' settled
    json.dumps(rows, allow_nan=False)


def test_stage_intervals_are_the_bootstrap_written_out(esci: Guideline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAWS", 100)
    pairs = some_pairs(esci, queries=20)
    rng = np.random.default_rng(5)
    pairs |= {"stage": rng.choice(np.array(["local", "large"], dtype=object), 240), "usd": rng.uniform(size=240)}
    is_right = pairs["truth"] == pairs["given"]
    table = pd.DataFrame({**pairs, "is_right": is_right}).rename(columns={"stage": "settled_by", "usd": "cost_usd"})
    row = stage_table(table, ["local", "large"], pairs["queries"], seed=7)[1]
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


def test_a_ratio_of_sums_is_drawn_by_queries() -> None:
    cost, dearest, queries = np.array([0.0, 1.0, 3.0, 0.0]), np.array([2.0, 2.0, 3.0, 1.0]), np.array([0, 0, 1, 2])
    share = bootstrapped(lambda weight: {"share": (weight @ cost) / (weight @ dearest)}, queries, seed=1)["share"]
    expected = by_loops({"cost": cost, "dearest": dearest, "queries": queries}, 1, lambda p: p["cost"].sum() / p["dearest"].sum())
    assert share["mean"] == 0.5 and (share["low"], share["high"]) == pytest.approx(expected)
