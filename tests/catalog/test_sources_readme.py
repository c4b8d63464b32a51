from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

from whetstone.catalog.contracts import CONTRACTS
from whetstone.catalog.landing import land
from whetstone.catalog.source import Source, SourceSpec, load_source
from whetstone.catalog.source_check import check_source

README = (Path(__file__).resolve().parents[2] / "sql" / "sources" / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def teahouse(tmp_path: Path) -> Source:
    """The worked example, file by file as the README prints it."""
    for name, content in re.findall(r"^`([\w./-]+)`\n```\w+\n(.*?)^```", README, re.DOTALL | re.MULTILINE):
        path = tmp_path / (name if name.startswith("sql/") else f"data/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return load_source(tmp_path / "sql", "teahouse", tmp_path / "data")


def test_the_worked_example_has_no_problem_and_lands(teahouse: Source) -> None:
    assert check_source(teahouse) == []
    connection = duckdb.connect(":memory:")
    report = land(connection, teahouse)
    assert report.counts == {"catalog": 3, "queries": 2, "judgments": 2, "engagement": 1}
    assert connection.execute("select product_id, category, text from raw.catalog order by 1").fetchall() == [
        ("007", "tea-green", "Uji & Sons Sencha, 100 g | Green"),
        ("008", "tea-black", "Assam, second flush, 250 g | Black"),
        ("009", "uncategorised", "Gift card"),
    ]
    assert connection.execute("select text, frequency, segment from raw.queries order by frequency").fetchall() == [
        ("assam", 1, "torso"),
        ("green tea", 2, "head"),
    ]
    assert connection.execute("select impressions, clicks, mean_rank from raw.engagement").fetchall() == [(2, 1, 2.0)]


def test_the_same_shop_lands_from_a_database(teahouse: Source) -> None:
    folder = teahouse.folder.parent / "teawarehouse"
    for table in ("queries", "judgments", "engagement"):
        (folder / f"{table}.sql").write_text((teahouse.folder / f"{table}.sql").read_text(encoding="utf-8"), encoding="utf-8")
    with duckdb.connect(str(teahouse.data / "shop.duckdb")) as connection:
        rows = f"from read_csv('{teahouse.data / 'products.csv'}', header = true, all_varchar = true)"
        connection.execute(f"create table products as select *, sku <> '009' as on_sale {rows}")
    source = load_source(folder.parents[1], "teawarehouse", teahouse.data)
    assert check_source(source) == []
    connection = duckdb.connect(":memory:")
    assert land(connection, source).counts == {"catalog": 2, "queries": 2, "judgments": 2, "engagement": 1}
    assert connection.execute("select product_id, category_name from raw.catalog order by 1").fetchall() == [("007", "Tea"), ("008", "Tea")]
    assert connection.execute("select database_name from duckdb_databases() where not internal").fetchall() == [("memory",)]


def test_the_table_of_columns_is_the_contract() -> None:
    documented = dict(re.findall(r"^\| `(\w+)\.sql` \| [^|]+ \| (.+) \|$", README, re.MULTILINE))
    for table, contract in CONTRACTS.items():
        columns = [f"`{column.name}` {column.type}{' ?' if column.nullable else ''}" for column in contract.columns]
        assert re.split(r", (?=`)", documented[table]) == columns
        assert f"| `{table}.sql` | {contract.grain} |" in README


def test_the_table_of_keys_is_the_model() -> None:
    section = README.split("## What source.yml holds")[1].split("## A worked example")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(SourceSpec.model_fields)
