"""`whetstone source check`: every problem of a folder of files, with file, row and mend, before anything is built.

In order: files that are missing, empty or not UTF-8; SELECTs that can't run, with the broken lines of NDJSON files; columns and
types; then the contracts' rules and references on the rows. A table that can't be read takes only the rules on itself with it.
Row numbers count the rows of a SELECT's output, which follow the file's rows wherever the SELECT neither filters nor sorts.
"""

from __future__ import annotations

import codecs
import gzip
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from whetstone.catalog.contracts import CONTRACTS, GRADES, Contract
from whetstone.catalog.reading import bad_rows, read_table, schema_problems, unknown_rows, unreadable
from whetstone.catalog.source import Source
from whetstone.platform.errors import WhetstoneError

_TEXT_FILES = (".csv", ".tsv", ".txt", ".json", ".ndjson", ".jsonl")
_BLOCK_BYTES = 1 << 20
_WHEN_COMPLETE = "write the file again; if it is still being written, wait until it is complete"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        file: the file's path below the data folder, or `<table>.sql` where no single file is at fault.
        row: 1-based row of the SELECT's output, or line of the file (the message says which); None where a whole file is meant.
        column: the column at fault, if there is one.
        message: what is wrong.
        mend: what to do about it.
        kind: problems of one kind are printed together.
    """

    file: str
    row: int | None
    column: str | None
    message: str
    mend: str
    kind: str


def check_source(source: Source, grades: Sequence[int] = GRADES) -> list[Problem]:
    """Find every problem in a source's files; bad data never raises.

    Args:
        source: from `load_source(..., require_files=False)`.
        grades: the grades that the source's guideline has.

    Returns:
        The problems, files first, then table by table in file order; empty if the source can be built.
    """
    problems = list(_file_problems(source))
    broken = {problem.file for problem in problems}
    connection = duckdb.connect(":memory:")
    try:
        readable = []
        for contract in CONTRACTS.values():
            keys = source.file_keys(contract.table)
            if any(key in source.missing for key in keys):
                continue
            found = _read(connection, source, contract)
            if not found:
                readable.append(contract)
                rows = _row_problems(connection, source, contract, grades)
                problems += [row for row in rows if row.kind != "empty file" or row.file not in broken]
            elif not any(source.relative(path) in broken for key in keys for path in source.files[key]):
                problems += found  # otherwise the reason is in the list already
        for contract in readable:
            problems += _reference_problems(connection, source, contract, [other.table for other in readable])
    finally:
        connection.close()
    return list(dict.fromkeys(problems))  # a file that two SELECTs read is broken once


def render(problems: Sequence[Problem], per_kind: int = 20) -> str:
    """The problems as text, grouped by file and kind, at most `per_kind` rows of each written out; the last line counts all."""
    groups: dict[tuple[str, str, str | None], list[Problem]] = {}
    for problem in problems:
        groups.setdefault((problem.file, problem.kind, problem.column), []).append(problem)
    lines = []
    for (file, kind, column), group in groups.items():
        lines.append(f"{file}: {kind}{f' ({column})' if column and column not in kind else ''}")
        lines += [f"  {problem.message}" for problem in group[:per_kind]]
        if len(group) > per_kind:
            lines.append(f"  ... and {len(group) - per_kind} more")
        lines.append(f"  mend: {group[0].mend}")
    return "\n".join([*lines, f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"])


def _file_problems(source: Source) -> Iterator[Problem]:
    for key in source.missing:
        mend = f"put it into {source.data}, or correct files.{key}.path in source.yml"
        yield Problem(
            source.spec.files[key].path,
            None,
            None,
            f"there is no file {source.spec.files[key].path}",
            mend,
            "missing file",
        )
    if source.synonyms and not source.synonyms.is_file():
        mend = f"put it into {source.data}, or take `synonyms` out of source.yml"
        yield Problem(source.relative(source.synonyms), None, None, "there is no such synonyms file", mend, "missing file")
    for path in sorted({path for paths in source.files.values() for path in paths}):
        name = source.relative(path)
        try:
            if path.stat().st_size == 0:
                yield Problem(name, None, None, "the file has no bytes", _WHEN_COMPLETE, "empty file")
            elif _must_be_utf8(source, path) and (bad := _bad_byte(path)):
                offset, line = bad
                mend = "save it as UTF-8, or name its encoding in the SQL: read_csv(..., encoding = 'latin-1')"
                yield Problem(name, line, None, f"line {line}: byte {offset} is not UTF-8", mend, "bad encoding")
        except (OSError, EOFError) as error:
            yield Problem(name, None, None, f"the file can't be read: {error}", _WHEN_COMPLETE, "unreadable file")


def _must_be_utf8(source: Source, path: Path) -> bool:
    """Whether a file is text, and no SELECT that reads it names another encoding."""
    if not path.name.lower().removesuffix(".gz").endswith(_TEXT_FILES):
        return False
    keys = {key for key, paths in source.files.items() if path in paths}
    return not any(re.search(r"\bencoding\s*=", select) for table, select in source.selects.items() if keys & set(source.file_keys(table)))


def _bad_byte(path: Path) -> tuple[int, int] | None:
    """Offset from 0 of the first byte that UTF-8 doesn't allow, and its line from 1; None if there is none."""
    decoder, offset, line = codecs.getincrementaldecoder("utf-8")(), 0, 1
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        while True:
            block = file.read(_BLOCK_BYTES)
            pending = decoder.getstate()[0]
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                # The error counts from the start of what the decoder held back of the block before.
                return offset - len(pending) + error.start, line + (pending + block)[: error.start].count(b"\n")
            if not block:
                return None
            offset, line = offset + len(block), line + block.count(b"\n")


