"""The feed: what it waits for, what it reads, and what is left of a category that went."""

from __future__ import annotations

import json

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from tests.e2e.conftest import World

from whetstone.catalog.jobs import apply, feed_sensor, refresh
from whetstone.platform.artifacts import Artifacts
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.vectors import VectorStore, text_hash


class Daemon:
    """Looks at the feed as Dagster's daemon does: with the cursor of the look before, doing what the sensor asks for."""

    def __init__(self, world: World) -> None:
        self.world, self.cursor, self.instance = world, None, world.instance

    def look(self) -> str | set[str]:
        """Why nothing happened, or which categories and tables were reported."""
        resources = {"settings": self.world.settings, "warehouse": self.world.warehouse()}
        context = dg.build_sensor_context(self.instance, cursor=self.cursor, resources=resources)
        said = feed_sensor(context)
        self.cursor = context.cursor
        if isinstance(said, dg.SkipReason):
            return said.skip_message or ""
        for request in said.dynamic_partitions_requests:
            if isinstance(request, dg.AddDynamicPartitionsRequest):
                self.instance.add_dynamic_partitions("category", request.partition_keys)
            else:
                for category in request.partition_keys:
                    self.instance.delete_dynamic_partition("category", category)
        for event in said.asset_events:
            self.instance.report_runless_asset_event(event)
        self.said = {(event.asset_key.path[-1], event.partition) for event in said.asset_events}
        return {partition or name for name, partition in self.said}

    @property
    def categories(self) -> set[str]:
        return set(self.instance.get_dynamic_partitions("category"))


def slugs(world: World) -> set[str]:
    return set(world.warehouse().read("select distinct category from raw.catalog")["category"])


def test_the_sensor_lands_what_two_looks_found_the_same(world) -> None:
    daemon = Daemon(world)
    assert "two looks" in daemon.look()
    reported = daemon.look()
    assert {"queries", "synonyms", "incumbent_encoder", *slugs(world)} <= reported
    assert {(name, slug) for name in ("catalog", "judgments", "engagement") for slug in slugs(world)} <= daemon.said
    assert daemon.categories == slugs(world) and len(daemon.categories) == 3
    assert "hold what was landed" in daemon.look()

    product = min(world.live)
    for suffix in (" a", " b", " c"):  # still being written
        world.live[product] = (f"a lamp{suffix}", world.live[product][1])
        world.write()
        assert "two looks" in daemon.look()
        assert "lamp" not in str(world.warehouse().table("raw.catalog").set_index("product_id")["title"][product])
    assert daemon.look() == set(
        world.warehouse().read("select category from raw.catalog where product_id = $p", {"p": product})["category"]
    )
    assert world.warehouse().table("raw.catalog").set_index("product_id")["title"][product] == "a lamp c"


def test_categories_come_and_go_with_their_products(world) -> None:
    daemon = Daemon(world)
    daemon.look(), daemon.look()
    before = daemon.categories
    gone, path = min(slugs(world)), min(said[1][0] for said in world.live.values())
    product = next(key for key, said in world.live.items() if said[1][0] != path)
    world.live = {key: said for key, said in world.live.items() if said[1][0] != path}
    old = world.warehouse().read("select category from raw.catalog where product_id = $p", {"p": product})["category"][0]
    world.live[product] = (world.live[product][0], ["Brand new"])
    world.write()
    daemon.look()
    assert daemon.look() >= {"brand-new", old}
    assert daemon.categories == before - {gone} | {"brand-new"}


def test_a_file_that_changes_between_look_and_landing_is_not_landed(world) -> None:
    with pytest.raises(WhetstoneError, match="changed while they were read"):
        refresh(world.settings, world.warehouse(), world.instance, seen="what was seen")
    assert not world.warehouse().written()


def test_a_truncated_file_is_named_and_the_last_landing_stays(world) -> None:
    daemon = Daemon(world)
    daemon.look(), daemon.look()
    before = world.warehouse().table("raw.catalog")
    file = world.files / "products.parquet"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert "two looks" in daemon.look()
    assert str(file) in daemon.look()
    pd.testing.assert_frame_equal(world.warehouse().table("raw.catalog"), before)
    file.write_bytes(content)
    daemon.look()
    assert "hold what was landed" in daemon.look()


