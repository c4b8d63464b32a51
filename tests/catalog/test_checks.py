"""Warnings of the feed: old files, and a category that shrank or grew at once."""

import os
from datetime import UTC, datetime, timedelta

import dagster as dg
import pandas as pd
import pytest

from whetstone.catalog.checks import count_is_steady, feed_is_fresh
from whetstone.platform.artifacts import Artifacts
from whetstone.platform.asset import key_of
from whetstone.platform.build import Builder
from whetstone.platform.checking import run_checks
from whetstone.platform.partitions import CATEGORIES
from whetstone.platform.settings import Settings
from whetstone.platform.warehouse import Warehouse


@pytest.mark.parametrize(("limit", "days", "passed"), [(None, 99, True), (2, 1, True), (2, 3, False)])
def test_the_newest_file_tells_whether_the_feed_is_fresh(shop, monkeypatch, limit, days, passed) -> None:
    shop.spec(fresh_days=limit)
    newest = datetime.now(UTC) - timedelta(days=days)
    for age, path in enumerate(sorted(shop.data.iterdir())):
        os.utime(path, (newest.timestamp() - age * 86_400,) * 2)
    monkeypatch.setattr("whetstone.catalog.source.open_source", lambda settings: shop.load())
    found = feed_is_fresh(settings=Settings())
    assert found.passed is passed and found.severity == dg.AssetCheckSeverity.WARN
    assert f"{newest:%Y-%m-%d %H:%M}" in found.description


@pytest.mark.parametrize(("counts", "passed"), [([10], True), ([10, 12], True), ([10, 13], False), ([10, 7], False), ([10, 7, 8], True)])
def test_a_category_that_changes_by_more_than_a_fifth_is_told(tmp_path, counts, passed) -> None:
    warehouse, instance = Warehouse(database=str(tmp_path / "warehouse.duckdb")), dg.DagsterInstance.ephemeral()
    instance.add_dynamic_partitions("category", ["toys"])
    instance.report_runless_asset_event(dg.AssetMaterialization(key_of("staging.products"), partition="toys"))

    @dg.asset(key=key_of("staging.products"), partitions_def=CATEGORIES)
    def products() -> None:
        raise AssertionError("a check makes no asset")

    for count in counts:
        warehouse.replace("staging.products", pd.DataFrame({"product_id": range(count)}), "toys")
    definitions = dg.Definitions([products], asset_checks=[count_is_steady], resources={"warehouse": warehouse})
    [found] = run_checks(Builder(definitions, instance, Artifacts(tmp_path)))
    assert found.status == ("passed" if passed else "failed") and not found.stops
    assert found.said.endswith(f"{counts[-1]} products")
