"""`report.json`: what an evaluation found, under a contract that others read.

    {"source", "created_at",
     "catalog": {"products", "categories", "queries": {"train", "dev", "test"}, "judgments"},
     "systems": {NAME: {METRIC: {"mean", "low", "high"}, ..., "segments": {SEGMENT: {METRIC: ...}}}},
     "comparisons": [{"system", "against", "metric", "difference", "low", "high", "p"}],
     "champion": NAME, "promotion": {"promoted": bool, "reason"}}

Further keys may follow (who graded how much, overlap, notes, versions); the pages show them as they are (`tables.sections`). The JSON
is strict: what is undefined is null. Rows of random, bm25 and base always stand beside the rest: a figure without them can't be read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from whetstone.evaluation.systems import in_order
from whetstone.platform.errors import WhetstoneError

ALWAYS = ("random", "bm25", "base")
CONTRACT = ("source", "created_at", "catalog", "systems", "comparisons", "champion", "promotion")
COMPARISON = ("system", "against", "metric", "difference", "low", "high", "p")
COUNTS = ("products", "categories", "queries", "judgments")
SPLITS = ("train", "dev", "test")
Report = dict[str, Any]


def build_report(
    *,
    source: str,
    created_at: str,
    catalog: Mapping[str, Any],
    systems: Mapping[str, Mapping[str, Any]],
    comparisons: Sequence[Mapping[str, Any]],
    champion: str,
    promoted: bool,
    reason: str,
    further: Mapping[str, Any] | None = None,
) -> Report:
    """Put a report together and hold it to the contract.

    `catalog` holds counts (see the module), `systems` is of `systems.summarise`, `comparisons` are rows of `systems.compare`, `reason` is
    the gate's own words, `further` are more keys; other keys than the contract's are left out of the rest.

    Returns JSON types alone, NaN and infinity as None. A baseline or a key of the contract that is missing, or a further key that hides
    one of the contract, is a WhetstoneError.
    """
    if systems and (missing := [name for name in ALWAYS if name not in systems]):
        raise WhetstoneError(f"report: systems lacks {', '.join(missing)}; evaluate the baselines too")
    if hidden := sorted(set(CONTRACT) & set(further or {})):
        raise WhetstoneError(f"report: further key {hidden[0]!r} would hide one of the contract; name it otherwise")
    counts = _only(COUNTS, catalog, "catalog")
    report = {
        "source": source,
        "created_at": created_at,
        "catalog": {**counts, "queries": _only(SPLITS, counts["queries"], "catalog.queries")},
        "systems": {name: systems[name] for name in in_order(systems)},
        "comparisons": [_only(COMPARISON, row, "comparisons") for row in comparisons],
        "champion": champion,
        "promotion": {"promoted": promoted, "reason": reason},
        **(further or {}),
    }
    return dict(_plain(report, "report"))


def report_json(report: Report) -> str:
    """A report, or any part of one, as strict JSON text with a last newline; the same content gives the same bytes."""
    return json.dumps(_plain(report, "report"), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _only(keys: Sequence[str], mapping: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Those keys of a mapping, all of which it must have."""
    if missing := [key for key in keys if key not in mapping]:
        raise WhetstoneError(f"report: {place} lacks {', '.join(missing)}; the contract in evaluation/report.py needs it")
    return {key: mapping[key] for key in keys}


def _plain(value: Any, place: str) -> Any:
    """A value in JSON's own types: numpy scalars and tuples unpacked, what is not finite as None."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(each, f"{place}.{key}") for key, each in value.items()}
    if isinstance(value, Sequence):
        return [_plain(each, f"{place}[{index}]") for index, each in enumerate(value)]
    raise WhetstoneError(f"{place} is a {type(value).__name__}, which JSON doesn't know; pass text, numbers, lists")
