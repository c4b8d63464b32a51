"""The table of systems: figures and their segments, comparisons, the random run."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from whetstone.evaluation.contestants import random_run
from whetstone.evaluation.metrics import evaluate_run, metric_names
from whetstone.evaluation.report import compare, summarise
from whetstone.evaluation.significance import bootstrap_means

THREE = ["head", "torso", "tail"]


def test_summary_holds_means_by_system_and_segment(results):
    table = results({"bm25": [0.1, 0.2, 0.6, 0.7], "base": [0.5] * 4}, ["head", "head", "tail", "tail"], "test")
    bm25 = summarise(table, ["ndcg@10"], seed=0)["bm25"]
    assert bm25["ndcg@10"]["mean"] == pytest.approx(0.4)
    assert bm25["ndcg@10"]["low"] < 0.4 < bm25["ndcg@10"]["high"]
    assert bm25["queries"] == 4
    assert list(bm25["segments"]) == ["head", "tail"]
    assert bm25["segments"]["head"]["ndcg@10"]["mean"] == pytest.approx(0.15)
    assert bm25["segments"]["tail"]["queries"] == 2


def test_intervals_are_those_of_the_values(results):
    values = [0.1, 0.2, 0.6, 0.7, 0.3]
    figures = summarise(results({"base": values}, ["head"] * 5), ["ndcg@10"], seed=3)["base"]["ndcg@10"]
    (expected,) = bootstrap_means(np.array(values)[:, None], seed=3)
    assert figures == {"mean": expected.mean, "low": expected.low, "high": expected.high}


def test_undefined_queries_are_not_counted(results):
    figures = summarise(results({"base": [0.4, np.nan, 0.8]}, THREE), ["ndcg@10"])["base"]
    assert figures["ndcg@10"]["mean"] == pytest.approx(0.6)
    assert figures["queries"] == 3
    assert np.isnan(figures["segments"]["torso"]["ndcg@10"]["mean"])


def test_order_of_rows_does_not_matter(per_query):
    shuffled = per_query.sample(frac=1, random_state=1)
    straight, mixed = (json.dumps(summarise(table, metric_names()), sort_keys=True) for table in (per_query, shuffled))
    assert straight == mixed


def test_comparison_is_paired_by_query_whatever_the_order_of_rows(results):
    table = results({"base": [0.1, 0.5, 0.9], "encoder_mnr": [0.2, 0.6, 1.0]}, THREE, "test")
    table = pd.concat([table[:3], table[3:][::-1]])
    (row,) = compare(table, [("encoder_mnr", "base")], ["ndcg@10"])
    assert list(row) == ["system", "against", "metric", "difference", "low", "high", "p"]
    assert (row["system"], row["against"], row["metric"]) == ("encoder_mnr", "base", "ndcg@10")
    assert (row["difference"], row["low"], row["high"]) == pytest.approx((0.1, 0.1, 0.1))
    assert row["p"] == 0.25  # all three better: 2 of the 8 sign patterns are as extreme


def test_comparisons_come_pair_by_pair(per_query):
    rows = compare(per_query, [("base", "bm25"), ("encoder_mnr", "base")], ["ndcg@10", "mrr"])
    assert [(row["system"], row["metric"]) for row in rows] == [(s, m) for s in ("base", "encoder_mnr") for m in ("ndcg@10", "mrr")]


def test_random_run_is_a_run_and_knows_nothing():
    products = [f"p{number}" for number in range(400)]
    run = random_run([f"q{number}" for number in range(50)], products, depth=20, seed=1)
    assert list(run.columns) == ["query_id", "product_id", "rank", "score"]
    assert not run.duplicated(["query_id", "product_id"]).any()
    assert (run.groupby("query_id")["rank"].agg(list).map(lambda ranks: ranks == list(range(1, 21)))).all()
    assert run.groupby("query_id")["score"].is_monotonic_decreasing.all()
    assert run["product_id"].nunique() > 300  # every product has the same chance
    judgments = pd.DataFrame({"query_id": "q0", "product_id": products[:40], "grade": 4})
    assert evaluate_run(run, judgments, sorted(set(run["query_id"])), gains={4: 1.0})["judged@10"].max() < 0.6


def test_random_draw_depends_on_seed_query_and_products_only():
    products = [str(number) for number in range(100)]
    both = random_run(["a", 'b"\n🦆'], products, 10, seed=1)
    alone = random_run(['b"\n🦆'], products[::-1], 10, seed=1)
    pd.testing.assert_frame_equal(both[10:].reset_index(drop=True), alone)
    assert both["product_id"][:10].tolist() != both["product_id"][10:].tolist()
    assert random_run(["a"], products, 10, seed=2)["product_id"].tolist() != both["product_id"][:10].tolist()


def test_random_run_of_a_small_catalog_or_of_nothing():
    assert sorted(random_run(["q"], ["a", "b", "b"], 10, seed=0)["product_id"]) == ["a", "b"]
    assert list(random_run([], ["a"], 10, seed=0).columns) == ["query_id", "product_id", "rank", "score"]
    assert random_run(["q"], [], 10, seed=0).empty
