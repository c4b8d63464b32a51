"""The engagement audit: a stable sample, conflicts beyond chance, what a re-judgement supersedes, what the summary estimates."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from whetstone.catalog.demo.engagement import simulate
from whetstone.grading.annotator import PAIR_ID
from whetstone.grading.audit import ENGAGED, IGNORED, find_conflicts, in_sample
from whetstone.grading.engagement import debiased, examination_exponent
from whetstone.grading.guideline import Guideline


def demo_log(seed: int) -> pd.DataFrame:
    """What the demo shop's shoppers did with 100 queries of 40 candidates, and the pairs' `truth`."""
    rng = np.random.default_rng(seed)
    pairs = pd.DataFrame({"query": np.repeat(np.arange(100), 40), "row": np.tile(np.arange(40), 100)})
    pairs["truth"] = rng.choice([4, 2, 1, 0], size=len(pairs), p=[0.2, 0.2, 0.2, 0.4])
    log = simulate(pairs, rng.integers(50, 2000, 100), rng).merge(pairs)
    return log.rename(columns={"query": "query_id", "row": "product_id"})


def graded_and_rates(*rows: tuple[str, int, float, int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(product, grade, exposure, clicks) of one query, all sampled and machine-graded."""
    frame = pd.DataFrame(rows, columns=["product_id", "grade", "exposure", "clicks"]).assign(query_id="q")
    graded = frame[[*PAIR_ID, "grade"]].assign(settled_by="claude_small", is_sampled=True)
    return graded, frame[[*PAIR_ID, "exposure", "clicks"]].assign(rate=frame["clicks"] / frame["exposure"])


def typical(top: int = 4, bottom: int = 0) -> list[tuple[str, int, float, int]]:
    """100 pairs each of the best and the worst grade, 100 looks a pair: rates 0.5 and 0.02."""
    return [(f"{name} {n}", grade, 100.0, clicks) for name, grade, clicks in (("good", top, 50), ("bad", bottom, 2)) for n in range(100)]


def test_sample_is_its_share_and_a_matter_of_the_pair_alone(make_pairs: Callable[..., pd.DataFrame], hostile_texts: list[str]) -> None:
    pairs = make_pairs(4000)
    drawn = in_sample(pairs, seed=7, share=0.3)
    assert drawn.dtype == bool and drawn.mean() == pytest.approx(0.3, abs=0.025)  # 3.5 standard deviations
    assert in_sample(pairs, seed=7, share=0.1).mean() == pytest.approx(0.1, abs=0.02)
    assert not (in_sample(pairs, seed=7, share=0.1) & ~drawn).any()  # a larger share only adds pairs
    assert (in_sample(pairs, seed=8, share=0.3) != drawn).mean() == pytest.approx(0.42, abs=0.03)  # another seed draws independently
    order = np.random.default_rng(0).permutation(4000)
    np.testing.assert_array_equal(in_sample(pairs.iloc[order], seed=7, share=0.3), drawn[order])
    grown = pd.concat([make_pairs(300, "other"), pairs.assign(query_id="renamed", product_id="renamed")])
    np.testing.assert_array_equal(in_sample(grown, seed=7, share=0.3)[300:], drawn)
    hostile = pd.DataFrame([(a, b) for a in [*hostile_texts, "\ud800"] for b in hostile_texts], columns=["query", "text"])
    assert len(in_sample(hostile, seed=7, share=0.3)) == len(hostile)
    assert in_sample(pairs.iloc[:0], seed=7, share=0.3).shape == (0,)


def test_sample_is_independent_of_other_draws_from_the_same_texts_and_seed(make_pairs: Callable[..., pd.DataFrame]) -> None:
    # the simulated annotator errs by such a draw: a sample that shared it would hold its right answers alone
    pairs = make_pairs(4000)
    hashes = [
        hashlib.sha256(json.dumps([query, text, 7]).encode()).digest() for query, text in zip(pairs["query"], pairs["text"], strict=True)
    ]
    is_low = np.array([digest[0] < 128 for digest in hashes])
    assert is_low[in_sample(pairs, seed=7, share=0.3)].mean() == pytest.approx(0.5, abs=0.05)


def test_conflicts_by_hand(esci: Guideline) -> None:
    graded, rates = graded_and_rates(
        *typical(),
        ("clicked", 0, 100.0, 48),  # rate 0.48; 48 clicks where 2.5 are to be expected
        ("one lucky click", 0, 2.0, 1),  # rate 0.5, but P(1 or more | mean 0.05) = 0.05
        ("often seen, a bit liked", 0, 98.0, 1),
        ("passed by", 4, 80.0, 8),  # rate 0.1; P(8 or fewer | mean 39) is nil
        ("hardly seen", 4, 4.0, 0),  # rate 0, but P(0 | mean 2) = 0.135
        ("below its like", 4, 16.0, 2),  # rate 0.125, P(2 or fewer | mean 7.85) = 0.0155
        ("a substitute", 2, 100.0, 0),  # labels between say nothing
        ("complement", 1, 100.0, 90),
    )
    rows, reason = find_conflicts(graded, rates, esci)
    assert reason is None
    columns = ["product_id", "grade", "label", "settled_by", "kind", "exposure", "clicks", "rate"]
    assert rows[columns].to_numpy().tolist() == [
        ["clicked", 0, 0, "claude_small", ENGAGED, 100.0, 48, 0.48],
        ["passed by", 4, 2, "claude_small", IGNORED, 80.0, 8, 0.1],
    ]


