"""A toy shop of two categories for rollback and gc: the gate, the shard set and the floor are the real ones."""

from pathlib import Path

import dagster as dg
import pandas as pd

from whetstone.evaluation.assets import champion as gate
from whetstone.evaluation.checks import champion_at_floor
from whetstone.index.assets import shard_set
from whetstone.platform.artifacts import Artifacts
from whetstone.platform.asset import artifact_name, asset, key_of, result
from whetstone.platform.build import Builder
from whetstone.platform.history import History
from whetstone.platform.partitions import CATEGORIES
from whetstone.platform.registry import ShardSet, registry_of
from whetstone.platform.settings import Settings
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