def make_something_of(world: World, category: str) -> Artifacts:
    """Rows, artifacts and cached vectors of a category, as a build leaves them."""
    artifacts, warehouse = Artifacts(world.settings.root / "artifacts"), world.warehouse()
    for table in ("staging.products", "marts.grades", "meta.grading"):
        warehouse.replace(table, pd.DataFrame({"n": [1, 2]}), category)
    for kind in ("vectors", "index"):
        for version in (1, 2):
            inputs = {"category": category, "n": version}
            artifacts.make(kind, inputs, lambda folder: (folder / "content").write_text("x") and {})
    texts = warehouse.read("select text from raw.catalog where category = $c", {"c": category})["text"].tolist()
    for encoder in ("base", "champion"):
        encode = lambda some: np.ones((len(some), 4), np.float32)  # noqa: E731
        VectorStore(world.settings.root / "vectors").get(encoder, [text_hash(text) for text in texts], texts, encode)
    return artifacts


def categories_of(artifacts: Artifacts) -> list[str]:
    return sorted(json.loads(each.read_text())["inputs"]["category"] for each in artifacts.root.glob("*/*/artifact.json"))


def cached(world: World) -> set[str]:
    import sqlite3

    rows = sqlite3.connect(world.settings.root / "vectors" / "vectors.sqlite").execute("select encoder, text_hash from vectors").fetchall()
    assert len({encoder for encoder, _ in rows}) == 2
    return {text for _, text in rows}


def without(world: World, path: str) -> None:
    world.live = {key: said for key, said in world.live.items() if said[1][0] != path}
    world.write()


def made(world: World) -> set[str | None]:
    """Categories of the tables that assets make."""
    return {category for table, category in world.warehouse().written() if not table.startswith("raw.")}


@pytest.mark.parametrize("killed_at", [None, "drop_category", "rmtree", "keep"])
def test_nothing_is_left_of_a_category_that_went_however_often_the_feed_is_killed(world, monkeypatch, killed_at) -> None:
    apply(refresh(world.settings, world.warehouse(), world.instance), world.instance)
    gone, stays, _ = sorted(slugs(world))
    for category in (gone, stays):
        artifacts = make_something_of(world, category)
    assert len(categories_of(artifacts)) == 8
    catalog = world.warehouse().table("raw.catalog")
    texts = {name: set(rows["text_hash"]) for name, rows in catalog.groupby("category")}
    assert cached(world) == texts[gone] | texts[stays]

    without(world, min(said[1][0] for said in world.live.values()))
    if killed_at:
        target = {"drop_category": "whetstone.platform.warehouse.Warehouse", "keep": "whetstone.platform.vectors.VectorStore"}
        place = f"{target.get(killed_at, 'whetstone.platform.artifacts.shutil')}.{killed_at}"

        def die(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(place, die)
            with pytest.raises(KeyboardInterrupt):
                refresh(world.settings, world.warehouse(), world.instance)
        assert gone in world.instance.get_dynamic_partitions("category")
    feed = refresh(world.settings, world.warehouse(), world.instance)
    assert feed.removed == [gone]
    apply(feed, world.instance)
    assert made(world) == {stays}
    assert categories_of(artifacts) == [stays] * 4 and len(list(artifacts.root.glob("*/*"))) == 4
    assert cached(world) == texts[stays]
    assert gone not in world.instance.get_dynamic_partitions("category")
    assert len(world.warehouse().table("marts.grades", stays)) == 2


def test_rows_that_a_run_under_way_wrote_for_a_category_that_went_go_at_the_next_look(world) -> None:
    apply(refresh(world.settings, world.warehouse(), world.instance), world.instance)
    world.warehouse().replace("marts.grades", pd.DataFrame({"n": [1]}), "long-gone")
    feed = refresh(world.settings, world.warehouse(), world.instance)
    assert not feed.removed and not made(world)
