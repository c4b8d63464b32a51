"""`whetstone source check`: every problem of a folder of files, with file, row and mend, before anything is built.

In order: files that are missing or empty; then table by table SELECTs that can't run, with the lines that are not UTF-8 or not JSON;
columns and types; the contract's rules and references on the rows. A table that can't be read takes only the rules on itself with it.
Row numbers count the rows of a SELECT's output, which follow the file's rows wherever the SELECT neither filters nor sorts.
"""

import gzip
import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import duckdb

from whetstone.catalog.contracts import CONTRACTS, GRADES, Contract
from whetstone.catalog.reading import attached, bad_rows, read_table, schema_problems, unreadable
from whetstone.catalog.source import Source
from whetstone.platform.errors import WhetstoneError

_NDJSON = (".ndjson", ".jsonl")
_TEXT_FILES = (".csv", ".tsv", ".txt", ".json", *_NDJSON)
_WHEN_COMPLETE = "write the file again; if it is still being written, wait until it is complete"


class Problem(NamedTuple):
    """One thing that is wrong; those of one kind are printed together."""

    file: str  # its path below the data folder, or `<table>.sql` where no single file is at fault
    row: int | None  # from 1, of the SELECT's output or of the file (the message says which); None where a whole file is meant
    column: str | None
    message: str
    mend: str
    kind: str


def check_source(source: Source, grades: Sequence[int] = GRADES) -> list[Problem]:
    """Every problem of a source loaded without `require_files`, files first; bad data never raises. `grades` are its guideline's."""
    problems = list(_file_problems(source))
    broken = {problem.file for problem in problems}
    readable: list[str] = []
    try:
        with duckdb.connect(":memory:") as connection, attached(connection, source):
            for contract in CONTRACTS.values():
                keys = source.file_keys(contract.table)
                if source.missing.keys() & set(keys):
                    continue
                found = _read(connection, source, contract)
                if not found:
                    readable.append(contract.table)
                    rows = _row_problems(connection, source, contract, grades, readable)
                    problems += [row for row in rows if row.kind != "empty file" or row.file not in broken]
                elif not any(source.relative(path) in broken for key in keys for path in source.files[key]):
                    problems += found  # otherwise the reason is in the list already
    except WhetstoneError as error:  # a database that can't be attached
        problems.append(Problem("source.yml", None, None, str(error).splitlines()[0], _WHEN_COMPLETE, "unreadable file"))
    return list(dict.fromkeys(problems))  # a file that two SELECTs read is broken once


