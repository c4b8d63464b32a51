import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace

import duckdb
import pytest
import sqlglot

from whetstone.platform.errors import WhetstoneError
from whetstone.retrieval.channels import CHANNELS, Channel, channel, run_ranks_sql

HEAVY = ["torch", "sentence_transformers", "bm25s", "sklearn", "scipy", "pandas", "numpy", "Stemmer"]


def test_the_registry_loads_without_what_the_channels_need() -> None:
    code = f"import sys, whetstone.retrieval.channels; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_registered_channel_can_be_called() -> None:
    assert all(callable(import_module(f"whetstone.retrieval.{each.name}").search) for each in CHANNELS)


def test_search_calls_the_channels_module_with_inputs_and_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "whetstone.retrieval.echo", SimpleNamespace(search=divmod))
    echo = Channel("echo", "lexical", "", "1", ())
    assert echo.search(7, 3) == (2, 1)  # type: ignore[arg-type, comparison-overlap]


def test_an_unknown_channel_is_named_with_the_known_ones() -> None:
    assert channel("bm25").table == "marts.bm25_run"
    with pytest.raises(WhetstoneError, match=r"'splade'.*dictionary, bm25, dense"):
        channel("splade")


@pytest.mark.parametrize("name", ["bm25", "best", "lexical", "Dense", "a b", "", "x'; drop"])
def test_names_that_would_collide_or_break_sql_are_refused(name: str) -> None:
    with pytest.raises(WhetstoneError, match="unique lower-case identifier"):
        run_ranks_sql([*CHANNELS, replace(CHANNELS[0], name=name)])


DEEP = {"category": "c", "found_least": 100, "found_share": 1.0}


@pytest.fixture
def warehouse() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("create schema marts; create schema staging")
    connection.execute("create table staging.products as select 'c' as category from range(8) union all select 'd' from range(1000)")
    for each in CHANNELS:
        connection.execute(f"create table {each.table} (category text, query_id text, product_id text, rank bigint, score double)")
    connection.execute("insert into marts.dictionary_run values ('c', 'q', 'both', 3, 0.5), ('c', 'q', 'lone', 1, 1.0)")
    connection.execute("insert into marts.dictionary_run values ('d', 'q', 'both', 9, 0.1)")
    connection.execute("insert into marts.bm25_run values ('c', 'q', 'both', 2, 7.5)")
    connection.execute("insert into marts.dense_run values ('c', 'q', 'both', 1, 0.9), ('c', 'q', 'near', 2, -0.1)")
    return connection


def test_run_ranks_sql_has_one_row_per_pair_and_one_column_per_channel(warehouse: duckdb.DuckDBPyConnection) -> None:
    found = warehouse.execute(run_ranks_sql(), DEEP)
    assert [column[0] for column in found.description or []] == [
        *("category", "query_id", "product_id", "dictionary_rank", "bm25_rank", "dense_rank"),
        *("count_channels", "count_lexical", "lexical_rank", "best_dense_rank", "best_rank"),
    ]
    assert sorted(found.fetchall(), key=str) == [
        ("c", "q", "both", 3, 2, 1, 3, 2, 2, 1, 1),
        ("c", "q", "lone", 1, None, None, 1, 1, 1, None, 1),
        ("c", "q", "near", None, None, 2, 1, 0, None, 2, 2),
    ]


@pytest.mark.parametrize(
    ("least", "share", "ranks"), [(1, 0.0, [1, 1]), (2, 0.0, [1, 1, 2, 2]), (1, 0.2, [1, 1, 2, 2]), (1, 0.3, [1, 1, 2, 2, 3])]
)
def test_what_ranks_deeper_than_a_share_of_the_category_is_not_found(
    warehouse: duckdb.DuckDBPyConnection, least: int, share: float, ranks: list[int]
) -> None:
    found = warehouse.execute(run_ranks_sql(), {"category": "c", "found_least": least, "found_share": share}).df()
    assert sorted(found[[f"{each.name}_rank" for each in CHANNELS]].stack()) == ranks


def test_a_fourth_channel_is_one_line(warehouse: duckdb.DuckDBPyConnection) -> None:
    fourth = (*CHANNELS, Channel("splade", "lexical", "", "1", ()))
    warehouse.execute(
        "create table marts.splade_run as select 'c' as category, 'q' as query_id, 'lone' as product_id, 4::bigint as rank, 1.0 as score"
    )
    sql = f"select splade_rank, count_lexical, lexical_rank from ({run_ranks_sql(fourth)}) where product_id = 'lone'"
    assert warehouse.execute(sql, DEEP).fetchone() == (4, 2, 1)


def test_sqlglot_reads_the_sql_and_its_tables() -> None:
    found = sqlglot.parse_one(run_ranks_sql(), dialect="duckdb").find_all(sqlglot.exp.Table)
    assert {f"{table.db}.{table.name}" for table in found if table.db} == {each.table for each in CHANNELS} | {"staging.products"}
