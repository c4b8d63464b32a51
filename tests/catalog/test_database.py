"""A source whose tables lie in a DuckDB file that another system writes."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import duckdb
import pytest

from whetstone.catalog.landing import land
from whetstone.catalog.source import fingerprint
from whetstone.catalog.source_check import check_source
from whetstone.platform.errors import WhetstoneError

SELECT = (
    "select id as product_id, [kind] as category_path, name as title, null::varchar as brand, null::varchar as description, "
    "map([]::varchar[], []::varchar[]) as attributes from erp.goods"
)
WRITER = (
    "import duckdb, os, sys; c = duckdb.connect(sys.argv[1]); c.execute(sys.argv[2]); print(1, flush=True); sys.stdin.read(); os._exit(0)"
)


@pytest.fixture
def erp(shop: Any) -> Any:
    """The shop, its products in a database whose folder has a quote in its name."""
    path = shop.data / "it's" / "erp.duckdb"
    path.parent.mkdir()
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "create table goods as select * from (values ('p1', 'Garden', 'Spade'), ('p2', 'Garden', 'Rake')) t(id, kind, name)"
        )
    files = {table: {"path": f"{table}.ndjson"} for table in ("queries", "judgments", "engagement")}
    shop.spec(files=files | {"erp": {"path": "it's/erp.duckdb"}})
    shop.select("products", SELECT)
    return shop


@pytest.fixture
def connection() -> Any:
    with duckdb.connect(":memory:") as connection:
        yield connection


def titles(connection: duckdb.DuckDBPyConnection) -> list[str]:
    return [title for (title,) in connection.execute("select title from raw.catalog order by product_id").fetchall()]


def writer(shop: Any, statement: str) -> subprocess.Popen[bytes]:
    """Another process that executes a statement, holds the file, and ends without a checkpoint when its input is closed."""
    command = [sys.executable, "-c", WRITER, str(shop.data / "it's/erp.duckdb"), statement]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline()
    return process


def test_a_database_is_read_and_let_go(erp: Any, connection: Any) -> None:
    report = land(connection, erp.load())
    assert titles(connection) == ["Spade", "Rake"] and report.counts["catalog"] == 2
    assert connection.execute("select database_name from duckdb_databases() where not internal").fetchall() == [("memory",)]
    assert [problem.kind for problem in check_source(erp.load())] == ["unknown product"]  # p3, which the database has not
    assert land(connection, erp.load()) == report


def test_what_a_writer_did_not_merge_yet_is_seen(erp: Any, connection: Any) -> None:
    before = fingerprint(erp.load())
    process = writer(erp, "update goods set name = 'Hoe' where id = 'p2'")
    process.communicate()
    assert (erp.data / "it's" / "erp.duckdb.wal").exists() and fingerprint(erp.load()) != before
    land(connection, erp.load())
    assert titles(connection) == ["Spade", "Hoe"]


def test_a_database_that_is_being_written_is_named_and_the_last_landing_stays(erp: Any, connection: Any) -> None:
    land(connection, erp.load())
    process = writer(erp, "delete from goods")
    try:
        with pytest.raises(WhetstoneError, match=r"erp\.duckdb can't be attached as erp.*(?s:.*)build again when it has closed it"):
            land(connection, erp.load())
        assert [problem.kind for problem in check_source(erp.load())] == ["unreadable file"]
    finally:
        process.communicate()
    assert titles(connection) == ["Spade", "Rake"]


def test_a_truncated_database_is_named(erp: Any, connection: Any) -> None:
    path = erp.data / "it's" / "erp.duckdb"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(WhetstoneError, match=r"it's/erp\.duckdb"):
        land(connection, erp.load())


def test_a_table_or_file_that_is_not_there_is_named(erp: Any, connection: Any) -> None:
    erp.select("products", SELECT.replace("goods", "wares"))
    with pytest.raises(WhetstoneError, match=r"products\.sql could not be read.*wares"):
        land(connection, erp.load())
    (erp.data / "it's" / "erp.duckdb").unlink()
    with pytest.raises(WhetstoneError, match=r"erp: no file it's/erp\.duckdb"):
        erp.load()
    erp.spec(
        files={"erp": {"path": "it's/erp.duckdb", "optional": True}}
        | {t: {"path": f"{t}.ndjson"} for t in ("queries", "judgments", "engagement")}
    )
    assert erp.load().is_skipped("products") and not erp.load().is_skipped("queries")
