"""The unit tests that stand in the `.yml` beside each SQL model: given rows in, expected rows out."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

from whetstone.catalog.contracts import CONTRACTS
from whetstone.platform.settings import PROJECT, Settings
from whetstone.platform.sql_contracts import UnitTest, load_contract
from whetstone.platform.sql_models import SqlModel, read_models
from whetstone.retrieval.channels import CHANNELS, run_ranks_sql

SQL = PROJECT / "sql"
LANDED = {"catalog": ("category", "category_name", "text", "text_hash"), "queries": ("segment",)}
WORDS = ("count_channels", "relevant_grade", "irrelevant_grade", "top_grade")
EVERYTHING_IS_FOUND = {"found_least": 1000, "found_share": 1.0}


def columns_of(table: str) -> dict[str, str]:
    """Column types of a table by its contract."""
    schema, name = table.split(".")
    if name == "routed_queries":
        return {"query_id": "VARCHAR", "category": "VARCHAR"}
    if schema == "raw":
        contract = CONTRACTS["products" if name == "catalog" else name]
        return {column.name: column.type for column in contract.columns} | dict.fromkeys(LANDED.get(name, ()), "VARCHAR")
    path = SQL / "marts" / "run.yml" if name.endswith("_run") else SQL / schema / f"{name}.yml"
    return {column.name: column.type for column in load_contract(path).columns if "*" not in column.name}


def models() -> list[SqlModel]:
    made = [path for schema in ("staging", "marts") for path in (SQL / schema).glob("*.yml")]
    known = [f"{path.parent.name}.{path.stem}" for path in made] + [channel.table for channel in CHANNELS]
    known += ["staging.routed_queries", *(f"raw.{name}" for name in ("catalog", "queries", "judgments", "engagement"))]
    return read_models(SQL, {"marts.run_ranks": run_ranks_sql()}, known, [*WORDS, *Settings.model_fields])


CASES = [(model, case) for model in models() for case in model.contract.unit_tests]


@pytest.mark.parametrize(("model", "case"), CASES, ids=[f"{model.path.stem}: {case.name}" for model, case in CASES])
def test_model_makes_the_expected_rows(model: SqlModel, case: UnitTest) -> None:
    connection = duckdb.connect()
    for table in model.tables:
        types = columns_of(table)
        connection.execute(f"create schema if not exists {table.split('.')[0]}")
        connection.execute(f"create table {table} ({', '.join(f'{name} {kind}' for name, kind in types.items())})")
        for row in case.given.get(table, []):
            values = [row[name] if not isinstance(row[name], dict) else None for name in row]
            connection.execute(f"insert into {table} ({', '.join(row)}) values ({', '.join('?' * len(row))})", values)
    parameters = {**EVERYTHING_IS_FOUND, **case.parameters}
    cursor = connection.execute(model.query, {name: parameters[name] for name in model.parameters})
    names = [column[0] for column in cursor.description]
    made = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    shown = case.expect[0].keys() & {"query_id", "product_id"}
    rows = sorted(made, key=lambda row: [str(row[name]) for name in sorted(shown)])
    wanted_rows = sorted(case.expect, key=lambda row: [str(row[name]) for name in sorted(shown)])
    assert [{name: row[name] for name in wanted} for row, wanted in zip(rows, wanted_rows, strict=True)] == wanted_rows


def test_every_model_states_its_grain_and_tests_its_key() -> None:
    for model in models():
        assert model.description.startswith("One row per "), model.table
        names = model.contract.queries()
        assert any(name.startswith("unique") for name in names), model.table
        assert all(column.description for column in model.contract.columns), model.table


def test_unit_tests_would_notice_another_answer() -> None:
    """Guard against a runner that compares nothing: a wrong expectation must fail."""
    model, case = next((m, c) for m, c in CASES if m.path.stem == "curriculum_tiers")
    wrong: list[dict[str, Any]] = [{**row, "tier": "nonsense"} for row in case.expect]
    with pytest.raises(AssertionError):
        test_model_makes_the_expected_rows(model, case.model_copy(update={"expect": wrong}))
