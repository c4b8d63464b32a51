"""report.json: the contract's keys, strictness, order, and what is refused."""

from __future__ import annotations

import json
from datetime import datetime

import numpy as np
import pytest

from whetstone.evaluation.metrics import metric_names
from whetstone.evaluation.report import build_report, report_json
from whetstone.platform.errors import WhetstoneError

FIGURES = {"ndcg@10": {"mean": 0.5, "low": np.float64("nan"), "high": np.inf}, "queries": 1, "segments": {}}
PARTS = {
    "source": "demo",
    "created_at": "2026-11-21T19:00:00Z",
    "catalog": {"products": 1, "categories": 1, "queries": {"train": 0, "dev": 0, "test": 1}, "judgments": 2},
    "systems": {name: FIGURES for name in ("encoder_bce", "base", "bm25", "random")},
    "comparisons": [],
    "champion": "base",
    "promoted": False,
    "reason": "base stays the champion: no checkpoint challenged it.",
}


def test_report_has_the_keys_of_the_contract(report):
    contract = ["source", "created_at", "catalog", "systems", "comparisons", "champion", "promotion"]
    assert list(report) == [*contract, "annotators", "overlap", "notes"]
    assert report["catalog"] == {
        "products": 6764,
        "categories": 36,
        "queries": {"train": 60, "dev": 15, "test": 24},
        "judgments": 4892,
    }
    for system in report["systems"].values():
        assert set(metric_names()) < set(system)
        assert set(system["ndcg@10"]) == {"mean", "low", "high"}
        assert list(system["segments"]) == ["head", "torso", "tail"]
        assert set(system["segments"]["tail"]["recall@100"]) == {"mean", "low", "high"}
    assert set(report["comparisons"][0]) == {"system", "against", "metric", "difference", "low", "high", "p"}
    assert set(report["promotion"]) == {"promoted", "reason"}


def test_json_is_strict_and_reads_back_as_it_was(report):
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    assert json.loads(report_json(report), parse_constant=refuse) == report
    assert report["systems"]["base"]["segments"]["tail"]["ndcg@10"]["low"] is None  # one tail query: no interval


def test_undefined_and_infinite_figures_are_null_and_numpy_numbers_are_numbers():
    report = build_report(**PARTS, further={"count": np.int64(3), "yes": np.bool_(True), "pair": (np.float32(0.5), None)})
    assert report["systems"]["base"]["ndcg@10"] == {"mean": 0.5, "low": None, "high": None}
    assert (report["count"], report["yes"], report["pair"]) == (3, True, [0.5, None])
    assert json.loads(report_json(report)) == report


def test_parts_of_a_report_are_strict_json_too():
    # the gate writes its comparisons so: with one scored query there is no interval
    assert json.loads(report_json({"comparisons": [{"low": float("nan"), "p": np.float64(1.0)}]})) == {
        "comparisons": [{"low": None, "p": 1.0}]
    }


def test_same_parts_give_the_same_bytes():
    assert report_json(build_report(**PARTS)) == report_json(build_report(**PARTS))


def test_systems_stand_in_order():
    assert list(build_report(**PARTS)["systems"]) == ["random", "bm25", "base", "encoder_bce"]


def test_comparisons_keep_the_keys_of_the_contract_alone():
    row = {
        "system": "encoder_bce",
        "against": "base",
        "metric": "mrr",
        "difference": 0.1,
        "low": 0,
        "high": 0.2,
        "p": 0.1,
    }
    assert build_report(**PARTS | {"comparisons": [row | {"segment": "all"}]})["comparisons"] == [row]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"systems": {"base": FIGURES, "encoder_bce": FIGURES}}, "systems lacks random, bm25"),
        ({"catalog": {"products": 1, "categories": 1, "judgments": 1}}, "catalog lacks queries"),
        ({"catalog": PARTS["catalog"] | {"queries": {"train": 1, "test": 1}}}, "catalog.queries lacks dev"),
        ({"comparisons": [{"system": "a"}]}, "comparisons lacks against"),
        ({"further": {"champion": "me"}}, "'champion' would hide"),
        ({"further": {"versions": {"torch": object()}}}, "versions.torch is a object"),
        ({"created_at": datetime(2026, 11, 21)}, "created_at is a datetime"),
    ],
)
def test_what_breaks_the_contract_is_refused(parts, message):
    with pytest.raises(WhetstoneError, match=message):
        build_report(**PARTS | parts)
