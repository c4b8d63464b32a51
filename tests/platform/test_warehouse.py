from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whetstone.platform.errors import WhetstoneError
from whetstone.platform.warehouse import STEPS, WRITTEN, Step, Warehouse, Written, content_version, count_changed, replace_select

HOSTILE = "a'; drop table x; --"


@pytest.fixture
def warehouse(tmp_path) -> Warehouse:
    return Warehouse(database=str(tmp_path / "sub" / "warehouse.duckdb"))


def rows(**columns) -> pd.DataFrame:
    return pd.DataFrame(columns)


def test_a_write_replaces_one_partition_by_column_name(warehouse) -> None:
    warehouse.replace("marts.t", rows(a=[1, 2], b=["x", "y"]), "toys")
    warehouse.replace("marts.t", rows(a=[9], b=["z"]), HOSTILE)
    warehouse.replace("marts.t", rows(b=["new"], a=[3]), "toys")  # columns in another order
    assert warehouse.table("marts.t", "toys")[["a", "b"]].values.tolist() == [[3, "new"]]
    assert warehouse.table("marts.t", HOSTILE)[["a", "b"]].values.tolist() == [[9, "z"]]


def test_an_error_inside_a_transaction_loses_nothing_and_frees_the_file(warehouse) -> None:
    warehouse.replace("marts.t", rows(a=[1]), "toys")
    with pytest.raises(RuntimeError, match="stop"), warehouse.transaction() as connection:
        connection.execute("delete from marts.t")
        raise RuntimeError("stop")
    assert len(warehouse.table("marts.t")) == 1
    duckdb.connect(warehouse.database, config={"custom_user_agent": "dagster"}).close()


def test_a_changed_column_keeps_the_other_partitions(warehouse) -> None:
    warehouse.replace("marts.t", rows(a=[1], b=["x"]), "toys")
    warehouse.replace("marts.t", rows(a=[2], c=[0.5]), "books")
    table = warehouse.table("marts.t")
    assert set(table.columns) == {"category", "a", "c"}
    assert table.set_index("category")["a"].to_dict() == {"toys": 1, "books": 2}
    assert np.isnan(table.set_index("category")["c"]["toys"])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 5), st.text(max_size=5)), max_size=8), st.randoms())
def test_the_content_version_ignores_order_and_nothing_else(values, random) -> None:
    connection = duckdb.connect()

    def version(items) -> str:
        frame = pd.DataFrame({"a": pd.Series([a for a, _ in items], dtype="int64"), "b": pd.Series([b for _, b in items], dtype="string")})
        connection.register("t", frame)
        return content_version(connection, "t").version

    shuffled = list(values)
    random.shuffle(shuffled)
    assert version(values) == version(shuffled)
    assert version(values) != version([*values, (0, "more")])
    if values:
        assert version(values) != version([(values[0][0] + 1, values[0][1]), *values[1:]])


def test_an_empty_frame_makes_text_columns(warehouse) -> None:
    warehouse.replace(
        "marts.t", rows(query_id=[], score=np.array([], dtype=float), none=[]).astype({"query_id": object, "none": object}), "toys"
    )
    warehouse.replace("marts.t", rows(query_id=["a"], score=[0.5], none=[None]), "books")
    assert warehouse.table("marts.t")[["query_id", "score"]].values.tolist() == [["a", 0.5]]


def test_a_table_that_was_never_built_is_named(warehouse) -> None:
    with pytest.raises(WhetstoneError, match=r"marts\.nothing.*--select nothing"):
        warehouse.table("marts.nothing")


def test_a_damaged_file_is_named(tmp_path) -> None:
    path = tmp_path / "warehouse.duckdb"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(WhetstoneError, match=r"warehouse\.duckdb"):
        Warehouse(database=str(path)).read("select 1")


