"""A shop that builds in seconds: a static encoder, simulated graders, no training; its products are edited as the feed would."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import dagster as dg
import duckdb
import numpy as np
import pandas as pd
import pytest
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData
from tests.conftest import Shop

from whetstone.catalog.jobs import apply, refresh
from whetstone.platform.artifacts import Artifacts
from whetstone.platform.asset import INPUT_TAG, key_of, table_of
from whetstone.platform.build import Builder, Outcome
from whetstone.platform.registry import registry_of
from whetstone.platform.settings import Settings
from whetstone.platform.staleness import name_of
from whetstone.project import load_definitions

UNTRAINED = "+curriculum_tiers,channel_overlap,+grade_audit,product_vectors,search_index"
"""Everything but training and what follows from it."""


@dataclass
class World(Shop):
    """A shop whose products come and go: `live` maps product_id to (title, category path) of what its file holds now."""

    files: Path
    live: dict[str, tuple[str, list[str]]] = field(default_factory=dict)
    memory: dg.DagsterInstance = field(default_factory=dg.DagsterInstance.ephemeral)

    @property
    def instance(self) -> dg.DagsterInstance:
        """Dagster's history in memory: a step then costs no dozens of writes to disk."""
        return self.memory

    @property
    def stock(self) -> dict[str, tuple[str, list[str]]]:
        """Everything that the shop could have, as it was generated."""
        rows = duckdb.execute(f"select product_id, title, category_path from '{self.files / 'stock.parquet'}' order by 1").fetchall()
        return {product: (title, path) for product, title, path in rows}

    def write(self, **columns: str) -> None:
        """Write the products file; `columns` are expressions for further columns."""
        edited = pd.DataFrame([(key, *said) for key, said in self.live.items()], columns=["product_id", "title", "path"])
        replaced = ", ".join(["edited.title as title", "edited.path as category_path", *(f"{e} as {name}" for name, e in columns.items())])
        with duckdb.connect() as connection:
            connection.register("edited", edited)
            rows = f"select stock.* replace ({replaced}) from '{self.files / 'stock.parquet'}' as stock join edited using (product_id)"
            connection.execute(f"copy ({rows} order by product_id) to '{self.files / 'products.parquet'}' (format parquet)")

    def edit(self, rng: np.random.Generator) -> None:
        """One random change: a product comes, goes, is renamed or moves, a category comes or goes."""
        categories = sorted({path[0] for _, path in self.live.values()})
        product = str(rng.choice(sorted(self.live)))
        title, path = self.live[product]
        match rng.choice(["add", "add", "edit", "edit", "remove", "move", "new category", "drop category"]):
            case "add":
                absent = sorted(set(self.stock) - set(self.live))
                self.live |= {each: self.stock[each] for each in absent[: int(rng.integers(1, 4))]}
            case "edit":
                self.live[product] = (f"{title} mk{rng.integers(100)}", path)
            case "remove" if len(self.live) > 40:
                del self.live[product]
            case "move":
                self.live[product] = (title, [str(rng.choice(categories)), *path[1:]])
            case "new category":
                self.live[product] = (title, [f"Novelties {rng.integers(3)}"])
            case "drop category" if len(categories) > 3:
                gone = min(categories, key=lambda name: sum(path[0] == name for _, path in self.live.values()))
                self.live = {key: said for key, said in self.live.items() if said[1][0] != gone}

    @cached_property
    def definitions(self) -> dg.Definitions:
        """Loaded once: the lineage of all models takes a second."""
        return load_definitions(self.settings)

    def build(self, select: str = UNTRAINED) -> set[str]:
        """Build what is stale of it. Returns what was built, as `marts.bm25_run[garden]`."""
        outcome = self.attempt(select)
        assert not outcome.failed and not outcome.held_back, (outcome.failed, outcome.held_back)
        return {name_of(place) for place in outcome.built}

    def attempt(self, select: str = UNTRAINED) -> Outcome:
        """A build that may fail; the champion stays the base encoder."""
        apply(refresh(self.settings, self.warehouse(), self.instance), self.instance)
        artifacts = Artifacts(self.settings.root / "artifacts")
        builder = Builder(self.definitions, self.instance, artifacts, self.warehouse())
        champion = key_of("models.champion")
        node = builder.graph.nodes[champion]
        inputs = {f"{INPUT_TAG}{table_of(parent)}": builder.history.seen_by(parent, None) for parent in node.parents}
        versions = {"dagster/data_version": registry_of(self.settings).require().base.version, "dagster/code_version": node.code_version}
        builder.instance.report_runless_asset_event(dg.AssetMaterialization(champion, tags=inputs | versions))
        builder.history.forget(champion)
        storage_id = builder.history.latest(champion)[None].storage_id
        target = AssetCheckEvaluationTargetMaterializationData(storage_id=storage_id, run_id="", timestamp=0.0)
        for check in node.blocking_checks:  # nothing is evaluated that they could look at
            passed = dg.AssetCheckEvaluation(
                asset_key=champion, check_name=check.name, passed=True, target_materialization_data=target, blocking=True
            )
            builder.instance.report_runless_asset_event(passed)
        return builder.run(select)

    def anew(self, home: Path) -> World:
        """The same files in an empty home."""
        return World(self.settings.model_copy(update={"home": home}), self.files, self.live)


@pytest.fixture(scope="session")
def static_encoder(mini_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder whose vector of a text depends on nothing else that is encoded with it, to the last bit."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    torch.manual_seed(0)
    tokenizer = SentenceTransformer(str(mini_encoder), device="cpu").tokenizer
    folder = tmp_path_factory.mktemp("static")
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=16)], device="cpu").save_pretrained(str(folder))
    return folder


@pytest.fixture
def world(tmp_path: Path, static_encoder: Path) -> World:
    """A shop of three categories that lacks a third of its stock; not built yet."""
    return world_in(tmp_path, static_encoder)


@pytest.fixture(scope="module")
def built_world(tmp_path_factory: pytest.TempPathFactory, static_encoder: Path) -> World:
    """The same, built. Tests edit it as they like, whatever others did."""
    made = world_in(tmp_path_factory.mktemp("world"), static_encoder)
    made.build()
    return made


def world_in(folder: Path, encoder: Path, categories: int = 3) -> World:
    """The shop of the fixture `world`."""
    from whetstone.catalog.demo.generate import generate

    files = folder / "files"
    settings = Settings(
        home=folder / "home",
        data=files,
        encoder=str(encoder),
        depth=30,
        candidates_per_rule=4,
        similar_per_query=3,
        cascade="simulated_small,simulated_large",
        agreement_floor=0.0,
        index_dtype="f32",
    )
    generate(files, products=90, queries=24, categories=categories, seed=3)
    (files / "products.parquet").rename(files / "stock.parquet")
    made = World(settings, files)
    made.live = dict(list(made.stock.items())[::3] + list(made.stock.items())[1::3])
    made.write()
    return made