def _read(connection: duckdb.DuckDBPyConnection, source: Source, contract: Contract) -> list[Problem]:
    """Read a table's checked columns; the problems of its SELECT, its columns or its files if that isn't possible."""
    sql = f"{contract.table}.sql"
    try:
        if not source.is_skipped(contract.table):
            found = schema_problems(connection, source, contract)
            if found:
                return [Problem(sql, None, column, said, mend, "missing column or wrong type") for column, said, mend in found]
        # Long texts have no rules: they stay in their files.
        read_table(connection, source, contract, [n for n in contract.names if n not in ("description", "attributes")])
        return []
    except WhetstoneError as error:
        said = str(error).splitlines()[0]
        if isinstance(error.__cause__, duckdb.BinderException | duckdb.CatalogException):
            mend = f"add the column to the file, or correct {sql}"
            return [Problem(_where(source, contract.table), None, None, said, mend, "missing column or wrong type")]
        found_in_files = list(_unreadable_files(connection, source, contract.table))
        return found_in_files or [
            Problem(
                _where(source, contract.table),
                None,
                None,
                said,
                "correct the SQL or the file",
                "wrong type or unreadable file",
            )
        ]


def _unreadable_files(connection: duckdb.DuckDBPyConnection, source: Source, table: str) -> Iterator[Problem]:
    """Which of a failed SELECT's files are at fault, each looked at on its own; DuckDB itself stops at the first."""
    parameters = source.parameters(table)
    for key in source.file_keys(table):
        for path in source.files[key]:
            name, is_parquet = source.relative(path), path.suffix == ".parquet"
            if path.suffix in (".ndjson", ".jsonl") and (lines := _broken_lines(path)):
                yield from (Problem(name, n, None, f"line {n}: {said}", _WHEN_COMPLETE, "broken JSON") for n, said in lines)
                continue
            if is_parquet:
                query, bound = "select count(*) from read_parquet($file)", {"file": str(path)}
            else:
                query, bound = (
                    f"create or replace temp table probe as {source.selects[table]}",
                    parameters | {key: str(path)},
                )
            try:
                connection.execute(query, bound)
            except duckdb.Error as error:
                if not is_parquet and str(path) not in str(error) and len(source.file_keys(table)) > 1:
                    continue  # another of its files is at fault
                line = re.search(r"CSV Error on Line: (\d+)", str(error))
                said = str(unreadable(source, table, error)).splitlines()[:-1]
                kind = "wrong type" if isinstance(error, duckdb.ConversionException) else "unreadable file"
                mend = "correct the value, or read the column as text" if kind == "wrong type" else _WHEN_COMPLETE
                yield Problem(name, int(line[1]) if line else None, None, " ".join(said), mend, kind)


def _broken_lines(path: Path) -> list[tuple[int, str]]:
    """Lines from 1 of an NDJSON file that are not JSON; DuckDB stops at the first of them, and miscounts."""
    broken = []
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            try:
                if line.strip():
                    json.loads(line)
            except json.JSONDecodeError as error:
                broken.append((number, f"not JSON: {error.msg} at character {error.colno}"))
    return broken


def _where(source: Source, table: str) -> str:
    """The one file that feeds a table, otherwise its SELECT."""
    files = [path for key in source.file_keys(table) for path in source.files[key]]
    return source.relative(files[0]) if len(files) == 1 else f"{table}.sql"


def _row_problems(connection: duckdb.DuckDBPyConnection, source: Source, contract: Contract, grades: Sequence[int]) -> Iterator[Problem]:
    where = _where(source, contract.table)
    count = (connection.execute(f"select count(*) from temp.landing_{contract.table}").fetchone() or (0,))[0]
    if count == 0 and not source.is_skipped(contract.table):
        yield Problem(
            where,
            None,
            None,
            f"{contract.table}.sql gives no rows",
            "fill the file, or leave an optional file out",
            "empty file",
        )
    for rule in contract.all_rules(grades):
        for row, shown in connection.execute(bad_rows(rule, contract)).fetchall():
            yield _row_problem(where, contract, row, rule.column, rule.kind, shown, rule.mend)


def _reference_problems(
    connection: duckdb.DuckDBPyConnection, source: Source, contract: Contract, readable: Sequence[str]
) -> Iterator[Problem]:
    where = _where(source, contract.table)
    for column, table in contract.references:
        for row, shown in connection.execute(unknown_rows(contract, column, table)).fetchall() if table in readable else ():
            mend = f"add it to {table}, or leave the row out; a build drops such rows"
            yield _row_problem(where, contract, row, column, f"unknown {column.removesuffix('_id')}", shown, mend)


def _row_problem(where: str, contract: Contract, row: int, column: str, kind: str, shown: str, mend: str) -> Problem:
    return Problem(where, row, column, f"row {row} of {contract.table}.sql's output: {kind}: {shown[:200]}", mend, kind)