def test_dropping_a_category_spares_the_others(warehouse) -> None:
    warehouse.replace("marts.t", rows(a=[1]), HOSTILE)
    warehouse.replace("marts.t", rows(a=[2]), "books")
    warehouse.replace("staging.s", rows(a=[3]), HOSTILE)
    warehouse.replace("staging.routes", rows(category=[HOSTILE, "books"]))  # has categories, but isn't made by category
    warehouse.drop_category(HOSTILE)
    assert len(warehouse.table("staging.routes")) == 2
    assert set(warehouse.written()) == {("marts.t", "books"), ("staging.routes", None)}
    assert warehouse.table("marts.t")["a"].tolist() == [2]
    assert warehouse.table("staging.s").empty


ROWS = st.lists(st.tuples(st.sampled_from(["x", "y"]), st.integers(0, 3), st.sampled_from(["a", None])), max_size=8)


@settings(max_examples=60, deadline=None)
@given(ROWS, ROWS)
def test_changed_rows_are_those_that_one_side_alone_has(new, old) -> None:
    connection = duckdb.connect()
    for name, values in (("new_t", new), ("old_t", old)):
        connection.execute(f"create table {name} (category varchar, n integer, word varchar)")
        if values:
            connection.executemany(f"insert into {name} values (?, ?, ?)", values)
    wanted = {}
    for category in ("x", "y"):
        sides = [Counter(row for row in side if row[0] == category) for side in (new, old)]
        if most := max((sides[0] - sides[1]).total(), (sides[1] - sides[0]).total()):
            wanted[category] = most
    assert count_changed(connection, "new_t", "old_t") == wanted


def test_the_contents_of_a_partition_are_remembered_in_order(warehouse) -> None:
    for numbers in ([1, 2, 3], [1, 2, 4], [1, 2, 4], [1, 2, 4, 5, 6], []):
        written = warehouse.replace("marts.t", rows(a=np.array(numbers, dtype=int), m=[{"k": str(n)} for n in numbers]), "toys")
        warehouse.replace("marts.t", rows(a=np.array([9]), m=[{"k": "9"}]), "books")
    steps = warehouse.written()["marts.t", "toys"]
    assert [(step.count_rows, step.count_changed) for step in steps][:3] == [(3, 3), (3, 1), (5, 2)]
    assert steps[-1] == Step(written.version, 0, 5) and len(warehouse.written()["marts.t", "books"]) == 1
    for number in range(20):
        warehouse.replace("marts.t", rows(a=np.array([number]), m=[{"k": ""}]), "toys")
    assert len(warehouse.written()["marts.t", "toys"]) == STEPS


def test_an_older_homes_contents_are_taken_over(warehouse) -> None:
    version = warehouse.replace("marts.t", rows(a=[1]), "toys").version
    with warehouse.get_connection() as connection:
        connection.execute(f"create or replace table {WRITTEN} as select table_name, category, version from {WRITTEN}")
    assert [step.version for step in warehouse.written()["marts.t", "toys"]] == [version]
    warehouse.replace("marts.t", rows(a=[2]), "toys")
    assert warehouse.written()["marts.t", "toys"][0].version == version
    assert warehouse.written()["marts.t", "toys"][-1].count_changed == 1


def test_a_held_table_moves_only_when_enough_of_it_changed(tmp_path: Path) -> None:
    warehouse = Warehouse(database=str(tmp_path / "w.duckdb"))

    def write(select: str, hold: float = 0.1) -> Written:
        with warehouse.transaction() as connection:
            return replace_select(connection, "marts.held", select, hold=hold)

    first = write("select range as id, 'a' as said from range(20)")
    assert first.count_held == 0 and write("select range as id, 'a' as said from range(20)") == first
    edit = "select range as id, if(range < {}, 'b', 'a') as said from range(20)"
    assert write(edit.format(2)) == replace(first, count_held=2)  # a tenth is not more than a tenth
    assert write("select range as id, 'a' as said from range(22)") == replace(first, count_held=2)
    assert warehouse.table("marts.held")["said"].tolist() == ["a"] * 20
    assert warehouse.written()["marts.held", None][-1].version == first.version
    moved = write(edit.format(3))  # counted from the table as it is, not from the last attempt
    assert moved.version != first.version and moved.count_held == 0
    assert (warehouse.table("marts.held")["said"] == "b").sum() == 3
    assert write(edit.format(2), hold=0).version != moved.version
