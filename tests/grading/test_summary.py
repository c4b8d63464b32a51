"""What grading says in a report: on a tiny warehouse, as JSON and as text for a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from whetstone.grading.calibrate import calibrate
from whetstone.grading.guideline import Guideline
from whetstone.grading.ledger import Entry, Ledger, grade_through
from whetstone.grading.summary import agreement_text, plots, sections
from whetstone.platform.warehouse import Warehouse

STAGE = ["stage", "asked", "settled", "failed", "unanswered", "why", "new", "new_usd"]
AUDIT = ["graded", "sampled", "sampled_machine", "conflicts", "rejudged", "changed", "superseded", "disputed"]


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """Two categories, graded and audited; in the second everything is a human's and nobody clicked."""
    made = Warehouse(database=str(tmp_path / "shop.duckdb"))
    rules = [("easy_positive", None), ("easy_positive", "over the cap"), ("judged", None)]
    stages = {
        "tools": [("human", 3, 3, 0, 0, None, 0, 0.0), ("cheap", 9, 5, 1, 2, "no money", 6, 0.5), ("vote", 0, 3, 0, 0, None, 0, 0.0)],
        "toys": [("human", 4, 4, 0, 0, None, 0, 0.0), ("cheap", 0, 0, 0, 0, None, 0, 0.0), ("vote", 0, 0, 0, 0, None, 0, 0.0)],
    }
    audits = {"tools": (30, 10, 8, 3, 2, 1, 1, 0), "toys": (20, 6, 0, 0, 0, 0, 0, 0)}
    errors = {"tools": (0.25, 0.125, 1.5, None), "toys": (None, None, None, "nobody clicks")}
    for category in ("toys", "tools"):
        proposed = pd.DataFrame(rules, columns=["rule", "dropped"]).assign(query_id="q", product_id="p")
        made.replace("marts.grade_proposals", proposed, category)
        made.replace("meta.grading", pd.DataFrame(stages[category], columns=STAGE).astype({"why": object}), category)
        facts = dict(zip(AUDIT, audits[category], strict=True))
        facts |= dict(zip(["sample_error_before", "sample_error_after", "examination_exponent", "reason"], errors[category], strict=True))
        words = {name: object if name == "reason" else float for name in facts}
        made.replace("meta.audit", pd.DataFrame([facts]).astype(words), category)
    return made


