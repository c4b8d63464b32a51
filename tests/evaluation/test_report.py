"""report.json: the contract's keys, the systems and comparisons that are shown, and that the JSON is strict."""

from __future__ import annotations

import json

import numpy as np

from whetstone.evaluation.metrics import metric_names
from whetstone.evaluation.report import plain, report_json

BASELINES = ["random", "dictionary", "bm25", "base", "rrf_base", "hybrid_base"]


def test_report_has_the_keys_of_the_contract(report):
    contract = ["source", "created_at", "catalog", "systems", "comparisons", "champion", "promotion"]
    assert list(report)[:7] == contract
    assert set(report) >= {"separability", "warnings", "tiers", "overlap", "versions"}
    assert report["catalog"] == {
        "products": 6764,
        "categories": 36,
        "queries": {"train": 60, "dev": 15, "test": 24},
        "judgments": 4892,
    }
    for system in report["systems"].values():
        assert {*metric_names(), "ndcg_label@10"} < set(system)
        assert set(system["ndcg@10"]) == {"mean", "low", "high"}
        assert list(system["segments"]) == ["head", "torso", "tail"]
        assert set(system["segments"]["tail"]["recall@100"]) == {"mean", "low", "high"}
    assert set(report["comparisons"][0]) == {"system", "against", "metric", "difference", "low", "high", "p"}
    assert report["promotion"] == {"promoted": True, "reason": "encoder_mnr becomes the champion: it is better."}


def test_baselines_come_first_and_of_the_checkpoints_hybrids_only_the_champions(report):
    assert list(report["systems"]) == [*BASELINES, "encoder_mnr", "encoder_bce", "rrf_champion", "hybrid_champion"]
    assert report["versions"] == {name: f"v-{name}" for name in ("base", "encoder_mnr", "encoder_bce")}


def test_the_champion_is_compared_with_every_baseline(report):
    compared = {(row["system"], row["against"]) for row in report["comparisons"]}
    assert {("encoder_mnr", other) for other in ("base", "bm25", "hybrid_base")} <= compared
    assert {("hybrid_champion", other) for other in ("base", "bm25", "hybrid_base", "rrf_champion")} <= compared
    assert ("encoder_bce", "base") in compared and len(report["comparisons"]) == 4 * len(compared)


def test_without_a_judged_test_query_nothing_is_measured(tables, request):
    tables["marts.evaluation"] = tables["marts.evaluation"][:0]
    report = request.getfixturevalue("report")
    assert (report["systems"], report["comparisons"], report["versions"]) == ({}, [], {})


def test_json_is_strict_and_reads_back_as_it_was(report):
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    assert json.loads(report_json(report), parse_constant=refuse) == report
    assert report["systems"]["base"]["segments"]["tail"]["ndcg@10"]["low"] is None  # one tail query: no interval
    assert report_json(report) == report_json(json.loads(report_json(report)))


def test_undefined_and_infinite_figures_are_null_and_numpy_numbers_are_numbers():
    found = plain({"count": np.int64(3), "yes": np.bool_(True), "pair": (np.float32(0.5), None), "low": np.float64("nan"), "high": np.inf})
    assert found == {"count": 3, "yes": True, "pair": [0.5, None], "low": None, "high": None}