@pytest.mark.parametrize(("clicks", "kinds"), [(60, []), (320, [ENGAGED])])
def test_improbable_is_not_enough(esci: Guideline, clicks: int, kinds: list[str]) -> None:
    # with 1000 looks 60 clicks are improbable for label 0 (20 in 1000), yet nowhere near what relevant products get
    graded, rates = graded_and_rates(*typical(), ("popular", 0, 1000.0, clicks))
    assert find_conflicts(graded, rates, esci)[0]["kind"].tolist() == kinds


def test_a_much_seen_wrong_grade_does_not_pass_for_typical(esci: Guideline) -> None:
    graded, rates = graded_and_rates(*typical(), ("best seller", 0, 1e6, 500_000), ("clicked", 0, 100.0, 40))
    assert find_conflicts(graded, rates, esci)[0]["product_id"].tolist() == ["best seller", "clicked"]


def test_typical_rates_come_from_all_pairs_and_conflicts_from_the_sampled(esci: Guideline) -> None:
    graded, rates = graded_and_rates(*typical(), ("clicked", 0, 100.0, 48), ("clicked too", 0, 100.0, 48))
    graded.loc[graded["product_id"] != "clicked too", "is_sampled"] = False
    assert find_conflicts(graded, rates, esci)[0]["product_id"].tolist() == ["clicked too"]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([("good", 4, 100.0, 5), ("bad", 0, 100.0, 50)], "click label 2 no more than label 0"),
        ([("good", 4, 100.0, 5), ("bad", 0, 100.0, 5)], "click label 2 no more than label 0"),
        ([("good", 4, 100.0, 50), ("so so", 2, 100.0, 5)], "pairs of both label 2 and label 0"),
        ([("bad", 0, 100.0, 50)], "pairs of both label 2 and label 0"),
        ([], "no engagement"),
    ],
)
def test_engagement_that_tells_nothing_has_a_reason(esci: Guideline, rows: list[tuple[str, int, float, int]], reason: str) -> None:
    graded, rates = graded_and_rates(*typical())
    if rows:
        graded, rates = graded_and_rates(*rows)
    conflicts, found = find_conflicts(graded, rates if rows else rates.iloc[:0], esci)
    assert conflicts.empty and found and reason in found


def test_labels_come_from_the_guideline(esci: Guideline) -> None:
    best, worst = (level.model_dump() for level in (esci.levels[0], esci.levels[-1]))
    levels = [{**best, "grade": 3, "label": 1}, {**worst, "grade": 1}]
    two = Guideline(**{**esci.model_dump(), "levels": levels, "relevant_grade": 3, "irrelevant_grade": 1})
    graded, rates = graded_and_rates(*typical(3, 1), ("clicked", 1, 100.0, 48), ("passed by", 3, 80.0, 8))
    assert find_conflicts(graded, rates, two)[0][["product_id", "label", "kind"]].to_numpy().tolist() == [
        ["clicked", 0, ENGAGED],
        ["passed by", 1, IGNORED],
    ]


def test_planted_errors_of_the_demo_log_are_found(esci: Guideline) -> None:
    rng = np.random.default_rng(4)
    log = demo_log(seed=2)
    # the grades that an audit meets: 6 % of the exact pairs passed off as irrelevant, and the reverse
    is_wrong = log["truth"].isin([0, 4]) & (rng.random(len(log)) < 0.06)
    graded = log[PAIR_ID].assign(grade=log["truth"].where(~is_wrong, 4 - log["truth"]), settled_by="claude_small", is_sampled=True)
    rates = debiased(log, examination_exponent(log, graded))
    rows, _ = find_conflicts(graded, rates, esci)
    checked = graded.assign(is_wrong=is_wrong).merge(rates, on=PAIR_ID).merge(rows[[*PAIR_ID, "kind"]], on=PAIR_ID, how="left")
    for grade, kind in ((0, ENGAGED), (4, IGNORED)):
        told = checked[checked["grade"] == grade]
        is_conflict = told["kind"] == kind
        well_exposed = told[told["is_wrong"] & (told["exposure"] >= 20)]
        assert len(well_exposed) > 20 and (well_exposed["kind"] == kind).mean() >= 0.9
        precision, base_rate = told.loc[is_conflict, "is_wrong"].mean(), told["is_wrong"].mean()
        assert precision >= 0.8 and precision > 4 * base_rate
    shuffled, _ = find_conflicts(graded.sample(frac=1, random_state=0), rates.sample(frac=1, random_state=1), esci)
    pd.testing.assert_frame_equal(shuffled, rows)


def test_right_grades_have_hardly_a_conflict(esci: Guideline) -> None:
    log = demo_log(seed=3)
    graded = log[PAIR_ID].assign(grade=log["truth"], settled_by="claude_small", is_sampled=True)
    rows, reason = find_conflicts(graded, debiased(log, examination_exponent(log, graded)), esci)
    assert reason is None and len(rows) <= 0.01 * len(graded)
