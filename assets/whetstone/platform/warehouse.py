"""The warehouse: one DuckDB file behind dagster-duckdb's resource, held only for the moment of a read or a write.

One write is one transaction that replaces one partition (or a whole table) by column name and returns the content version of
what it wrote. DuckDB lets one process hold the file, so no connection outlives a call here. The table of an asset is named
like the asset's key (`marts.bm25_run`).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
from dagster_duckdb import DuckDBResource

from whetstone.platform.errors import WhetstoneError

if TYPE_CHECKING:
    import pandas as pd

WRITTEN = "meta.written"
STEPS = 8  # contents of a partition that are remembered, so that a change can be told from any of them on
LOCK_PATIENCE_S = 60.0  # how long a process waits for another one's read or write; each holds the file for milliseconds
MEND = (
    "If its disk is full or read-only, mend that; if another process holds it, close that process; if the file is damaged, restore it, or "
    "move it away: the next build makes it anew (paid grades are lost only with this file)."
)


@dataclass(frozen=True)
class Written:
    """What a write left behind: its row count, and a hash of its rows that does not depend on their order."""

    count_rows: int
    version: str
    count_held: int = 0  # changed rows that wait until there are more of them


@dataclass(frozen=True)
class Step:
    """A content that a partition had: its version and row count, and how many rows are not those of the content before."""

    version: str
    count_rows: int
    count_changed: int


class Warehouse(DuckDBResource):
    """dagster-duckdb's resource that always closes, waits only for locks, and writes in transactions."""

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that is closed on every way out (the library's own leaks on an error); WhetstoneError: file or disk is unusable."""
        Path(self.database).parent.mkdir(parents=True, exist_ok=True)
        connection = _open(self.database, {"custom_user_agent": "dagster", **self.connection_config})
        try:
            yield connection
        except duckdb.Error as error:
            broken = (duckdb.IOException, duckdb.FatalException, duckdb.InternalException, duckdb.SerializationException)
            if isinstance(error, broken) or "could not write" in str(error).lower():
                raise WhetstoneError(f"warehouse {self.database} can't be used: {error}\n{MEND}") from error
            raise
        finally:
            connection.close()

    @contextmanager
    def transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection inside a transaction: committed on a clean exit, rolled back on any error."""
        with self.get_connection() as connection:
            connection.begin()
            try:
                yield connection
            except BaseException:
                with suppress(duckdb.Error):  # a full disk ended it already
                    connection.rollback()
                raise
            connection.commit()

    def read(self, query: str, parameters: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Rows of a SELECT as a frame; `$name` parameters are bound, never pasted."""
        with self.get_connection() as connection:
            return connection.execute(query, dict(parameters or {})).df()

    def table(self, table: str, category: str | None = None, columns: str = "*") -> pd.DataFrame:
        """A table, or one category of it, ordered by its columns from the left; WhetstoneError: it was never built."""
        with self.get_connection() as connection:
            if not exists(connection, table):
                raise WhetstoneError(f"table {table} was never built; run `whetstone build --select {table.split('.')[-1]}`")
            where, parameters = ("where category = $category", {"category": category}) if category is not None else ("", {})
            return connection.execute(f"select {columns} from {table} {where} order by all", parameters).df()

    def replace(self, table: str, rows: pd.DataFrame, category: str | None = None) -> Written:
        """Replace a partition (without a category: the whole table) by the rows of a frame, matched by column name.

        An object column without any value is text: DuckDB would guess INTEGER from nothing.
        """
        empty = [str(name) for name in rows if rows[name].dtype == object and rows[name].isna().all()]
        typed = f"* replace ({', '.join(f'{_quoted(name)}::varchar as {_quoted(name)}' for name in empty)})" if empty else "*"
        with self.transaction() as connection:
            connection.register("incoming_rows", rows)
            return replace_select(connection, table, f"select {typed} from incoming_rows", category)

    def drop_category(self, category: str) -> None:
        """Remove the partitions of a category that left the catalog, in one transaction."""
        with self.transaction() as connection:
            _prepare(connection)
            place = {"category": category}
            tables = connection.execute(f"select distinct table_name from {WRITTEN} where category = $category", place).fetchall()
            for table in (WRITTEN, *(table for (table,) in tables)):
                connection.execute(f"delete from {table} where category = $category", place)

    def written(self) -> dict[tuple[str, str | None], list[Step]]:
        """The last contents of every partition that is really in the file, by table and category, the present one last."""
        with self.get_connection() as connection:
            _prepare(connection)
            query = f"select table_name, category, version, coalesce(count_rows, 0), coalesce(count_changed, 0) from {WRITTEN}"
            rows = connection.execute(f"{query} order by coalesce(step, 0)").fetchall()
        found: dict[tuple[str, str | None], list[Step]] = {}
        for table, category, *step in rows:
            found.setdefault((table, category), []).append(Step(*step))
        return found


def replace_select(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    select: str,
    category: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    hold: float = 0.0,
) -> Written:
    """Replace a partition by the rows of a SELECT, inside the caller's transaction.

    A whole table (no category) stays as it is while no more than the share `hold` of its rows would change.

    When the columns changed, the table is made anew with them: other partitions keep the columns that stayed as they were and
    hold NULL in the others until their own build, which is due because the model's code version changed.
    """
    for schema in (table.split(".")[0], "meta"):
        connection.execute(f"create schema if not exists {schema}")
    connection.execute(f"create or replace temp table new_rows as {select}", dict(parameters or {}))
    if category is not None and "category" not in columns_of(connection, "new_rows"):
        connection.execute("create or replace temp table new_rows as select $category as category, * from new_rows", {"category": category})
    wanted = columns_of(connection, "new_rows")
    if exists(connection, table) and (existing := columns_of(connection, table)) != wanted:
        kept = [_quoted(name) for name, kind in existing.items() if wanted.get(name) == kind]
        connection.execute("create or replace temp table old_rows as select * from new_rows limit 0")
        if category is not None and kept:
            connection.execute(f"insert into old_rows by name select {', '.join(kept)} from {table}")
        connection.execute(f"create or replace table {table} as select * from old_rows")
    connection.execute(f"create table if not exists {table} as select * from new_rows limit 0")
    where, place = ("", {}) if category is None else ("where category = $category", {"category": category})
    changed = count_changed(connection, "new_rows", f"{table} {where}", "null::varchar", place)
    if hold and category is None and changed:
        present = content_version(connection, table)
        if changed[None] <= hold * present.count_rows:
            return replace(present, count_held=changed[None])
    connection.execute(f"delete from {table} {where}", place)
    connection.execute(f"insert into {table} by name select * from new_rows")
    written = content_version(connection, "new_rows")
    note_written(connection, table, category, Step(written.version, written.count_rows, changed.get(None, 0)))
    return written


def count_changed(
    connection: duckdb.DuckDBPyConnection, new: str, old: str, category: str = "category", parameters: Mapping[str, Any] | None = None
) -> dict[str | None, int]:
    """How many rows of `new` aren't in `old`, or the other way round if these are more, by category; where none, no entry.

    Both are relations with the columns of `new`, a `where` may follow; `category` is an expression over their rows.
    """
    columns = ", ".join(_quoted(name) for name in columns_of(connection, new))
    hashed = [f"select {category} as category, hash({columns}) as row_hash from {relation}" for relation in (new, old)]
    sides = [f"select category, {side} as side from ({a} except all {b})" for side, a, b in ((1, *hashed), (2, *reversed(hashed)))]
    counts = "greatest(count(*) filter (side = 1), count(*) filter (side = 2))"
    query = f"select category, {counts} from ({' union all '.join(sides)}) group by category"
    return dict(connection.execute(query, dict(parameters or {})).fetchall())


def note_written(connection: duckdb.DuckDBPyConnection, table: str, category: str | None, step: Step) -> None:
    """Remember the content that a partition has now, inside the transaction that wrote it; the same content again is no step."""
    _prepare(connection)
    ours, place = f"from {WRITTEN} where table_name = ? and category is not distinct from ?", [table, category]
    last = connection.execute(f"select max(step), arg_max(version, coalesce(step, 0)) {ours}", place).fetchone() or (None, None)
    if last[1] != step.version:
        number = (last[0] or 0) + 1
        row = [table, category, step.version, number, step.count_rows, step.count_changed]
        connection.execute(f"insert into {WRITTEN} by position values (?, ?, ?, ?, ?, ?)", row)
        connection.execute(f"delete {ours} and coalesce(step, 0) <= ?", [*place, number - STEPS])


def _prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the table of contents, or give that of an older home its later columns."""
    connection.execute("create schema if not exists meta")
    connection.execute(f"create table if not exists {WRITTEN} (table_name varchar, category varchar, version varchar)")
    for column in ("step", "count_rows", "count_changed"):
        connection.execute(f"alter table {WRITTEN} add column if not exists {column} bigint")


def content_version(connection: duckdb.DuckDBPyConnection, relation: str) -> Written:
    """Row count and a SHA-256 over column names, types and sorted row hashes: same rows in any order, same version."""
    shape = json.dumps(columns_of(connection, relation))
    row = connection.execute(
        f"with rows as (select md5(to_json(r)::varchar) as row_hash from {relation} as r) "
        "select count(*), coalesce(string_agg(row_hash, '' order by row_hash), '') from rows"
    ).fetchone()
    count, hashes = row if row else (0, "")
    return Written(count, hashlib.sha256(f"{shape}{hashes}".encode()).hexdigest()[:32])


def exists(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Whether `schema.name` is a table of the warehouse."""
    query = "select 1 from duckdb_tables() where schema_name || '.' || table_name = $table and not temporary"
    return connection.execute(query, {"table": table}).fetchone() is not None


def columns_of(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    """Column names of a relation with their DuckDB types, in order."""
    return {name: kind for name, kind, *_ in connection.execute(f"describe select * from {relation}").fetchall()}


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _open(database: str, config: dict[str, Any]) -> duckdb.DuckDBPyConnection:
    give_up = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            return duckdb.connect(database, config=config)
        except duckdb.Error as error:
            if "could not set lock" not in str(error).lower() or time.monotonic() > give_up:
                raise WhetstoneError(f"warehouse {database} can't be opened: {error}\n{MEND}") from error
            time.sleep(0.05)