@pytest.fixture
def found(warehouse: Warehouse, esci: Guideline, entry: Entry, counting: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """What a calibration finds for a stage that is half right, as a build reads it back."""

    def make(raters: Any = ([4, 4],) * 40) -> dict[str, Any]:
        texts = [f"product {number}" for number in range(40)]
        judged = pd.DataFrame({"query_id": [f"q{n % 4}" for n in range(40)], "product_id": texts, "query": "hose", "text": texts})
        judged = judged.assign(category="tools", grade=4, raters=list(raters))
        gives = {text: (4 if number < 20 else 0, 0.8) for number, text in enumerate(texts)}
        ledger = Ledger(warehouse.get_connection)
        result = calibrate(judged, [counting(esci, name="cheap", gives=gives)], ledger, esci, entry, "paper", 0)
        return json.loads(json.dumps({**result, "warnings": ["claude_small: no key"]}))

    return make


def test_sections_of_a_report(warehouse: Warehouse, found: Callable[..., dict[str, Any]]) -> None:
    said = sections(warehouse.read, found())
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    assert said["warnings"] == ["claude_small: no key"]
    assert said["candidates"] == [
        {"rule": "easy_positive", "what": "kept", "pairs": 2},
        {"rule": "easy_positive", "what": "over the cap", "pairs": 2},
        {"rule": "judged", "what": "kept", "pairs": 2},
    ]
    names = ["stage", "asked", "settled", "failed", "unanswered", "new_in_last_build", "usd_of_last_build", "why_unanswered"]
    assert said["grades"] == [
        dict(zip(names, row, strict=True))
        for row in (("human", 7, 7, 0, 0, 0, 0.0, None), ("cheap", 9, 5, 1, 2, 6, 0.5, "no money"), ("vote", 0, 3, 0, 0, 0, 0.0, None))
    ]
    assert "7.0" not in json.dumps(said["grades"])  # counts are whole numbers
    assert said["spending"] == [
        {"annotator": "cheap", "category": "tools", "day": "2026-01-31", "answers": 40, "usd": 10.0, "is_pretended": True}
    ]
    # errors are of the machine's sampled grades: the second category, all human, doesn't dilute them
    assert said["engagement_audit"] == [
        {
            **dict(
                zip(
                    ["graded", "sampled", "conflicts", "rejudged", "changed", "superseded", "disputed"],
                    (50, 16, 3, 2, 1, 1, 0),
                    strict=True,
                )
            ),
            **{"error_before": 0.25, "error_after": 0.125, "examination_exponent": 1.5, "reason": "nobody clicks"},
        }
    ]


def test_agreement_is_a_row_for_each_annotator_and_for_what_to_hold_it_against(
    warehouse: Warehouse, found: Callable[..., dict[str, Any]]
) -> None:
    rows = {row["annotator"]: row for row in sections(warehouse.read, found())["agreement_with_humans"]}
    assert list(rows) == ["cascade", "cheap", "always the commonest grade", "human raters among themselves"]
    assert rows["cheap"]["accuracy"].startswith("0.500 [")
    assert (rows["cheap"]["pairs"], rows["cheap"]["queries"]) == (40, 4)
    assert rows["always the commonest grade"]["accuracy"] == "1.000"
    assert rows["human raters among themselves"]["accuracy"] == "1.000"
    settled = {row["stage"]: row for row in sections(warehouse.read, found())["settled_by"]}
    assert list(settled) == ["cheap", "vote", "nobody", "all"]
    assert sum(settled[name]["pairs"] for name in ("cheap", "vote", "nobody")) == settled["all"]["pairs"] == 40
    assert settled["nobody"]["accuracy"] is None
    assert settled["all"]["usd_per_pair"].startswith("0.250000")


def test_raters_that_are_not_known_are_left_out(warehouse: Warehouse, found: Callable[..., dict[str, Any]]) -> None:
    rows = sections(warehouse.read, found(raters=[np.nan] * 20 + [[4]] * 20))["agreement_with_humans"]
    assert "human raters among themselves" not in [row["annotator"] for row in rows]


def test_text_for_a_terminal_has_no_holes(found: Callable[..., dict[str, Any]]) -> None:
    text = agreement_text(found())
    assert "cascade" in text and "always the commonest grade" in text and text.endswith("claude_small: no key")
    assert "NaN" not in text and "nan" not in text.split() and "None" not in text
    assert all(len(line) < 200 for line in text.splitlines())


def test_without_judgments_there_is_nothing_to_show_but_the_warnings(
    warehouse: Warehouse, esci: Guideline, entry: Entry, counting: Callable[..., Any]
) -> None:
    pairs = pd.DataFrame({"query_id": ["q"], "product_id": ["p"], "query": ["hose"], "text": ["green hose"]})
    grade_through(Ledger(warehouse.get_connection), counting(esci), pairs, esci, entry)
    nothing: dict[str, Any] = {"report": None, "warnings": ["claude_small: no key"]}
    said = sections(warehouse.read, nothing)
    assert "agreement_with_humans" not in said and "settled_by" not in said
    assert said["spending"] == [
        {"annotator": "counting", "category": None, "day": "2026-01-31", "answers": 1, "usd": 0.25, "is_pretended": True}
    ]
    assert agreement_text(nothing) == "no agreement was measured\nclaude_small: no key"
    assert plots(nothing) == {}


def test_an_empty_shop_has_a_report_too(tmp_path: Path, warehouse: Warehouse) -> None:
    Ledger(warehouse.get_connection).create()
    with warehouse.get_connection() as connection:
        for table in ("marts.grade_proposals", "meta.grading", "meta.audit"):
            connection.execute(f"delete from {table}")
    said = sections(warehouse.read, {"report": None, "warnings": []})
    assert (said["candidates"], said["grades"], said["spending"]) == ([], [], [])
    assert set(said["engagement_audit"][0].values()) == {None}


def test_pictures_are_pngs(found: Callable[..., dict[str, Any]]) -> None:
    made = plots(found())
    assert list(made) == ["Agreement with human judgments"]
    assert all(png.startswith(b"\x89PNG") for png in made.values())
