from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import duckdb
import pytest

from whetstone.catalog.landing import LandingReport, land
from whetstone.catalog.source import load_source
from whetstone.catalog.source_check import check_source

SQL = Path(__file__).resolve().parents[2] / "sql"
PRODUCT_COLUMNS = "product_id, product_title, product_description, product_bullet_point, product_brand, product_color, product_locale"


@pytest.fixture(scope="module")
def slice_folder() -> Path:
    folder = os.environ.get("WHETSTONE_ESCI_DIR")
    if not folder:
        pytest.skip("WHETSTONE_ESCI_DIR is not set: no ESCI slice to land")
    return Path(folder)


@pytest.fixture(scope="module")
def landed(slice_folder: Path) -> Any:
    connection = duckdb.connect(":memory:")
    report = land(connection, load_source(SQL, "esci", slice_folder))
    yield connection, report
    connection.close()


def one(connection: duckdb.DuckDBPyConnection, query: str) -> Any:
    return connection.execute(query).fetchone()


def test_the_slice_lands(landed: tuple[duckdb.DuckDBPyConnection, LandingReport]) -> None:
    connection, report = landed
    assert report.counts == {"catalog": 6764, "queries": 110, "judgments": 4892, "engagement": 22}
    assert len(report.category_counts["catalog"]) == 35  # 34 roots and uncategorised
    assert report.category_counts["catalog"]["uncategorised"] == 252
    assert report.category_names["clothing-shoes-jewelry"] == "Clothing, Shoes & Jewelry"
    assert report.dropped == {}
    assert connection.execute("select grade, count(*) from raw.judgments group by grade order by grade").fetchall() == [
        (0, 772),
        (1, 258),
        (2, 1386),
        (4, 2476),
    ]


def test_dev_is_about_a_fifth_of_the_train_queries_and_test_is_as_given(landed: Any, slice_folder: Path) -> None:
    connection, _ = landed
    assert connection.execute("select split, count(*) from raw.queries group by split order by split").fetchall() == [
        ("dev", 18),
        ("test", 35),
        ("train", 57),
    ]
    given = duckdb.execute(
        "select distinct query_id::varchar from read_parquet($file) where split = 'test' order by 1",
        {"file": str(slice_folder / "shopping_queries_dataset_examples.parquet")},
    ).fetchall()
    assert connection.execute("select query_id from raw.queries where split = 'test' order by 1").fetchall() == given


def test_texts_and_descriptions_are_clean(landed: Any) -> None:
    connection, _ = landed
    assert one(connection, "select text from raw.catalog where product_id = '0142420956'") == (
        "Dragonbreath #1 | Books > Children's Books",
    )
    assert one(connection, "select count(*) from raw.catalog where regexp_matches(description, '</?(li|ul|br|p)[ ]*/?>|&[lr]dquo;')") == (
        0,
    )
    assert one(connection, "select count(*) from raw.catalog where description like '%<200Ω%'")[0] > 0
    assert one(connection, "select attributes from raw.catalog where product_id = '0142420956'") == ({"color": "Multicolor"},)


def test_the_check_finds_no_problem_in_the_slice(slice_folder: Path) -> None:
    assert check_source(load_source(SQL, "esci", slice_folder), grades=(0, 1, 2, 4)) == []


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """ESCI's official shape in small: two locales, no `category`, products as a folder of parts, and an event log."""
    rows = ", ".join(
        [
            "('p1', 'Spade', '<p>Digs &amp; cuts</p>', 'steel < br>sharp', 'Acme', 'red', 'us')",
            "('p2', 'Rake 5 < 6 teeth', '', 'x < 3 and y > 2', null, null, 'us')",
            "('p1', 'Spaten', null, null, null, null, 'de')",
        ]
    )
    parts = tmp_path / "shopping_queries_dataset_products.parquet"
    parts.mkdir()
    for number, condition in enumerate(("product_id = 'p1'", "product_id = 'p2'")):
        duckdb.execute(
            f"copy (select * from (values {rows}) as t({PRODUCT_COLUMNS}) where {condition}) to $file (format parquet)",
            {"file": str(parts / f"part-{number}.parquet")},
        )
    examples = (
        "(1, 'Spade', 7, 'p1', 'us', 'E', 'test'), (2, 'Spade', 7, 'p2', 'us', 'C', 'test'), (3, 'Spaten', 8, 'p1', 'de', 'E', 'train')"
    )
    duckdb.execute(
        f"copy (select * from (values {examples}) as t(example_id, query, query_id, product_id, product_locale, esci_label, split)) "
        "to $file (format parquet)",
        {"file": str(tmp_path / "shopping_queries_dataset_examples.parquet")},
    )
    return tmp_path


def test_the_official_files_land_without_a_category(official: Path) -> None:
    connection = duckdb.connect(":memory:")
    report = land(connection, load_source(SQL, "esci", official))
    assert report.category_counts["catalog"] == {"uncategorised": 2}
    assert report.counts == {"catalog": 2, "queries": 1, "judgments": 2, "engagement": 0}
    descriptions = [" ".join(text.split()) for (text,) in connection.execute("select description from raw.catalog").fetchall()]
    assert descriptions == ["Digs cuts steel sharp", "x < 3 and y > 2"]
    assert one(connection, "select text from raw.catalog where product_id = 'p1'") == ("Spade",)


def test_events_are_counted_per_query_and_product(official: Path) -> None:
    def event(
        action: str, position: int | None, product: str = "p1", query: str | None = "spade", application: str = "a"
    ) -> dict[str, Any]:
        attributes = {"object": {"object_id": product}, "position": {"ordinal": position}}
        named = {"user_query": query} if query else {}
        return {"application": application, "action_name": action, "query_id": "u1", "event_attributes": attributes} | named

    documents = [
        {"application": "a", "query_id": "u1", "user_query": "SPADE"},
        event("impression", 0),
        event("impression", 3),
        event("click", 3, query=None),  # its text is the query document's
        event("add_to_cart", None),
        event("impression", 4, application="b"),  # this application counts from 1
        event("purchase", 1, application="b"),
        event("impression", 0, product="unknown"),
        event("impression", 0, query="other"),
        {"application": "a", "action_name": "search", "query_id": "u1", "event_attributes": None},
    ]
    lines = [line for document in documents for line in ({"index": {"_index": "ubi"}}, document)]
    (official / "ubi_queries_events.ndjson").write_text("".join(json.dumps(line) + "\n" for line in lines))
    connection = duckdb.connect(":memory:")
    land(connection, load_source(SQL, "esci", official))
    # Positions 1, 4, 4 of application a (from 0) and 4, 1 of application b.
    assert connection.execute("select * exclude (category) from raw.engagement").fetchall() == [("7", "p1", 3, 1, 1, 1, 2.8)]
