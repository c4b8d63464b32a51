from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from typing import Any

import duckdb
import pytest

from whetstone.catalog import landing
from whetstone.catalog.landing import LandingReport, land
from whetstone.platform.errors import WhetstoneError

Rows = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def connection() -> Any:
    connection = duckdb.connect(":memory:")
    yield connection
    connection.close()


def everything(connection: duckdb.DuckDBPyConnection) -> list[Any]:
    return [connection.execute(f"from raw.{table} order by all").fetchall() for table in ("catalog", "queries", "judgments", "engagement")]


def changed(first: LandingReport, second: LandingReport) -> set[tuple[str, str]]:
    """Tables and categories whose version is not the same."""
    before, after = (
        {(table, category): version for table, versions in each.category_versions.items() for category, version in versions.items()}
        for each in (first, second)
    )
    assert first.queries_version == second.queries_version
    return {place for place, _ in before.items() ^ after.items()}


def test_products_land_cleaned_with_category_and_text(shop: Any, connection: Any) -> None:
    shop.spec(category_depth=2, text="{title} | {category_leaf}")
    report = land(connection, shop.load())
    found = connection.execute(
        "select product_id, category, category_name, category_path, title, brand, attributes, text from raw.catalog"
    ).fetchall()
    assert found == [
        ("p2", "garden", "Garden", ["Garden"], "Rake", None, {}, "Rake | Garden"),
        ("p1", "garden-tools", "Garden > Tools", ["Garden", "Tools"], "Spade", "Acme", {"color": "red", "size": "M"}, "Spade | Tools"),
        ("p3", "toys", "Toys", ["Toys"], "Toy spade", None, {}, "Toy spade | Toys"),
        ("p4", "uncategorised", "uncategorised", [], "Voucher", None, {}, "Voucher"),
    ]
    hashes = connection.execute("select text, text_hash from raw.catalog").fetchall()
    assert all(hashlib.sha256(text.encode()).hexdigest() == digest for text, digest in hashes)
    assert report.counts == {"catalog": 4, "queries": 3, "judgments": 3, "engagement": 1}
    assert report.category_counts["catalog"] == {"garden": 1, "garden-tools": 1, "toys": 1, "uncategorised": 1}
    assert report.category_names["garden-tools"] == "Garden > Tools"
    assert report.dropped == {}
    assert connection.execute("select count(*) from duckdb_tables() where temporary").fetchone() == (0,)


def test_segments_follow_the_traffic(shop: Any, connection: Any, rows: Rows) -> None:
    # 50 of 100 are the first half: the next query begins the torso, and the one that begins at 80 the tail.
    land(connection, shop.load())
    assert connection.execute("select query_id, text, segment from raw.queries").fetchall() == [
        ("q1", "spade red", "head"),
        ("q2", "rake", "torso"),
        ("q3", "toys", "tail"),
    ]
    # One query with most of the traffic is the head alone; equal frequencies go by id; a query never counted is tail.
    numbers = {"a": 900, "b": 50, "c": 50, "d": None}
    shop.write("queries", [{"id": key, "text": "x", "frequency": number, "split": "train"} for key, number in numbers.items()])
    land(connection, shop.load())
    assert connection.execute("select segment from raw.queries").fetchall() == [("head",), ("tail",), ("tail",), ("tail",)]


def test_segments_follow_the_words_where_no_frequency_is_known(shop: Any, connection: Any) -> None:
    texts = ["one", "one  two", "one two three", "one two three four", "one two three four five"]
    shop.write("queries", [{"id": str(i), "text": text, "frequency": None, "split": "train"} for i, text in enumerate(texts)])
    land(connection, shop.load())
    assert [row[0] for row in connection.execute("select segment from raw.queries").fetchall()] == [
        "head",
        "head",
        "torso",
        "torso",
        "tail",
    ]


def test_landing_twice_and_in_another_order_gives_the_same(shop: Any, connection: Any, rows: Rows) -> None:
    first, landed = land(connection, shop.load()), everything(connection)
    assert land(connection, shop.load()) == first
    for table in ("products", "queries", "judgments", "engagement"):
        shuffled = rows(table)
        random.Random(1).shuffle(shuffled)
        for row in shuffled:
            if row.get("attributes"):
                row["attributes"] = dict(reversed(row["attributes"].items()))
        shop.write(table, shuffled)
    assert land(connection, shop.load()) == first
    assert everything(connection) == landed


