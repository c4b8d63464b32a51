"""The annotator that the settings name: the demo's truth is part of the simulated one's version, and what can't grade is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from whetstone.grading.annotators import load_annotator
from whetstone.grading.guideline import Guideline
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.settings import Settings

PRODUCTS = pd.DataFrame({"product_id": ["p"], "category_path": [["home", "lamp"]], "attributes": [{"colour": "red"}]})
PAIRS = pd.DataFrame({"query_id": ["q"], "product_id": ["p"], "query": ["red lamp"], "text": ["lamp"]})


def source_with(folder: Path, colour: str | None) -> Any:
    """A demo shop whose one query means a lamp of this colour; without a colour there is no truth file."""
    path = folder / f"{colour}.parquet"
    if colour:
        intent = {"type": "lamp", "wanted": {"colour": colour}, "hard": [], "swaps": [], "complements": [], "pairing": {}}
        pd.DataFrame({"query_id": ["q"], "intent": [json.dumps(intent)]}).to_parquet(path)
    return SimpleNamespace(files={"truth": (path,) if colour else ()}, data=folder)


def settings(**changes: Any) -> Settings:
    return Settings(**{"annotator": "simulated", "source": "demo", "simulated_accuracy": 1.0, **changes})


def test_another_truth_with_equal_texts_is_another_annotator(tmp_path: Path, esci: Guideline) -> None:
    red, again, blue = (load_annotator(settings(), esci, source_with(tmp_path, c), None, PRODUCTS) for c in ("red", "red", "blue"))
    assert red.version == again.version != blue.version
    assert [each.annotate(PAIRS)["grade"].tolist() for each in (red, blue)] == [[4], [2]]


@pytest.mark.parametrize(
    ("changes", "colour", "message"),
    [
        ({}, None, "no truth file"),
        ({"source": "esci"}, "red", "refuses 'esci'"),
        ({"annotator": "cross_encoder"}, "red", "not trained yet"),
    ],
)
def test_what_cannot_grade_is_refused(tmp_path: Path, esci: Guideline, changes: dict[str, Any], colour: str | None, message: str) -> None:
    with pytest.raises(WhetstoneError, match=message):
        load_annotator(settings(**changes), esci, source_with(tmp_path, colour), None, PRODUCTS)
