"""Promotion, rebuild, rollback and gc on a toy shop of two categories: the gate, the shard set and the floor are the real ones."""

import shutil
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from whetstone.evaluation.assets import champion as gate
from whetstone.evaluation.checks import champion_at_floor
from whetstone.evaluation.jobs import hear_of_rollback, list_champions, roll_back
from whetstone.index.assets import shard_set
from whetstone.index.jobs import collect_garbage
from whetstone.platform.artifacts import Artifacts
from whetstone.platform.asset import BUILD_TAG, artifact_name, asset, key_of, result
from whetstone.platform.build import Builder
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.history import History
from whetstone.platform.partitions import CATEGORIES
from whetstone.platform.registry import ShardSet, registry_of
from whetstone.platform.settings import Settings
from whetstone.platform.staleness import name_of
from whetstone.platform.warehouse import Warehouse

QUERIES = [f"q{n}" for n in range(12)]


class Shop:
    """A source whose encoders are files with a word in them; what was published is looked at after every step of a build."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home, source="demo")
        self.registry = registry_of(self.settings)
        self.artifacts = Artifacts(self.settings.root / "artifacts")
        self.warehouse = Warehouse(database=str(self.settings.warehouse_path))
        self.instance = dg.DagsterInstance.ephemeral()
        self.failing: set[str] = set()
        self.ran: list[str] = []
        base = home / "base"
        base.mkdir(parents=True)
        (base / "model.safetensors").write_bytes(b"base")
        self.base = self.registry.start("base", lambda: base).base
        self.instance.add_dynamic_partitions("category", ["a", "b"])
        for category in ("a", "b"):
            self.land(category, "1")

    def land(self, category: str, version: str) -> None:
        self.report("staging.products", version, category)

    def report(self, table: str, version: str, partition: str | None = None) -> None:
        tags = {"dagster/data_version": version}
        self.instance.report_runless_asset_event(dg.AssetMaterialization(key_of(table), partition=partition, tags=tags))

    def checkpoint(self, word: str) -> str:
        """Version of a trained checkpoint."""

        def write(folder: Path) -> None:
            (folder / "model.safetensors").write_text(word)

        return self.artifacts.make("checkpoint", {"word": word}, write).version

    def evaluate(self, **ndcg: tuple[str, float]) -> None:
        """Evaluation finds these dev figures: system=(encoder version, NDCG@10 of every query)."""
        rows = [
            {
                "place": place,
                "system": system,
                "encoder_version": version,
                "query_id": query,
                "split": "dev",
                "segment": "head",
                "ndcg@10": value,
            }
            for place, (system, (version, value)) in enumerate(ndcg.items())
            for query in QUERIES
        ]
        self.report("marts.evaluation", self.warehouse.replace("marts.evaluation", pd.DataFrame(rows)).version)

    def builder(self) -> Builder:
        shop = self

        def part(name: str, deps: list[str], by_category: bool = True) -> dg.AssetsDefinition:
            @asset(schema="models", name=name, group="index", kinds={"python"}, deps=deps, by_category=by_category)
            def made(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
                """A toy that is made by the champion, or from the vectors that are there."""
                place = f"{name}[{context.partition_key}]" if by_category else name
                shop.ran.append(place)
                if place in shop.failing:
                    raise RuntimeError("out of memory")
                shop.look()
                maker = shop.registry.require().champion.version
                partition = context.partition_key if by_category else None
                inputs = [place, maker, History(context.instance).seen_by(key_of("staging.products"), partition) if by_category else ""]
                if name == "search_index":
                    vectors = shop.artifacts.open(artifact_name(context.instance, "models.product_vectors", partition))
                    inputs, maker = [place, vectors.version], vectors.facts["encoder"]

                def write(folder: Path) -> dict[str, object]:
                    (folder / "content").write_text(str(inputs))
                    return {"encoder": maker}

                return result(artifact=shop.artifacts.make(name, {"inputs": inputs}, write))

            return made

        specs = [dg.AssetSpec(["staging", "products"], partitions_def=CATEGORIES), dg.AssetSpec(["marts", "evaluation"])]
        toys = [
            part("product_vectors", ["staging.products", "models.champion"]),
            part("search_index", ["models.product_vectors"]),
            part("search_thresholds", ["models.champion"], by_category=False),
        ]
        definitions = dg.Definitions(
            assets=[*specs, gate, *toys, shard_set],
            asset_checks=[champion_at_floor],
            resources={"settings": self.settings, "warehouse": self.warehouse, "artifacts": self.artifacts},
            executor=dg.in_process_executor,
        )
        return Builder(definitions, self.instance, self.artifacts)

    def serving(self) -> ShardSet:
        return self.registry.require_state().sets[0]

    def look(self) -> None:
        """Once something was published there is always a set, whole and of one encoder."""
        for served in self.registry.require_state().sets[:1]:
            made = [self.artifacts.open(name).facts["encoder"] for name in (served.thresholds, *served.shards.values())]
            assert {*made} == {served.encoder.version}

    def build(self) -> list[str]:
        self.ran.clear()
        self.outcome = self.builder().run()
        self.look()
        return sorted(self.ran)


@pytest.fixture
def shop(tmp_path) -> Shop:
    shop = Shop(tmp_path)
    shop.evaluate(base=(shop.base.version, 0.5))
    shop.build()
    assert not shop.outcome.failed
    return shop


@pytest.fixture
def promoted(shop) -> Shop:
    """A checkpoint that is better on dev has taken the base's place, and everything is rebuilt."""
    shop.good = shop.checkpoint("good")
    shop.evaluate(base=(shop.base.version, 0.5), encoder_mnr=(shop.good, 0.6))
    shop.build()
    assert not shop.outcome.failed and shop.serving().encoder.version == shop.good
    return shop


