"""Staleness in words: which rows of an input changed, counted where the contents between are remembered."""

import dagster as dg
import pandas as pd
import pytest

from whetstone.platform.artifacts import Artifacts
from whetstone.platform.asset import asset, key_of, result
from whetstone.platform.build import Builder
from whetstone.platform.history import History
from whetstone.platform.partitions import CATEGORIES
from whetstone.platform.warehouse import Step, Warehouse, note_written


class Shop:
    """raw.catalog[c] -> staging.products[c] -> marts.runs[c], and marts.report of all products."""

    def __init__(self, tmp_path) -> None:
        self.rows = {}
        self.instance = dg.DagsterInstance.ephemeral()
        self.warehouse = Warehouse(database=str(tmp_path / "warehouse.duckdb"))
        self.artifacts = Artifacts(tmp_path)
        for category in ("books", "toys"):
            self.add(category, [1, 2, 3])

    def add(self, category: str, rows: list[int]) -> None:
        self.instance.add_dynamic_partitions("category", [category])
        self.land(category, rows, changed=len(rows))

    def land(self, category: str, rows: list[int], changed: int) -> None:
        self.rows[category] = rows
        version = f"{sorted(rows)}".encode().hex().ljust(64, "0")
        with self.warehouse.transaction() as connection:
            note_written(connection, "raw.catalog", category, Step(version, len(rows), changed))
        tags = {"dagster/data_version": version}
        self.instance.report_runless_asset_event(dg.AssetMaterialization(key_of("raw.catalog"), partition=category, tags=tags))

    def make(self, schema: str, name: str, dep: str, by_category: bool = True) -> dg.AssetsDefinition:
        shop = self

        @asset(schema=schema, name=name, group="g", kinds={"python"}, deps=[dep], by_category=by_category)
        def made(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            """A copy of the rows."""
            category = context.partition_key if by_category else None
            numbers = shop.rows[category] if by_category else [number for rows in shop.rows.values() for number in rows]
            return result(shop.warehouse.replace(f"{schema}.{name}", pd.DataFrame({"number": numbers}), category))

        return made

    def builder(self) -> Builder:
        assets = [
            dg.AssetSpec(["raw", "catalog"], partitions_def=CATEGORIES),
            self.make("staging", "products", "raw.catalog"),
            self.make("marts", "runs", "staging.products"),
            self.make("marts", "report", "staging.products", by_category=False),
        ]
        return Builder(dg.Definitions(assets=assets, executor=dg.in_process_executor), self.instance, self.artifacts, self.warehouse)

    def stale(self) -> list[str]:
        return sorted(str(each) for each in self.builder().stale())


@pytest.fixture
def shop(tmp_path) -> Shop:
    shop = Shop(tmp_path)
    shop.builder().run()
    assert shop.stale() == []
    return shop


def test_changed_rows_are_counted_hop_by_hop(shop) -> None:
    shop.land("toys", [1, 2, 4, 5], changed=2)
    assert shop.stale() == ["staging.products[toys]: raw.catalog changed, 2 of 4 rows"]
    shop.builder().run("products")
    assert shop.stale() == [
        "marts.report: staging.products changed in toys (2 of 4 rows)",
        "marts.runs[toys]: staging.products changed, 2 of 4 rows",
    ]


def test_several_changes_are_an_upper_bound_and_forgotten_ones_no_number(shop) -> None:
    shop.land("toys", [1, 2, 4], changed=1)
    shop.land("toys", [1, 2, 4, 5, 6], changed=2)
    assert shop.stale() == ["staging.products[toys]: raw.catalog changed, at most 3 of 5 rows"]
    for number in range(10, 20):
        shop.land("toys", [number], changed=1)
    assert shop.stale() == ["staging.products[toys]: raw.catalog changed"]
    shop.land("toys", [1, 2, 3], changed=3)
    assert shop.stale() == []  # back where it was


def test_categories_that_came_or_left_are_named_and_many_are_counted(shop) -> None:
    shop.add("tools", [7])
    shop.builder().run("products")
    assert "marts.report: staging.products changed in tools (new)" in shop.stale()
    shop.builder().run()
    shop.instance.delete_dynamic_partition("category", "tools")
    assert shop.stale() == ["marts.report: staging.products changed, a category left"]
    for category in ("a", "b", "c", "d"):
        shop.add(category, [1])
    shop.builder().run("products")
    assert "marts.report: staging.products changed in 4 categories" in shop.stale()


def test_a_category_that_ran_again_with_the_same_rows_is_not_named(shop) -> None:
    shop.land("books", [9, 2, 3], changed=1)
    shop.builder().run("products")
    shop.land("toys", [3, 2, 1], changed=0)
    version = shop.builder().history.latest(key_of("staging.products"))["toys"].tags
    shop.instance.report_runless_asset_event(dg.AssetMaterialization(key_of("staging.products"), partition="toys", tags=version))
    assert [line for line in shop.stale() if "report" in line] == ["marts.report: staging.products changed in books (1 of 3 rows)"]


def test_what_was_landed_of_the_whole_shop_once_does_not_hide_its_categories(tmp_path) -> None:
    """An older home has an event and a content of `raw.judgments` without a category."""
    shop = Shop(tmp_path)
    with shop.warehouse.transaction() as connection:
        note_written(connection, "raw.catalog", None, Step("0" * 64, 6, 6))
    shop.instance.report_runless_asset_event(dg.AssetMaterialization(key_of("raw.catalog"), tags={"dagster/data_version": "0" * 64}))
    shop.builder().run()
    assert shop.stale() == []
    of_the_whole = History(shop.instance).seen_by(key_of("raw.catalog"), None)
    shop.land("toys", [1, 2, 4], changed=2)
    assert shop.stale() == ["staging.products[toys]: raw.catalog changed, 2 of 3 rows"]
    assert History(shop.instance).seen_by(key_of("raw.catalog"), None) != of_the_whole
    assert {place[1] for place in shop.builder().run().built} == {"toys", None}
