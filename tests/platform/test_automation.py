"""What the daemon does by itself: conditions tick by tick, and the sweep."""

import dagster as dg
import pytest

from whetstone.platform.artifacts import Artifacts
from whetstone.platform.asset import asset, key_of, result
from whetstone.platform.automation import sweep_sensor
from whetstone.platform.build import Builder
from whetstone.platform.partitions import CATEGORIES
from whetstone.platform.warehouse import Warehouse


class Chain:
    """raw -> a -> b -> nightly, two categories, contents decided by the test."""

    def __init__(self, tmp_path) -> None:
        self.content = {"a": "same", "b": "same"}
        self.instance = dg.DagsterInstance.ephemeral()
        self.instance.add_dynamic_partitions("category", ["books", "toys"])
        self.artifacts = Artifacts(tmp_path)
        self.warehouse = Warehouse(database=str(tmp_path / "warehouse.duckdb"))
        for category in ("books", "toys"):
            self.feed(category, "1")
        assets = [dg.AssetSpec(["raw", "catalog"], partitions_def=CATEGORIES), self.make("a", "raw.catalog"), self.make("b", "models.a")]
        self.definitions = dg.Definitions(
            assets=assets,
            sensors=[sweep_sensor()],
            resources={"artifacts": self.artifacts, "warehouse": self.warehouse},
            executor=dg.in_process_executor,
        )
        self.cursor = None
        self.build()
        self.tick()

    def make(self, name: str, dep: str) -> dg.AssetsDefinition:
        chain = self

        @asset(schema="models", name=name, group="g", kinds={"python"}, deps=[dep])
        def made(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            """A link."""
            return result(version=f"{chain.content[name]}-{context.partition_key}")

        return made

    def feed(self, category: str, version: str) -> None:
        tags = {"dagster/data_version": version}
        self.instance.report_runless_asset_event(dg.AssetMaterialization(key_of("raw.catalog"), partition=category, tags=tags))

    def build(self, **options) -> None:
        Builder(self.definitions, self.instance, self.artifacts).run(**options)

    def tick(self) -> set[str]:
        outcome = dg.evaluate_automation_conditions(self.definitions, self.instance, cursor=self.cursor)
        self.cursor = outcome.cursor
        keys = (key_of("models.a"), key_of("models.b"))
        return {f"{key.path[-1]}[{partition}]" for key in keys for partition in outcome.get_requested_partitions(key)}


@pytest.fixture
def chain(tmp_path) -> Chain:
    return Chain(tmp_path)


def test_a_rerun_with_the_same_content_requests_nothing(chain) -> None:
    assert chain.tick() == set()
    chain.feed("toys", "1")
    assert chain.tick() == set()


def test_changed_content_goes_hop_by_hop_and_stops_where_it_is_the_same(chain) -> None:
    chain.feed("toys", "2")
    assert chain.tick() == {"a[toys]"}
    chain.build(select="a")
    assert chain.tick() == set()  # a's content did not change
    chain.feed("toys", "3")
    chain.content["a"] = "new"
    assert chain.tick() == {"a[toys]"}
    chain.build(select="a", categories=["toys"])
    assert chain.tick() == {"b[toys]"}


def test_the_sweep_repairs_what_events_missed_and_asks_once(chain) -> None:
    sensor = chain.definitions.resolve_sensor_def("sweep")

    def sweep() -> list[tuple[str, str, str]]:
        repository = chain.definitions.get_repository_def()
        context = dg.build_sensor_context(
            chain.instance, repository_def=repository, resources={"artifacts": chain.artifacts, "warehouse": chain.warehouse}
        )
        made = sensor(context)
        requests = [] if isinstance(made, dg.SkipReason) else made
        return [(r.asset_selection[0].path[-1], r.partition_key, r.run_key) for r in requests]

    assert sweep() == []
    chain.feed("books", "2")
    chain.content["a"] = "new"
    first = sweep()
    assert [each[:2] for each in first] == [("a", "books")]  # b waits until a is made
    assert sweep() == first  # the same state has the same run key, so the daemon drops it
    chain.build(select="a")
    assert [each[:2] for each in sweep()] == [("b", "books")]