ALL = ["product_vectors[a]", "product_vectors[b]", "search_index[a]", "search_index[b]", "search_thresholds"]


def test_the_first_set_is_the_bases_and_rests(shop) -> None:
    assert shop.serving().encoder == shop.base and sorted(shop.serving().shards) == ["a", "b"]
    assert shop.build() == []


def test_a_promotion_serves_when_the_last_category_is_rebuilt_and_not_before(shop) -> None:
    good = shop.checkpoint("good")
    shop.evaluate(base=(shop.base.version, 0.5), encoder_mnr=(good, 0.6))
    shop.failing = {"product_vectors[b]"}
    before = shop.serving()
    shop.build()
    assert shop.registry.require().champion.version == good
    assert shop.serving() == before  # a is the new encoder's, b still the old one's
    shop.failing.clear()
    assert shop.build() == ["product_vectors[b]", "search_index[b]"]
    assert shop.serving().encoder.version == good and not shop.outcome.failed
    assert shop.build() == []


def test_a_dropped_category_leaves_the_set_and_a_new_one_enters(shop) -> None:
    shop.instance.delete_dynamic_partition("category", "a")
    shop.build()
    assert sorted(shop.serving().shards) == ["b"]
    shop.instance.add_dynamic_partitions("category", ["c"])
    shop.land("c", "1")
    shop.build()
    assert sorted(shop.serving().shards) == ["b", "c"]


def test_nothing_of_one_encoder_and_nothing_published_is_an_error(tmp_path) -> None:
    shop = Shop(tmp_path)
    shop.evaluate(base=(shop.base.version, 0.5))
    builder = shop.builder()
    for select in ("champion", "product_vectors", "search_index", "search_thresholds"):
        builder.run(select)
    good = shop.checkpoint("good")
    shop.evaluate(base=(shop.base.version, 0.5), encoder_mnr=(good, 0.6))
    shop.failing = {"product_vectors[b]"}
    shop.build()
    assert any("nothing to serve" in said and "b" in said for said in shop.outcome.failed.values())


def test_a_rollback_serves_the_set_before_at_once_and_the_next_build_follows(promoted) -> None:
    before = next(each for each in promoted.registry.require_state().sets if each.encoder == promoted.base)
    said = roll_back(promoted.builder(), promoted.settings, None)
    assert promoted.serving() == before and promoted.registry.require().champion == promoted.base
    assert "2 of 2 categories serve at once" in said and not any("rebuilt" in line for line in said)
    from whetstone.platform.checking import run_checks

    [check] = run_checks(promoted.builder(), "champion")
    assert check.status == "passed"
    stale = {name_of(each.place) for each in promoted.builder().stale()}
    assert stale == {"models.product_vectors[a]", "models.product_vectors[b]", "models.search_thresholds", "models.shard_set"}
    assert promoted.build() == ALL  # and the gate isn't asked
    assert promoted.serving() == before and promoted.build() == []


def test_what_was_rolled_back_is_not_promoted_again_but_another_may_be(promoted) -> None:
    roll_back(promoted.builder(), promoted.settings, "base")
    promoted.evaluate(base=(promoted.base.version, 0.5), encoder_mnr=(promoted.good, 0.7))
    promoted.build()
    assert promoted.registry.require().champion == promoted.base
    decision = promoted.artifacts.open(artifact_name(promoted.instance, "models.champion")).facts
    assert "encoder_mnr was rolled back, so it is no candidate" in decision["reason"]
    better = promoted.checkpoint("better")
    promoted.evaluate(base=(promoted.base.version, 0.5), encoder_bce=(better, 0.6), encoder_mnr=(promoted.good, 0.9))
    promoted.build()
    assert promoted.registry.require().champion.version == better == promoted.serving().encoder.version


