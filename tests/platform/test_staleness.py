"""A toy graph of two categories: raw -> a -> b -> all -> c, each with a content that the test decides."""

import dagster as dg
import pytest
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES

from whetstone.platform.artifacts import Artifacts
from whetstone.platform.asset import BUILD_TAG, asset, changed_contents, key_of, result
from whetstone.platform.build import Builder
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.history import History
from whetstone.platform.partitions import CATEGORIES
from whetstone.platform.staleness import Stale, name_of


class World:
    """Contents by asset and partition, what fails, and a log of what ran."""

    def __init__(self, tmp_path) -> None:
        self.content: dict[tuple[str, str | None], str] = {}
        self.failing: set[tuple[str, str | None]] = set()
        self.bad_checks: set[tuple[str, str]] = set()
        self.ran: list[str] = []
        self.versions = {"a": "1", "b": "1"}
        self.reads = ["marts.b"]  # by `whole`
        self.reports: dict[str, str] = {}  # by `whole`: versions of raw.parts by category
        self.instance = dg.DagsterInstance.ephemeral()
        self.artifacts = Artifacts(tmp_path)
        self.instance.add_dynamic_partitions("category", ["books", "toys"])
        for category in ("books", "toys"):
            self.feed(category, "1")

    def feed(self, category: str, version: str) -> None:
        tags = {"dagster/data_version": version}
        self.instance.report_runless_asset_event(dg.AssetMaterialization(key_of("raw.catalog"), partition=category, tags=tags))

    def make(self, name: str, deps: list[str], by_category: bool = True) -> dg.AssetsDefinition:
        world = self

        @asset(
            schema="marts", name=name, group="g", kinds={"python"}, deps=deps, by_category=by_category, version=self.versions.get(name, "1")
        )
        def made(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            """A toy."""
            partition = context.partition_key if by_category else None
            world.ran.append(f"{name}[{partition}]" if partition else name)
            if (name, partition) in world.failing:
                raise RuntimeError(f"{name} broke")
            if name == "whole":
                parts = {("raw.parts", category): (version, {}) for category, version in world.reports.items()}
                for event in changed_contents(History(context.instance), parts):
                    context.instance.report_runless_asset_event(event)
            return result(version=world.content.get((name, partition), "same"))

        return made

    def builder(self) -> Builder:
        world = self

        @dg.asset_check(asset=key_of("marts.a"), blocking=True, partitions_def=CATEGORIES, name="is_good")
        def is_good(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=("a", context.partition_key) not in world.bad_checks)

        assets = [
            dg.AssetSpec(["raw", "catalog"], partitions_def=CATEGORIES),
            self.make("a", ["raw.catalog"]),
            self.make("b", ["marts.a"]),
            self.make("whole", self.reads, by_category=False),
            self.make("c", ["marts.whole"]),
        ]
        if self.reports:
            assets += [
                dg.AssetSpec(["raw", "parts"], partitions_def=CATEGORIES, deps=[key_of("marts.whole")]),
                self.make("d", ["raw.parts"]),
            ]
        definitions = dg.Definitions(assets=assets, asset_checks=[is_good], executor=dg.in_process_executor)
        return Builder(definitions, self.instance, self.artifacts)

    def build(self, **options) -> list[str]:
        self.ran.clear()
        self.outcome = self.builder().run(**options)
        return sorted(self.ran)


@pytest.fixture
def world(tmp_path) -> World:
    world = World(tmp_path)
    assert world.build() == ["a[books]", "a[toys]", "b[books]", "b[toys]", "c[books]", "c[toys]", "whole"]
    return world


def test_nothing_changed_nothing_runs(world) -> None:
    assert world.build() == []
    assert str(world.outcome) == "built 0, up to date 7, failed 0"


def test_a_changed_input_runs_its_partition_and_stops_where_content_is_the_same(world) -> None:
    world.feed("toys", "2")
    assert [str(s) for s in world.builder().stale()] == ["marts.a[toys]: raw.catalog changed"]
    assert world.build() == ["a[toys]"]


def test_a_changed_content_goes_on_through_fan_in_and_fan_out(world) -> None:
    world.feed("toys", "2")
    world.content |= {("a", "toys"): "new", ("b", "toys"): "new", ("whole", None): "new"}
    assert world.build() == ["a[toys]", "b[toys]", "c[books]", "c[toys]", "whole"]
    assert world.build() == []


def test_what_an_asset_reports_by_category_runs_the_changed_categories_once(world) -> None:
    world.reports = {"books": "1", "toys": "1"}
    world.versions["whole"] = "2"
    assert world.build() == ["d[books]", "d[toys]", "whole"]
    world.feed("toys", "2")
    world.content |= {("a", "toys"): "new", ("b", "toys"): "new"}
    world.reports = {"books": "1", "toys": "2"}
    assert world.build() == ["a[toys]", "b[toys]", "d[toys]", "whole"]
    assert world.ran.index("whole") < world.ran.index("d[toys]")
    assert {name_of(place) for place in world.builder().selected("whole+", None)} >= {"marts.d[books]", "marts.d[toys]"}
    assert (key_of("marts.whole"), None) in world.builder().selected("+d", None)
    assert (key_of("marts.whole"), None) in world.builder().selected("parts", None)


def test_the_same_version_reported_again_is_no_change(world) -> None:
    world.feed("toys", "1")
    assert world.build() == []


def test_an_input_that_is_no_longer_read_makes_stale_once(world) -> None:
    world.reads = ["marts.a", "marts.b"]
    assert world.build() == ["whole"]
    world.reads = ["marts.b"]
    assert [str(s) for s in world.builder().stale()] == ["marts.whole: no longer reads marts.a"]
    assert world.build() == ["whole"]
    assert world.build() == []


def test_a_tag_of_another_kind_is_no_input(world) -> None:
    latest = world.builder().history.latest(key_of("marts.whole"))[None]
    tags = {**latest.tags, BUILD_TAG: "build-1"}
    world.instance.report_runless_asset_event(dg.AssetMaterialization(key_of("marts.whole"), tags=tags))
    assert world.build() == []


def test_changed_code_runs_every_partition_of_that_asset_alone(world) -> None:
    world.versions["b"] = "2"
    assert world.build() == ["b[books]", "b[toys]"]


def test_a_failure_holds_back_what_reads_it_and_nothing_else(world) -> None:
    world.versions["a"], world.versions["b"] = "2", "2"
    world.failing = {("a", "toys")}
    assert world.build() == ["a[books]", "a[toys]", "b[books]"]
    assert [name_of(place) for place in world.outcome.failed] == ["marts.a[toys]"]
    assert "a broke" in next(iter(world.outcome.failed.values()))
    assert {name_of(place): reason for place, reason in world.outcome.held_back.items()} == {"marts.b[toys]": "marts.a[toys]"}
    world.failing.clear()
    assert world.build() == ["a[toys]", "b[toys]"]


def test_assets_further_on_use_the_last_good_content(world) -> None:
    world.feed("toys", "2")
    world.feed("books", "2")
    world.content |= {("a", "books"): "new", ("b", "books"): "new"}
    world.failing = {("a", "toys")}
    assert world.build() == ["a[books]", "a[toys]", "b[books]", "whole"]
    assert not world.outcome.held_back


def test_a_failed_blocking_check_stops_what_follows_until_it_passes(world) -> None:
    world.feed("toys", "2")
    world.content[("a", "toys")] = "new"
    world.bad_checks = {("a", "toys")}
    assert world.build() == ["a[toys]"]
    assert "is_good" in next(iter(world.outcome.failed.values()))
    assert world.build() == ["a[toys]"]  # still not good, and still not walked past
    world.bad_checks.clear()
    assert world.build() == ["a[toys]", "b[toys]"]


def test_a_new_category_is_built_and_a_dropped_one_forgotten(world) -> None:
    world.instance.add_dynamic_partitions("category", ["garden"])
    world.feed("garden", "1")
    assert world.build() == ["a[garden]", "b[garden]", "c[garden]", "whole"]
    world.instance.delete_dynamic_partition("category", "garden")
    assert world.build() == ["whole"]


def test_a_check_that_a_kill_prevented_counts_as_not_passed(world) -> None:
    event = dg.AssetMaterialization(key_of("marts.a"), partition="toys", tags={"dagster/data_version": "x"})
    world.instance.report_runless_asset_event(event)
    reasons = {s.partition: s.reasons for s in world.builder().stale() if s.key == key_of("marts.a")}
    assert any("is_good" in reason for reason in reasons["toys"])


@pytest.mark.parametrize("status", sorted(IN_PROGRESS_RUN_STATUSES, key=str))
def test_runs_of_a_killed_build_are_ended_and_nobody_elses(world, status) -> None:
    job = world.builder().job
    ours, other = (world.instance.create_run_for_job(job, status=status, tags=tags).run_id for tags in ({BUILD_TAG: "build-1"}, {}))
    world.build()
    assert world.instance.get_run_by_id(ours).status == dg.DagsterRunStatus.FAILURE
    assert world.instance.get_run_by_id(other).status == status


def test_what_was_wiped_was_never_built(world) -> None:
    world.instance.wipe_assets([key_of("marts.b")])
    assert "marts.b[toys]: never built" in [str(s) for s in world.builder().stale()]
    assert world.build() == ["b[books]", "b[toys]"]


def test_selections(world) -> None:
    builder = world.builder()
    names = lambda **options: sorted({place[0].path[-1] for place in builder.selected(**options)})  # noqa: E731
    assert names(select="b", categories=None) == ["b"]
    assert names(select="+b", categories=None) == ["a", "b"]
    assert names(select="b+", categories=None) == ["b", "c", "whole"]
    assert names(select="catalog+", categories=None) == ["a", "b", "c", "whole"]  # what the feed lands can be named, too
    assert names(select="group:g", categories=None) == ["a", "b", "c", "whole"]
    assert {p[1] for p in builder.selected(None, ["toys"])} == {"toys", None}
    with pytest.raises(WhetstoneError, match=r"no asset or group.*assets are a, b, c"):
        builder.selected("nonsense", None)
    with pytest.raises(WhetstoneError, match=r"unknown category tools.*books, toys"):
        builder.selected(None, ["tools"])


def test_one_category_alone_can_be_built(world) -> None:
    world.feed("toys", "2")
    world.feed("books", "2")
    world.content |= {("a", "toys"): "new", ("a", "books"): "new"}
    assert world.build(categories=["toys"]) == ["a[toys]", "b[toys]"]


def test_history_sees_what_was_materialised(world) -> None:
    history = History(world.instance)
    assert set(history.latest(key_of("marts.a"))) == {"books", "toys"}
    assert set(history.latest(key_of("marts.whole"))) == {None}
    assert history.seen_by(key_of("marts.never"), None) == "never"
    assert history.seen_by(key_of("marts.a"), "toys") == "same"
    assert isinstance(Stale(key_of("marts.a"), "toys", ("x",)).place, tuple)
