"""Running a source's SELECTs: each into a temporary table with its contract's types, and SQL for the rows that break a rule.

The landing and the source check both stand on this, so that what the one refuses the other reports. `temp.landing_<table>` keeps the
order of the SELECT's output; its `rowid` (from 0) is therefore the number of a row.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import duckdb

from whetstone.catalog.contracts import Contract, Rule
from whetstone.catalog.source import Source
from whetstone.platform.errors import WhetstoneError


@contextmanager
def attached(connection: duckdb.DuckDBPyConnection, source: Source) -> Iterator[None]:
    """While inside, the tables of the source's DuckDB files are there, read-only, as `<key>.<table>`; WhetstoneError: one can't be read."""
    databases = [(key, path) for key, file in source.spec.files.items() if file.is_database for path in source.files[key]]
    try:
        for key, path in databases:
            quoted = str(path).replace("'", "''")
            try:
                connection.execute(f"attach '{quoted}' as \"{key}\" (type duckdb, read_only)")
            except duckdb.Error as error:
                mend = "If another system is writing it, build again when it has closed it; otherwise correct source.yml or the file."
                raise WhetstoneError(f"database {path} can't be attached as {key}: {error}\nNothing was changed. {mend}") from error
        yield
    finally:
        for key, _ in databases:
            connection.execute(f'detach database if exists "{key}"')


def schema_problems(connection: duckdb.DuckDBPyConnection, source: Source, contract: Contract) -> list[tuple[str, str, str]]:
    """Where a SELECT's columns differ from the contract: (column, message, mend) for each; WhetstoneError: it can't be prepared."""
    table, where = contract.table, f"{contract.table}.sql of source {source.spec.name}"
    if source.is_skipped(table):
        return []
    try:
        described = connection.execute(f"describe {source.selects[table]}", source.parameters(table)).fetchall()
    except duckdb.Error as error:
        raise unreadable(source, table, error) from error
    delivered = {name: kind for name, kind, *_ in described}
    problems = []
    for column in contract.columns:
        name, found = column.name, delivered.pop(column.name, None)
        if found is None:
            problems.append((name, f"{where} gives no column {name} {column.type}", f"select it: ... as {name}"))
        elif not column.accepts(found):
            problems.append((name, f"{where}: column {name} is {found}, not {column.type}", f"cast it: ({name})::{column.type}"))
    return problems + [(name, f"{where} gives a column that the contract has not: {name}", "leave it out") for name in delivered]


def read_table(connection: duckdb.DuckDBPyConnection, source: Source, contract: Contract, without: Collection[str] = ()) -> None:
    """Run one SELECT into `temp.landing_<table>`, typed by contract; no rows where a file is absent; WhetstoneError: it can't be read."""
    table, kept = contract.table, [column for column in contract.columns if column.name not in without]
    if source.is_skipped(table):
        select, bound = f"select {', '.join(f'null as {column.name}' for column in kept)} where false", {}
    else:
        select, bound = source.selects[table], source.parameters(table)
    typed = ", ".join(f"{column.name}::{column.type} as {column.name}" for column in kept)
    try:
        connection.execute(f"create or replace temp table landing_{table} as select {typed} from ({select})", bound)
    except duckdb.Error as error:
        raise unreadable(source, table, error) from error


def unreadable(source: Source, table: str, error: duckdb.Error) -> WhetstoneError:
    """The error of a SELECT that can't run, naming the files that it reads unless DuckDB's message already does."""
    said = str(error).strip().split("\n\n")[0]
    paths = [str(path) for key in source.file_keys(table) for path in source.files[key]]
    if not any(path in said for path in paths):
        said += f" (files: {', '.join(paths[:3])}{', ...' if len(paths) > 3 else ''})"
    mend = "If the file is still being written, build again when it is complete; `whetstone source check` looks at every file."
    return WhetstoneError(f"{source.folder / f'{table}.sql'} could not be read: {said}\nNothing was changed. {mend}")


def bad_rows(connection: duckdb.DuckDBPyConnection, contract: Contract, rule: Rule) -> duckdb.DuckDBPyRelation:
    """The rows that break a rule, in file order: `row` (1-based) and `shown`, the key and the column at fault as JSON."""
    shown = ", ".join(f"{name} := {name}" for name in dict.fromkeys([*contract.key, rule.column]))
    rows = f"select *, rowid, {rule.condition} as is_bad from temp.landing_{contract.table}"
    packed = f"to_json(struct_pack({shown}))::varchar"
    return connection.sql(f"select rowid + 1 as row, {packed} as shown from ({rows}) where is_bad order by row")