def render(problems: Sequence[Problem], per_kind: int = 20) -> str:
    """The problems as text, grouped by file and kind, at most `per_kind` rows of each written out; the last line counts all."""
    groups = defaultdict(list)
    for problem in problems:
        groups[problem.file, problem.kind, problem.column].append(problem)
    lines = []
    for (file, kind, column), group in groups.items():
        lines.append(f"{file}: {kind}{f' ({column})' if column and column not in kind else ''}")
        lines += [f"  {problem.message}" for problem in group[:per_kind]]
        if len(group) > per_kind:
            lines.append(f"  ... and {len(group) - per_kind} more")
        lines.append(f"  mend: {group[0].mend}")
    return "\n".join([*lines, f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"])


def _file_problems(source: Source) -> Iterator[Problem]:
    for key, name in source.missing.items():
        mend = f"put it into {source.data}, or correct `{key}` in source.yml"
        yield Problem(name, None, None, f"there is no file {name}", mend, "missing file")
    for path in sorted({path for paths in source.files.values() for path in paths}):
        if path.stat().st_size == 0:
            yield Problem(source.relative(path), None, None, "the file has no bytes", _WHEN_COMPLETE, "empty file")


def _read(connection: duckdb.DuckDBPyConnection, source: Source, contract: Contract) -> list[Problem]:
    """Read a table's checked columns; the problems of its SELECT, its columns or its files if that isn't possible."""
    table, kind = contract.table, "missing column or wrong type"
    try:
        found = schema_problems(connection, source, contract)
        if not found:
            read_table(connection, source, contract, without=("description", "attributes"))  # long, and without rules
        return [Problem(f"{table}.sql", None, column, said, mend, kind) for column, said, mend in found]
    except WhetstoneError as error:
        where, said = _where(source, table), str(error).splitlines()[0]
        if isinstance(error.__cause__, duckdb.BinderException | duckdb.CatalogException):
            return [Problem(where, None, None, said, f"add the column to the file, or correct {table}.sql", kind)]
        unclear = Problem(where, None, None, said, "correct the SQL or the file", "wrong type or unreadable file")
        return list(_unreadable_files(connection, source, table)) or [unclear]


def _unreadable_files(connection: duckdb.DuckDBPyConnection, source: Source, table: str) -> Iterator[Problem]:
    """Which of a failed SELECT's files are at fault, each looked at on its own; DuckDB itself stops at the first."""
    select = source.selects[table]
    errors = "replace" if re.search(r"\bencoding\s*=", select) else "strict"  # a SELECT may name another encoding than UTF-8
    keys = [key for key in source.file_keys(table) if not source.spec.files[key].is_database]
    files = [(key, path) for key in keys for path in source.files[key]]
    for key, path in files:
        try:
            alone = source.parameters(table) | {key: str(path)}
            connection.execute(f"create or replace temp table probe as {select}", alone)
        except duckdb.Error as error:
            if str(path) not in str(error) and len(source.file_keys(table)) > 1:
                continue  # another of its files is at fault
            if lines := list(_bad_lines(path, source.relative(path), errors)):
                yield from lines
                continue
            line = re.search(r"CSV Error on Line: (\d+)", str(error))
            said = " ".join(str(unreadable(source, table, error)).splitlines()[:-1])
            is_value = isinstance(error, duckdb.ConversionException)
            mend = "correct the value, or read the column as text" if is_value else _WHEN_COMPLETE
            kind = "wrong type" if is_value else "unreadable file"
            yield Problem(source.relative(path), int(line[1]) if line else None, None, said, mend, kind)


def _bad_lines(path: Path, name: str, errors: str) -> Iterator[Problem]:
    """Lines from 1 of a text file that are not JSON (of NDJSON), and the first that is not UTF-8; DuckDB miscounts them."""
    plain_name, offset = path.name.lower().removesuffix(".gz"), 0
    if not plain_name.endswith(_TEXT_FILES):
        return
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode(errors=errors)
                if plain_name.endswith(_NDJSON) and text.strip():
                    json.loads(text)
            except json.JSONDecodeError as error:
                said = f"line {number}: not JSON: {error.msg} at character {error.colno}"
                yield Problem(name, number, None, said, _WHEN_COMPLETE, "broken JSON")
            except UnicodeDecodeError as error:
                said = f"line {number}: byte {offset + error.start} is not UTF-8"
                mend = "save it as UTF-8, or name its encoding in the SQL: read_csv(..., encoding = 'latin-1')"
                yield Problem(name, number, None, said, mend, "bad encoding")
                return
            offset += len(line)


def _where(source: Source, table: str) -> str:
    """The one file that feeds a table, otherwise its SELECT."""
    files = [path for key in source.file_keys(table) for path in source.files[key]]
    return source.relative(files[0]) if len(files) == 1 else f"{table}.sql"


def _row_problems(
    connection: duckdb.DuckDBPyConnection, source: Source, contract: Contract, grades: Sequence[int], readable: Collection[str]
) -> Iterator[Problem]:
    """Rows that break a rule, or refer to what is not in a readable table."""
    table, where = contract.table, _where(source, contract.table)
    if not source.is_skipped(table) and connection.table(f"landing_{table}").limit(1).fetchone() is None:
        mend = "fill the file, or leave an optional file out"
        yield Problem(where, None, None, f"{table}.sql gives no rows", mend, "empty file")
    for rule in contract.all_rules(grades):
        if rule.parent is None or rule.parent in readable:
            for row, shown in bad_rows(connection, contract, rule).fetchall():
                said = f"row {row} of {table}.sql's output: {rule.kind}: {shown[:200]}"
                yield Problem(where, row, rule.column, said, rule.mend, rule.kind)
