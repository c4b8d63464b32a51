"""Each kind of test in a contract finds the rows that break it, and no others."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from whetstone.platform.sql_contracts import Contract, load_contract

CONTRACT = """
columns:
  - {name: id, type: INTEGER, description: "Id.", tests: [not_null, unique]}
  - {name: odd name, type: VARCHAR, description: "Text.", tests: [not_null]}
  - {name: grade, type: INTEGER, description: "Grade, null where nobody gave one."}
tests:
  - expression_is_true: grade >= 0
    severity: warn
  - accepted_values: {column: 'grade', values: [1, 2]}
  - relationships: {column: grade, to: parents, field: id}
"""


@pytest.fixture
def contract(tmp_path: Path) -> Contract:
    (tmp_path / "t.yml").write_text(CONTRACT)
    return load_contract(tmp_path / "t.yml")


def broken(contract: Contract, rows: list[tuple[int | None, str | None, int | None]]) -> dict[str, int]:
    """Names of the tests that find something, with how much."""
    with duckdb.connect() as connection:
        connection.execute('create table t (id integer, "odd name" varchar, grade integer)')
        connection.executemany("insert into t values (?, ?, ?)", rows)
        connection.execute("create table parents as select 1 as id union all select 2")
        found = {name: connection.execute(query.replace("{rows}", "t")).fetchall() for name, (query, _) in contract.queries().items()}
    return {name: len(rows) for name, rows in found.items() if rows}


def test_rows_that_keep_it_break_nothing(contract: Contract) -> None:
    assert broken(contract, [(1, "a", 1), (2, "b", 2)]) == {}


@pytest.mark.parametrize(
    ("row", "finds"),
    [
        ((1, "twice", 1), {"unique_id": 1}),
        ((None, "no id", 1), {"not_null": 1}),
        ((3, None, 1), {"not_null": 1}),
        ((3, "other value", 3), {"accepted_values_grade": 1, "relationships_grade_parents": 1}),
        ((3, "below", -1), {"accepted_values_grade": 1, "relationships_grade_parents": 1, "expression_grade____0": 1}),
        ((3, "unknown", None), {"expression_grade____0": 1}),  # unknown is not true; a value or a parent that isn't there can't be wrong
    ],
)
def test_a_row_that_breaks_it_is_found(contract: Contract, row: tuple[int | None, str | None, int | None], finds: dict[str, int]) -> None:
    assert broken(contract, [(1, "a", 1), (2, "b", 2), row]) == finds


def test_all_block_but_those_that_warn(contract: Contract) -> None:
    assert {name for name, (_, blocks) in contract.queries().items() if not blocks} == {"expression_grade____0"}
    assert Contract().queries() == {}
