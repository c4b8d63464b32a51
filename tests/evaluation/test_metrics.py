"""Metrics: cases worked by hand, agreement with trec_eval, invariances, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2

import numpy as np
import pandas as pd
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from whetstone.evaluation.metrics import evaluate_run, metric_names
from whetstone.platform.errors import WhetstoneError

ESCI_GAINS = {4: 1.0, 2: 0.1, 1: 0.01, 0: 0.0}
CUTOFFS = (1, 3, 10)
HOSTILE = 'q"1\n, é/🦆'


def run_of(rankings: dict[str, Sequence[str]]) -> pd.DataFrame:
    rows = [(query, product, rank) for query, shown in rankings.items() for rank, product in enumerate(shown, start=1)]
    return pd.DataFrame(rows, columns=["query_id", "product_id", "rank"]).assign(score=lambda run: 1 / run["rank"])


def judgments_of(grades: dict[str, dict[str, int]]) -> pd.DataFrame:
    rows = [(query, product, grade) for query, each in grades.items() for product, grade in each.items()]
    return pd.DataFrame(rows, columns=["query_id", "product_id", "grade"])


def score(rankings: dict[str, Sequence[str]], grades: dict[str, dict[str, int]], **options: object) -> pd.DataFrame:
    options = {"gains": ESCI_GAINS, "cutoffs": CUTOFFS} | options
    queries = options.pop("query_ids", list(grades))
    return evaluate_run(run_of(rankings), judgments_of(grades), queries, **options).set_index("query_id")


def test_hand_worked_query():
    grades = {"q": {"a": 4, "b": 2, "c": 0, "d": 4, "e": 1}}
    row = score({"q": ["b", "a", "x", "c", "d"]}, grades).loc["q"]
    dcg_3 = 0.1 / log2(2) + 1.0 / log2(3)
    assert row["ndcg@3"] == pytest.approx(dcg_3 / (1.0 + 1.0 / log2(3) + 0.1 / log2(4)))
    ideal_10 = 1.0 + 1.0 / log2(3) + 0.1 / log2(4) + 0.01 / log2(5)
    assert row["ndcg@10"] == pytest.approx((dcg_3 + 1.0 / log2(6)) / ideal_10)
    assert row["recall@3"] == 0.5
    assert row["recall@10"] == 1.0
    assert row["precision@1"] == 0.0
    assert row["precision@3"] == pytest.approx(1 / 3)
    assert row["precision@10"] == 0.2  # divided by k though only five were shown
    assert row["map"] == pytest.approx((1 / 2 + 2 / 5) / 2)
    assert row["mrr"] == 0.5
    assert row["embarrassing@10"] == 0.25  # c of b, a, c, d; x is not judged
    assert row["judged@10"] == 0.8


def test_columns_are_the_named_ones_in_order_and_queries_keep_theirs():
    result = evaluate_run(run_of({"b": ["p"]}), judgments_of({"a": {"p": 4}, "b": {"p": 4}}), ["b", "a"], gains=ESCI_GAINS)
    assert list(result.columns) == ["query_id", *metric_names()]
    assert metric_names()[:4] == ["ndcg@10", "ndcg@50", "ndcg@100", "recall@10"]
    assert list(result["query_id"]) == ["b", "a"]


def test_query_left_out_of_the_run_scores_zero():
    row = score({}, {"q": {"a": 4}}).loc["q"]
    assert (row.drop("embarrassing@10") == 0).all()
    assert np.isnan(row["embarrassing@10"])


def test_undefined_is_nan_where_no_ranking_can_score():
    rows = score(
        {"substitutes": ["s"], "irrelevant": ["i"], "unjudged": ["u"]},
        {"substitutes": {"s": 2}, "irrelevant": {"i": 0}, "unjudged": {}},
        query_ids=["substitutes", "irrelevant", "unjudged"],
    )
    relevance = [f"{name}@{k}" for name in ("recall", "precision") for k in CUTOFFS] + ["map", "mrr"]
    assert rows[relevance].isna().all(axis=None)
    assert rows["ndcg@10"].to_list() == [1.0, pytest.approx(np.nan, nan_ok=True), pytest.approx(np.nan, nan_ok=True)]
    assert rows["embarrassing@10"].to_list() == [0.0, 1.0, pytest.approx(np.nan, nan_ok=True)]
    assert rows["judged@10"].to_list() == [1.0, 1.0, 0.0]


def test_embarrassing_and_judged_look_at_the_top_ten_only():
    shown = [f"p{place}" for place in range(12)]
    row = score({"q": shown}, {"q": {"p0": 4, "p1": 1, "p8": 1, "p9": 0, "p10": 0, "p11": 0}}).loc["q"]
    assert row["embarrassing@10"] == 0.25
    assert row["judged@10"] == 0.4


def test_relevant_grade_moves_what_counts_as_relevant():
    grades = {"q": {"a": 4, "b": 2}}
    assert score({"q": ["b", "a"]}, grades).loc["q", "mrr"] == 0.5
    assert score({"q": ["b", "a"]}, grades, relevant_grade=2).loc["q", "mrr"] == 1.0


def test_judgments_of_other_queries_are_ignored():
    assert score({"q": ["a"]}, {"q": {"a": 4}, "other": {"a": 4, "z": 4}}, query_ids=["q"]).loc["q", "recall@1"] == 1.0


def test_no_query_gives_an_empty_table():
    assert len(score({}, {})) == 0


def test_hostile_ids_are_only_ids():
    assert score({HOSTILE: [HOSTILE]}, {HOSTILE: {HOSTILE: 4}}).loc[HOSTILE, "ndcg@1"] == 1.0


grade_tables = st.dictionaries(
    st.integers(0, 4).map(lambda number: f"q{number}"),
    st.dictionaries(st.integers(0, 30).map(str), st.sampled_from(sorted(ESCI_GAINS)), min_size=1, max_size=20),
    min_size=1,
)


@st.composite
def evaluations(draw: st.DrawFn) -> tuple[dict[str, list[str]], dict[str, dict[str, int]]]:
    grades = draw(grade_tables)
    shown = st.permutations([str(number) for number in range(35)]).flatmap(
        lambda order: st.integers(1, 35).map(lambda depth: order[:depth])
    )
    return {query: draw(shown) for query in grades}, grades


@settings(deadline=None, max_examples=40)
@given(evaluations())
def test_agrees_with_trec_eval(evaluation):
    rankings, grades = evaluation
    ours = score(rankings, grades)
    # trec_eval takes integer gains, and orders by score, breaking ties its own way: falling scores leave it none.
    run = {query: {p: float(100 - place) for place, p in enumerate(shown)} for query, shown in rankings.items()}
    hundred = {q: {p: round(100 * ESCI_GAINS[g]) for p, g in each.items()} for q, each in grades.items()}
    cuts = ",".join(map(str, CUTOFFS))
    graded = pytrec_eval.RelevanceEvaluator(hundred, {f"ndcg_cut.{cuts}"}).evaluate(run)
    binary = pytrec_eval.RelevanceEvaluator(grades, {f"recall.{cuts}", f"P.{cuts}", "map", "recip_rank"}, relevance_level=3).evaluate(run)
    for query, row in ours.iterrows():
        names = {f"ndcg@{k}": graded[query][f"ndcg_cut_{k}"] for k in CUTOFFS}
        names |= {f"recall@{k}": binary[query][f"recall_{k}"] for k in CUTOFFS}
        names |= {f"precision@{k}": binary[query][f"P_{k}"] for k in CUTOFFS}
        names |= {"map": binary[query]["map"], "mrr": binary[query]["recip_rank"]}
        for name, theirs in names.items():
            if np.isnan(row[name]):  # nothing to find: trec_eval says 0, we say undefined
                threshold = 1 if name.startswith("ndcg") else 3
                assert max(grades[query].values()) < threshold
                assert theirs == 0
            else:
                assert row[name] == pytest.approx(theirs, abs=1e-9)


@settings(deadline=None, max_examples=25)
@given(evaluations(), st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(evaluation, random):
    rankings, grades = evaluation
    run, judged = run_of(rankings), judgments_of(grades)
    shuffled = [frame.iloc[random.sample(range(len(frame)), len(frame))] for frame in (run, judged)]
    queries = list(grades)
    straight = evaluate_run(run, judged, queries, gains=ESCI_GAINS)
    pd.testing.assert_frame_equal(straight, evaluate_run(*shuffled, queries, gains=ESCI_GAINS), rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(evaluations(), st.integers(0, 33))
def test_moving_a_better_product_up_never_costs(evaluation, place):
    rankings, grades = evaluation
    query = min(rankings)
    shown, gain = list(rankings[query]), lambda product: ESCI_GAINS.get(grades[query].get(product, 0), 0.0)
    place = place % max(1, len(shown) - 1)
    pair = shown[place : place + 2]
    shown[place : place + 2] = sorted(pair, key=gain, reverse=True)
    before, after = score(rankings, grades).loc[query], score(rankings | {query: shown}, grades).loc[query]
    names = [name for name in before.index if name.split("@")[0] in ("ndcg", "recall", "precision", "map", "mrr")]
    # Only grade 4 is relevant, and it has the greatest gain, so the swap can't push a relevant product down either.
    assert (after[names].dropna() >= before[names].dropna() - 1e-12).all()
    if len({gain(product) for product in pair}) == 2 and pair != shown[place : place + 2]:
        deep = score(rankings | {query: shown}, grades, cutoffs=(35,)).loc[query, "ndcg@35"]
        assert deep > score(rankings, grades, cutoffs=(35,)).loc[query, "ndcg@35"]


@settings(deadline=None, max_examples=25)
@given(evaluations())
def test_best_order_scores_one_and_all_lie_between_zero_and_one(evaluation):
    rankings, grades = evaluation
    values = score(rankings, grades).to_numpy()
    assert ((values >= 0) & (values <= 1 + 1e-12) | np.isnan(values)).all()
    best = {query: sorted(each, key=lambda product: -each[product]) for query, each in grades.items()}
    ndcg = score(best, grades)[[f"ndcg@{k}" for k in CUTOFFS]].to_numpy()
    assert (np.isclose(ndcg, 1.0) | np.isnan(ndcg)).all()


def test_rows_of_queries_that_were_not_asked_for_are_ignored():
    rankings, grades = {"q": ["a"], "other": ["z", "a"]}, {"q": {"a": 4}}
    pd.testing.assert_frame_equal(score(rankings, grades), score({"q": ["a"]}, grades))


def test_a_grade_without_a_gain_is_refused():
    with pytest.raises(WhetstoneError, match="grade 3 of product 'a' for query 'q' has no gain"):
        score({"q": ["a"]}, {"q": {"a": 3}})


@pytest.mark.parametrize("times", [(2, 1), (1, 2)])
def test_a_repeated_pair_is_refused(times):
    run, judgments = run_of({"q": ["a"] * times[0]}), judgments_of({"q": {"a": 4}})
    with pytest.raises(ValueError, match="not unique"):
        evaluate_run(run, pd.concat([judgments] * times[1]), ["q"], gains=ESCI_GAINS)
