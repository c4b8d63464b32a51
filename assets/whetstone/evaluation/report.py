"""`report.json`: what an evaluation found, under a contract that others read.

    {"source", "created_at",
     "catalog": {"products", "categories", "queries": {"train", "dev", "test"}, "judgments"},
     "systems": {NAME: {METRIC: {"mean", "low", "high"}, ..., "segments": {SEGMENT: {METRIC: ...}}}},
     "comparisons": [{"system", "against", "metric", "difference", "low", "high", "p"}],
     "champion": NAME, "promotion": {"promoted": bool, "reason"}}

Further keys may follow (who graded how much, overlap, notes, versions); the pages show them as they are
(`tables.further`). The JSON is strict: what is undefined is null. Rows of random, bm25 and base always stand beside the
rest: a figure without them can't be read.
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
COUNTS = ("products", "categories", "judgments")
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

    Args:
        source: name of the source, e.g. "esci".
        created_at: ISO time of the evaluation; given, so that the same evaluation makes the same report.
        catalog: counts: products, categories, queries {train, dev, test}, judgments.
        systems: of `systems.summarise`.
        comparisons: rows of `systems.compare`; other keys of a row are left out.
        champion: who is champion after the gate.
        promoted: whether the gate changed the champion.
        reason: the gate's own words.
        further: more keys, e.g. {"annotators": [{"annotator": ..., "grades": ...}], "overlap": [...], "notes": [...]}.

    Returns:
        JSON types alone; systems in the report's order; NaN and infinity as None.

    Raises:
        WhetstoneError: a baseline or a key of the contract is missing, or a further key hides one of the contract.
    """
    _require(systems, ALWAYS, "systems", "evaluate the baselines too")
    _require(catalog, (*COUNTS, "queries"), "catalog", "count it")
    _require(catalog["queries"], SPLITS, "catalog.queries", "count it, 0 where there is none")
    for row in comparisons:
        _require(row, COMPARISON, "comparisons", "take rows of systems.compare")
    hidden = sorted(set(CONTRACT) & set(further or {}))
    if hidden:
        raise WhetstoneError(f"report: further key {hidden[0]!r} would hide one of the contract; name it otherwise")
    queries = {split: catalog["queries"][split] for split in SPLITS}
    report = {
        "source": source,
        "created_at": created_at,
        "catalog": {**{name: catalog[name] for name in COUNTS}, "queries": queries},
        "systems": {name: systems[name] for name in in_order(systems)},
        "comparisons": [{key: row[key] for key in COMPARISON} for row in comparisons],
        "champion": champion,
        "promotion": {"promoted": promoted, "reason": reason},
        **(further or {}),
    }
    return {key: _plain(value, key) for key, value in report.items()}


def report_json(report: Report) -> str:
    """The report as strict JSON text with a last newline; the same report gives the same bytes."""
    return json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _require(mapping: Mapping[str, Any], keys: Sequence[str], place: str, mend: str) -> None:
    missing = [key for key in keys if key not in mapping]
    if missing:
        raise WhetstoneError(f"report: {place} lacks {', '.join(missing)}; {mend}")


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
    raise WhetstoneError(f"report: {place} is a {type(value).__name__}, which JSON doesn't know; pass text, numbers, lists")