def test_a_rollback_says_what_will_be_rebuilt(promoted) -> None:
    shards = next(each for each in promoted.registry.require_state().sets if each.encoder == promoted.base).shards
    shutil.rmtree(promoted.artifacts.root / shards["a"])
    promoted.land("b", "2")
    said = roll_back(promoted.builder(), promoted.settings, None)
    assert "1 of 2 categories serve at once" in said and any(line.endswith("rebuilt by `whetstone build`: a, b") for line in said)
    assert sorted(promoted.serving().shards) == ["b"]
    promoted.build()
    assert sorted(promoted.serving().shards) == ["a", "b"] and promoted.serving().encoder == promoted.base


def test_without_a_whole_shard_what_served_goes_on_until_the_build(promoted) -> None:
    for name in next(each for each in promoted.registry.require_state().sets if each.encoder == promoted.base).shards.values():
        shutil.rmtree(promoted.artifacts.root / name)
    said = roll_back(promoted.builder(), promoted.settings, None)
    assert any("what served goes on serving" in line for line in said)
    assert promoted.serving().encoder.version == promoted.good
    promoted.build()
    assert promoted.serving().encoder == promoted.base


def test_nothing_to_roll_back_to_names_the_mend(shop, promoted) -> None:
    with pytest.raises(WhetstoneError, match=r"'nonsense' is no previous champion; there are base \(base-"):
        roll_back(promoted.builder(), promoted.settings, "nonsense")
    roll_back(promoted.builder(), promoted.settings, None)
    with pytest.raises(WhetstoneError, match=r"nothing to roll back to.*once a build has promoted"):
        roll_back(promoted.builder(), promoted.settings, None)
    lines = list_champions(promoted.registry.require_state())
    assert lines[0].startswith("champion  base") and lines[0].endswith("serves") and lines[1:] == [f"rejected  {promoted.good}"]


def test_weights_that_are_gone_are_named(promoted) -> None:
    shutil.rmtree(promoted.base.path)
    with pytest.raises(WhetstoneError, match="the weights of base are gone"):
        roll_back(promoted.builder(), promoted.settings, None)


def test_a_kill_between_pointer_and_event_is_made_up_for(promoted) -> None:
    sets = promoted.registry.require_state().sets
    promoted.registry.roll_back(promoted.base, next(each for each in sets if each.encoder == promoted.base))
    assert {name_of(each.place) for each in promoted.builder().stale()} == set()
    with promoted.warehouse.get_connection() as connection:  # and even a lost warehouse doesn't keep Dagster from hearing
        connection.execute("drop schema marts cascade; drop schema meta cascade")
    for _ in range(2):
        hear_of_rollback(promoted.settings, promoted.instance, promoted.warehouse, promoted.artifacts)
        assert "models.product_vectors[a]" in {name_of(each.place) for each in promoted.builder().stale()}
    assert len(promoted.instance.fetch_materializations(key_of("models.champion"), limit=9).records) == 3


def test_a_champion_under_the_base_is_held_back(promoted) -> None:
    before = promoted.serving()
    promoted.evaluate(base=(promoted.base.version, 0.7), encoder_mnr=(promoted.good, 0.6))
    promoted.land("a", "2")
    ran = promoted.build()
    assert any("champion_at_floor" in said and "whetstone rollback" in said for said in promoted.outcome.failed.values())
    assert ran == [] and promoted.serving() == before


def test_gc_keeps_what_serves_or_may_serve_again_and_removes_the_rest(promoted) -> None:
    def on_disk() -> set[str]:
        return {f"{path.parent.name}/{path.name}" for path in promoted.artifacts.root.glob("*/*")}

    stray = promoted.checkpoint("stray")
    (promoted.artifacts.root / "checkpoint" / ".half.made").mkdir()
    every = on_disk()
    assert ("checkpoint", 2) in {each[:2] for each in collect_garbage(promoted.builder(), promoted.settings, dry_run=True)}
    assert on_disk() == every
    collect_garbage(promoted.builder(), promoted.settings, dry_run=False)
    gone = every - on_disk()
    assert {f"checkpoint/{stray}", "checkpoint/.half.made"} <= gone and not gone & {f"checkpoint/{promoted.good}"}
    for served in promoted.registry.require_state().sets:
        for name in (served.thresholds, *served.shards.values()):
            promoted.artifacts.open(name)
    assert promoted.build() == []
    assert "2 of 2 categories serve at once" in roll_back(promoted.builder(), promoted.settings, None)


def test_gc_waits_for_runs_of_the_daemon_but_not_for_a_killed_build(promoted) -> None:
    job = promoted.builder().job
    for tags in ({BUILD_TAG: "build-1"}, {}):
        promoted.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags)
        if tags:
            collect_garbage(promoted.builder(), promoted.settings, dry_run=True)
    with pytest.raises(WhetstoneError, match="terminate it in the Dagster UI"):
        collect_garbage(promoted.builder(), promoted.settings, dry_run=True)