def test_an_edited_title_changes_its_category_only(shop: Any, connection: Any, rows: Rows) -> None:
    first = land(connection, shop.load())
    edited = rows("products")
    edited[2]["title"] = "Toy shovel"
    shop.write("products", edited)
    second = land(connection, shop.load())
    assert changed(first, second) == {("catalog", "toys")}


def test_a_price_edit_changes_nothing(shop: Any, connection: Any, rows: Rows) -> None:
    first = land(connection, shop.load())
    edited = rows("products")
    for row in edited:
        row["price"] += 1
    shop.write("products", edited)
    assert land(connection, shop.load()) == first


def test_a_product_that_moves_changes_both_categories(shop: Any, connection: Any, rows: Rows) -> None:
    first = land(connection, shop.load())
    moved = rows("products")
    moved[1]["path"] = ["Sheds"]
    shop.write("products", moved)
    second = land(connection, shop.load())
    sheds = {(table, "sheds") for table in ("catalog", "judgments", "engagement")}
    assert changed(first, second) == sheds | {("catalog", "garden"), ("judgments", "garden")}


def test_each_table_has_its_own_version(shop: Any, connection: Any, rows: Rows) -> None:
    first = land(connection, shop.load())
    edited = rows("judgments")
    edited[0]["grade"] = 3
    shop.write("judgments", edited)
    second = land(connection, shop.load())
    assert changed(first, second) == {("judgments", "garden")}


def test_pairs_of_unknown_products_or_queries_are_dropped_and_counted(shop: Any, connection: Any, rows: Rows) -> None:
    clean = land(connection, shop.load())
    extra = [
        {"query": "q1", "product": "gone", "grade": 4},
        {"query": "gone", "product": "p1", "grade": 4},
        {"query": "x", "product": "y", "grade": 0},
    ]
    shop.write("judgments", rows("judgments") + extra)
    report = land(connection, shop.load())
    assert report.dropped == {"judgments of an unknown product": 2, "judgments of an unknown query": 2}
    assert changed(clean, report) == set()
    assert report.counts["judgments"] == 3


def test_every_kind_of_bad_row_is_refused_at_once_and_nothing_changes(shop: Any, connection: Any, rows: Rows) -> None:
    land(connection, shop.load())
    landed = everything(connection)
    bad = [*rows("products"), rows("products")[0], {"id": " ", "title": "x"}, {"id": "p9", "title": "\u00a0"}, {"id": "p8", "title": None}]
    shop.write("products", [*bad, {"id": "p7", "title": "x", "path": ["Garden", ""]}])
    shop.write("queries", [*rows("queries"), {"id": "q9", "text": "", "frequency": -1, "split": "valid"}])
    shop.write("judgments", [*rows("judgments"), rows("judgments")[0], {"query": "q1", "product": "p3", "grade": 5}])
    shop.write("engagement", [*rows("engagement"), {"query": "q1", "product": "p1", "shown": 1, "clicks": -1, "rank": 0}])
    with pytest.raises(WhetstoneError, match="nothing was changed") as error:
        land(connection, shop.load())
    said = str(error.value)
    for line in (
        'products.sql: duplicate id in 1 row: row 5 {"product_id":"p1"}',
        "products.sql: empty id in 1 row: row 6",
        "products.sql: null title in 1 row: row 7",
        "products.sql: null title in 1 row: row 8",
        "products.sql: unknown category in 1 row: row 9",
        "queries.sql: empty query in 1 row",
        "queries.sql: unknown split in 1 row",
        "queries.sql: negative number in 1 row",
        "judgments.sql: duplicate pair in 1 row",
        "judgments.sql: grade outside the guideline in 1 row",
        "engagement.sql: negative number in 1 row",
        "engagement.sql: rank below 1 in 1 row",
        "whetstone source check",
    ):
        assert line in said
    assert everything(connection) == landed


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("select '1' as query_id, 'x' as text, 1 as frequency", "no column split VARCHAR"),
        ("select 1 as query_id, 'x' as text, 1 as frequency, 'train' as split", "query_id is INTEGER, not VARCHAR.*cast it"),
        ("select '1' as query_id, 'x' as text, 1 as frequency, 'train' as split, 2 as age", "contract has not: age"),
        ("select nothing from read_ndjson($queries)", "(?s)queries.sql could not be read: Binder Error.*nothing.*queries.ndjson"),
    ],
)
def test_a_select_that_breaks_the_contract_is_named(shop: Any, connection: Any, sql: str, said: str) -> None:
    shop.select("queries", sql)
    with pytest.raises(WhetstoneError, match=said):
        land(connection, shop.load())


