"""Calibrating on held-out judgments: the sample, who is dropped, and a report whose every figure can be worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import pytest

from whetstone.grading.calibrate import calibrate, held_out
from whetstone.grading.calibration import NONE, Stage
from whetstone.grading.cascade import PAPER_THRESHOLDS
from whetstone.grading.guideline import Guideline
from whetstone.grading.ledger import Entry, Ledger

Counting = Callable[..., Any]
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def judged() -> pd.DataFrame:
    """Four queries with five exact and five complementary products each; every other judgment has two raters who differ."""
    rows = [(f"q{query}", f"{kind} {query} {n}", kind) for query in range(4) for kind in ("exact", "complement") for n in range(5)]
    frame = pd.DataFrame(rows, columns=["query_id", "product_id", "text"]).assign(query="hose", category="tools")
    frame["text"] = frame["product_id"]
    is_exact = frame["product_id"].str.startswith("exact")
    return frame.assign(grade=np.where(is_exact, 4, 1), raters=[[4, 4] if exact else [1, 2] for exact in is_exact])


@pytest.fixture
def cheap(esci: Guideline, counting: Counting, judged: pd.DataFrame) -> Counting:
    """Says exact to exact products and substitute to complements, always 0.9 sure: right in half of the cases."""
    gives = {text: (4, 0.9) if text.startswith("exact") else (2, 0.9) for text in judged["text"]}
    return lambda **changes: counting(esci, name="cheap", gives=gives, cost_usd=0.01, **changes)


@pytest.fixture
def dear(esci: Guideline, counting: Counting, judged: pd.DataFrame) -> Counting:
    """Always right, and 0.6 sure."""
    gives = {text: (grade, 0.6) for text, grade in zip(judged["text"], judged["grade"], strict=True)}
    return lambda **changes: counting(esci, **{"name": "dear", "gives": gives, "cost_usd": 1.0, **changes})


@pytest.fixture
def run(judged: pd.DataFrame, ledger: Ledger, esci: Guideline, entry: Entry) -> Run:
    def calibrated(*annotators: Any, target: str = "paper", rows: pd.DataFrame = judged) -> dict[str, Any]:
        found = calibrate(rows, annotators, ledger, esci, entry, target, seed=0)
        return json.loads(json.dumps(found, allow_nan=False))  # as a build reads it back

    return calibrated


def test_the_report_by_hand(run: Run, cheap: Counting, dear: Counting) -> None:
    found = run(cheap(), dear(), target="agreement:1.0")
    assert (found["target"], found["is_met"], found["dropped"]) == ("agreement:1.0", True, [])
    report = found["report"]
    # Without their own query's fold 15 answers of a class are left, and 10 made-up ones that are right like all 30 are: (15 + 1) / (30 + 2)
    # for the cheap stage. So exact is (15 + 5) / 25 = 0.8 sure and substitute (0 + 5) / 25 = 0.2. The dear stage's prior is 31 / 32.
    sure_dear = (15 + 10 * 31 / 32) / 25
    # cheapest with full agreement: the cheap stage settles what it calls exact, the dear one the rest
    assert [stage["threshold"] for stage in found["stages"]] == pytest.approx([0.8, 0.0])
    by_stage = {row["stage"]: row for row in report["stages"]}
    assert [row["pairs"] for row in report["stages"]] == [20, 20, 0, 0]
    assert list(by_stage) == ["cheap", "dear", "vote", "nobody"]
    assert by_stage["cheap"]["share"]["mean"] == by_stage["dear"]["share"]["mean"] == 0.5
    assert by_stage["cheap"]["confidence"]["mean"] == pytest.approx(0.8)
    assert by_stage["dear"]["confidence"]["mean"] == pytest.approx(sure_dear)
    assert by_stage["cheap"]["cost_usd"]["mean"] == pytest.approx(0.01)
    assert by_stage["dear"]["cost_usd"]["mean"] == pytest.approx(1.01)
    assert report["cost"]["usd_per_pair"]["mean"] == pytest.approx(0.51)
    assert report["cost"]["share"]["mean"] == pytest.approx(0.51)
    assert report["accuracy"]["mean"] == report["quadratic_kappa"]["mean"] == 1.0
    # with whole queries left out as above; with pairs left out 16 answers of a class remain, and 33 / 34
    assert report["ece_new_queries"]["mean"] == pytest.approx((0.2 + (1 - sure_dear)) / 2)
    assert report["ece"]["mean"] == pytest.approx((5 / 26 + (1 - (16 + 10 * 33 / 34) / 26)) / 2)
    assert report["ece_raw"]["mean"] == pytest.approx((0.1 + 0.4) / 2)
    assert (report["pairs"], report["queries"], report["majority_accuracy"], report["without_grade"]) == (40, 4, 0.5, 0)
    alone = report["alone"]["cheap"]
    assert (alone["accuracy"]["mean"], alone["within_one"]["mean"]) == (0.5, 1.0)
    assert alone["confusion"] == [[20, 0, 0, 0], [0, 0, 0, 0], [0, 20, 0, 0], [0, 0, 0, 0]]
    assert alone["ece_raw"]["mean"] == pytest.approx(0.4)
    assert alone["ece_new_queries"]["mean"] == pytest.approx(0.2)
    assert alone["ece"]["mean"] == pytest.approx(5 / 26)
    assert [(row["pairs"], row["share_right"]) for row in alone["reliability_before"] if row["pairs"]] == [(40, 0.5)]
    assert [(row["pairs"], row["share_right"]) for row in alone["reliability_after"] if row["pairs"]] == [(20, 0.0), (20, 1.0)]
    # of 80 ordered pairs of raters 40 are a level apart; by chance (40, 20 and 20 of a level) squared distances add up to 110
    assert report["raters"] == {"judgments": 40, "accuracy": 0.5, "within_one": 1.0, "quadratic_kappa": pytest.approx(1 - 40 / 110)}
    # the maps that the build goes on with know all 20 answers of a class
    stages = [Stage(**stage) for stage in found["stages"]]
    assert stages[0].calibration.apply(np.array([4, 2]), np.array([0.9, 0.9])) == pytest.approx([25 / 30, 5 / 30])


@pytest.mark.parametrize(
    ("target", "thresholds", "cost_share", "is_met"),
    [
        ("paper", PAPER_THRESHOLDS[:2], 1.01, False),  # 0.8 is not sure enough for the first: the dear stage is asked for everything
        ("cost:0.3", (0.0, 0.0), 0.01, True),
        ("agreement:0.4", (0.0, 0.0), 0.01, True),
        ("agreement:0.51", (0.8, 0.0), 0.51, True),
    ],
)
def test_thresholds_follow_the_target(
    run: Run, cheap: Counting, dear: Counting, target: str, thresholds: tuple[float, ...], cost_share: float, is_met: bool
) -> None:
    found = run(cheap(), dear(), target=target)
    assert [stage["threshold"] for stage in found["stages"]] == pytest.approx(thresholds)
    assert found["report"]["cost"]["share"]["mean"] == pytest.approx(cost_share)
    assert found["is_met"] or not is_met


def test_a_target_out_of_reach_is_not_met(run: Run, cheap: Counting) -> None:
    found = run(cheap(), target="agreement:0.9")
    assert found["is_met"] is False
    assert found["report"]["accuracy"]["mean"] == 0.5


def test_answers_are_bought_once(run: Run, cheap: Counting, dear: Counting) -> None:
    first, again = run(cheap(), dear()), [cheap(), dear()]
    assert run(*again) == first
    assert [annotator.batches for annotator in again] == [[], []]


def test_stages_that_cannot_be_calibrated_are_dropped_with_the_reason(
    run: Run, cheap: Counting, dear: Counting, judged: pd.DataFrame
) -> None:
    texts = judged["text"].tolist()
    found = run(
        dear(name="silent", silent_on=texts),
        dear(name="failing", fail_on=texts),
        dear(name="too few", silent_on=texts[29:]),
        cheap(),
        dear(),
    )
    assert [stage["name"] for stage in found["stages"]] == ["cheap", "dear"]
    assert found["dropped"] == [
        {"stage": "silent", "why": "it graded 0 of the 40 held-out pairs: the money is spent"},
        {"stage": "failing", "why": "it graded 0 of the 40 held-out pairs: refusal"},
        {"stage": "too few", "why": "it graded 29 of the 40 held-out pairs: the money is spent"},
    ]
    assert found["report"]["pairs"] == 40


def test_answers_to_one_query_are_not_enough(run: Run, cheap: Counting, dear: Counting, judged: pd.DataFrame) -> None:
    rows = judged.assign(query_id=["q"] * 30 + ["other"] * 10)
    found = run(dear(silent_on=judged["text"].tolist()[30:]), cheap(), rows=rows)
    assert [stage["name"] for stage in found["stages"]] == ["cheap"]
    assert found["dropped"][0]["why"].startswith("it graded 30 of the 40")


def test_all_dropped_leaves_nothing_to_report(run: Run, dear: Counting, judged: pd.DataFrame) -> None:
    found = run(dear(silent_on=judged["text"]))
    assert (found["stages"], found["report"], len(found["dropped"])) == ([], None, 1)


def test_stages_are_compared_on_the_pairs_that_all_have_answered(run: Run, cheap: Counting, dear: Counting, judged: pd.DataFrame) -> None:
    # five of the last query were not asked, five of the first were refused: what was refused is an answer without a grade
    found = run(cheap(), dear(silent_on=judged["text"].tolist()[35:], fail_on=judged["text"].tolist()[:5]), target="agreement:0.5")
    report = found["report"]
    assert (report["pairs"] + report["without_grade"], report["alone"]["cheap"]["pairs"]) == (35, 35)
    assert (report["alone"]["dear"]["pairs"], report["alone"]["dear"]["without_grade"]) == (30, 5)


def test_without_judgments_of_two_queries_nobody_is_asked_and_nothing_is_calibrated(
    run: Run, esci: Guideline, counting: Counting, judged: pd.DataFrame
) -> None:
    many = [counting(esci, break_at=0, name=f"stage {number}") for number in range(4)]
    for rows in (judged.iloc[:10], judged.iloc[:0]):
        found = run(*many, rows=rows, target="cost:0.5")
        assert (found["report"], found["is_met"], found["target"]) == (None, False, "paper")
        stages = [Stage(**stage) for stage in found["stages"]]
        assert [stage.threshold for stage in stages] == [*PAPER_THRESHOLDS, PAPER_THRESHOLDS[-1]]
        assert all(stage.calibration == NONE for stage in stages)
        assert stages[0].calibration.apply(np.array([4, 0]), np.array([0.3, 0.8])).tolist() == [0.3, 0.8]


def test_a_stage_survives_json(run: Run, cheap: Counting, dear: Counting, ledger: Ledger) -> None:
    for data in run(cheap(), dear(), target="agreement:1.0")["stages"]:
        assert json.loads(json.dumps(asdict(Stage(**data)))) == data


def judgments(queries: int, products: int) -> pd.DataFrame:
    rows = [(f"q{query}", f"p{product}") for query in range(queries) for product in range(products)]
    return pd.DataFrame(rows, columns=["query_id", "product_id"])


def ids(rows: pd.DataFrame) -> list[tuple[str, str]]:
    return list(rows[["query_id", "product_id"]].itertuples(index=False, name=None))


def test_the_sample_is_stable_and_a_part_of_it_is_a_sample_too() -> None:
    judged = judgments(10, 30)
    sample = held_out(judged, 60)
    assert len(sample) == 60 and len(set(ids(sample))) == 60
    assert ids(held_out(judged.sample(frac=1, random_state=0), 60)) == ids(sample)
    assert ids(held_out(judged, 20)) == ids(sample)[:20]
    assert ids(held_out(judged, 20)) != ids(judged)[:20]
    assert held_out(judged, 20)["query_id"].nunique() >= 7  # where money ends after 20, they are not all of one query
    unsampled = judged[~pd.Series(ids(judged)).isin(ids(sample))]
    assert ids(held_out(judged.drop(unsampled.index[::3]), 60)) == ids(sample)
    # new judgments take places in the sample, and no more than their share of it
    kept = set(ids(held_out(pd.concat([judged, judgments(11, 30).iloc[300:]]), 60))) & set(ids(sample))
    assert len(kept) >= 45


def test_all_are_taken_where_there_are_few_or_no_bound() -> None:
    judged = judgments(3, 4)
    for most in (None, 12, 100):
        assert sorted(ids(held_out(judged, most))) == sorted(ids(judged))
    assert held_out(judged.iloc[:0], 5).empty


def test_ids_that_could_be_mistaken_for_others_are_not() -> None:
    judged = pd.DataFrame({"query_id": ["a b", "a", "1 a", "\ud800"], "product_id": ["c", "b c", "", "x"]})
    assert len(held_out(judged, 4).drop_duplicates()) == 4
    for pair in (judged.iloc[:2], judged.iloc[1:3]):
        assert ids(held_out(pair, 1)) == ids(held_out(pair.iloc[::-1], 1))
