"""Running a source's SELECTs: each into a temporary table with its contract's types, and SQL for the rows that break a rule.

The landing and the source check both stand on this, so that what the one refuses the other reports. `temp.landing_<table>` keeps the
order of the SELECT's output; its `rowid` (from 0) is therefore the number of a row.
"""

from __future__ import annotations

import duckdb

from whetstone.catalog.contracts import Contract, Rule
from whetstone.catalog.source import Source
from whetstone.platform.errors import WhetstoneError


def read_table(connection: duckdb.DuckDBPyConnection, source: Source, contract: Contract, columns: list[str] | None = None) -> None:
    """Run one SELECT of the source into `temp.landing_<table>`, with the contract's types and in the order of the SELECT's output.

    Args:
        connection: open DuckDB connection.
        source: the source.
        contract: the table's contract.
        columns: only these columns; default all.

    Raises:
        WhetstoneError: the SELECT or a file that it reads is unusable; the message names it.
    """
    kept = [column for column in contract.columns if columns is None or column.name in columns]
    typed = ", ".join(f"{column.name}::{column.type} as {column.name}" for column in kept)
    target = f"create or replace temp table landing_{contract.table} as select {typed} from"
    if source.is_skipped(contract.table):
        nothing = ", ".join(f"null::{column.type} as {column.name}" for column in kept)
        connection.execute(f"{target} (select {nothing}) where false")
        return
    if problems := schema_problems(connection, source, contract):
        raise WhetstoneError("; ".join(f"{message} ({mend})" for _, message, mend in problems))
    try:
        connection.execute(f"{target} ({source.selects[contract.table]})", source.parameters(contract.table))
    except duckdb.Error as error:
        raise unreadable(source, contract.table, error) from error


def schema_problems(connection: duckdb.DuckDBPyConnection, source: Source, contract: Contract) -> list[tuple[str | None, str, str]]:
    """Where a SELECT's columns differ from the contract: (column, message, mend) for each.

    Raises:
        WhetstoneError: the SELECT can't be prepared, for instance because a file can't be read or has not a column that it names.
    """
    try:
        described = connection.execute(f"describe {source.selects[contract.table]}", source.parameters(contract.table)).fetchall()
    except duckdb.Error as error:
        raise unreadable(source, contract.table, error) from error
    delivered = {name: kind for name, kind, *_ in described}
    where = f"{contract.table}.sql of source {source.spec.name}"
    problems: list[tuple[str | None, str, str]] = []
    for column in contract.columns:
        if column.name not in delivered:
            problems.append(
                (
                    column.name,
                    f"{where} gives no column {column.name} {column.type}",
                    f"select it: ... as {column.name}",
                )
            )
        elif not column.accepts(delivered[column.name]):
            message = f"{where}: column {column.name} is {delivered[column.name]}, not {column.type}"
            problems.append((column.name, message, f"cast it: ({column.name})::{column.type}"))
    if surplus := [name for name in delivered if name not in contract.names]:
        problems.append((surplus[0], f"{where} gives columns that the contract has not: {', '.join(surplus)}", "leave them out"))
    return problems


def unreadable(source: Source, table: str, error: duckdb.Error) -> WhetstoneError:
    """The error of a SELECT that can't run, naming the files that it reads unless DuckDB's message already does."""
    said = str(error).strip().split("\n\n")[0]
    paths = [str(path) for key in source.file_keys(table) for path in source.files[key]]
    if not any(path in said for path in paths):
        said += f" (files: {', '.join(paths[:3])}{', ...' if len(paths) > 3 else ''})"
    return WhetstoneError(
        f"{source.folder / f'{table}.sql'} could not be read: {said}\nNothing was changed. If the file is still being written, build again "
        "when it is complete; `whetstone source check` looks at every file."
    )


def bad_rows(rule: Rule, contract: Contract) -> str:
    """SQL for the rows that break a rule, in file order: `row` (1-based) and `shown`, the key and the column at fault as JSON."""
    return _shown(f"select *, rowid, {rule.condition} as is_bad from temp.landing_{contract.table}", contract, rule.column)


def unknown_rows(contract: Contract, column: str, table: str) -> str:
    """SQL for the rows whose `column` is not in `table`, in file order, as `bad_rows` gives them."""
    is_bad = f"not exists (from temp.landing_{table} as parent where parent.{column} = child.{column})"
    return _shown(f"select *, rowid, {is_bad} as is_bad from temp.landing_{contract.table} as child", contract, column)


def _shown(rows: str, contract: Contract, column: str) -> str:
    shown = ", ".join(f"{name} := {name}" for name in dict.fromkeys([*contract.key, column]))
    return f"select rowid + 1 as row, to_json(struct_pack({shown}))::varchar as shown from ({rows}) where is_bad order by row"