def test_a_half_written_file_is_named_and_nothing_changes(shop: Any, connection: Any, rows: Rows) -> None:
    land(connection, shop.load())
    landed = everything(connection)
    path = shop.data / "judgments.ndjson"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(WhetstoneError, match=r"judgments\.ndjson"):
        land(connection, shop.load())

    connection.execute(
        "copy (select range::varchar as query, 'p1' as product, 4 as grade from range(20000)) to $file (format parquet)",
        {"file": str(path)},
    )
    path.write_bytes(path.read_bytes()[:-1000])
    shop.select(
        "judgments",
        "select query as query_id, product as product_id, grade, null::integer[] as raters, '' as source from read_parquet($judgments)",
    )
    with pytest.raises(WhetstoneError, match=r"judgments\.sql could not be read.*judgments\.ndjson"):
        land(connection, shop.load())
    assert everything(connection) == landed


def test_files_that_change_while_they_are_read_are_refused(shop: Any, connection: Any, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    land(connection, shop.load())
    landed = everything(connection)
    read = landing.read_table

    def read_and_write(*arguments: Any) -> None:
        read(*arguments)
        shop.write("products", rows("products")[:2])

    monkeypatch.setattr(landing, "read_table", read_and_write)
    with pytest.raises(WhetstoneError, match="changed while they were read"):
        land(connection, shop.load())
    assert everything(connection) == landed


@pytest.mark.parametrize("step", ["_landed_selects", "_report"])
def test_an_error_while_replacing_rolls_all_tables_back(
    shop: Any, connection: Any, rows: Rows, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    land(connection, shop.load())
    landed = everything(connection)
    shop.write("products", rows("products")[:2])
    selects = landing._landed_selects

    def broken(*arguments: Any) -> dict[str, str]:
        if step == "_landed_selects":
            return selects(*arguments) | {"engagement": "select error('disk full')"}
        raise KeyboardInterrupt("disk full")

    monkeypatch.setattr(landing, step, broken)
    with pytest.raises((duckdb.Error, KeyboardInterrupt), match="disk full"):
        land(connection, shop.load())
    assert everything(connection) == landed
    monkeypatch.undo()
    assert land(connection, shop.load()).counts["catalog"] == 2


def test_hostile_names_land_as_they_are(shop: Any, connection: Any) -> None:
    names = ["../../etc", "a'; drop table x; --", "🍵", "x" * 200, "Tea", "tea", 'quo"te\n', "Uncategorised", "$category"]
    shop.write("products", [{"id": f"{i},'\"\n/..", "title": name, "path": [name]} for i, name in enumerate(names)])
    report = land(connection, shop.load())
    assert report.counts["catalog"] == len(names)
    assert len(report.category_counts["catalog"]) == len(names)
    assert set(report.category_names.values()) == {json.loads(json.dumps(name)).strip() for name in names}
    assert connection.execute("select product_id from raw.catalog where title = 'Tea'").fetchone() == ("4,'\"\n/..",)


def test_absent_optional_files_give_empty_tables(shop: Any, connection: Any) -> None:
    (shop.data / "engagement.ndjson").unlink()
    assert land(connection, shop.load()).counts["engagement"] == 0
    assert [row[0] for row in connection.execute("describe raw.engagement").fetchall()][-2:] == ["mean_rank", "category"]


def test_a_landing_remembers_how_many_rows_changed_in_each_category(shop: Any, connection: Any, rows: Rows) -> None:
    first = land(connection, shop.load())
    products = rows("products")
    products[0]["title"] = "Shovel"
    products.append({"id": "p5", "path": ["Toys"], "title": "Ball", "brand": None, "attributes": None, "price": 2})
    shop.write("products", products)
    shop.write("judgments", rows("judgments")[:1])
    second = land(connection, shop.load())
    written = "select table_name, category, version, count_rows, count_changed from meta.written order by all"
    found = {(table, category, version): counts for table, category, version, *counts in connection.execute(written).fetchall()}
    toys = [found["raw.catalog", "toys", report.category_versions["catalog"]["toys"]] for report in (first, second)]
    assert toys == [[1, 0], [2, 1]]
    assert found["raw.catalog", "garden", second.category_versions["catalog"]["garden"]] == [2, 1]
    assert found["raw.judgments", "garden", second.category_versions["judgments"]["garden"]] == [1, 2]
    assert len([place for place in found if place[0] == "raw.queries"]) == 1  # nothing changed there
