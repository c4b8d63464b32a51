"""What the quality bench trains on and measures with: one built source, its texts, grades and judgments, and the cascade to ask.

A world is a folder that `whetstone build --select +curriculum_tiers` filled (`build` does it); the bench itself writes nothing there but
grades in the ledger.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from whetstone.catalog.source import load_spec
from whetstone.curriculum.material import Material, load_material
from whetstone.curriculum.spelling import misspell
from whetstone.encoder.dev_evaluator import DevSet, build_dev_set
from whetstone.evaluation.metrics import evaluate_run
from whetstone.grading.guideline import Guideline, load_guideline
from whetstone.index.thresholds import judged_cosines, measure
from whetstone.platform.settings import Settings
from whetstone.platform.warehouse import Warehouse
from whetstone.platform.weights import encoder_folder
from whetstone.retrieval.bm25 import bm25_run
from whetstone.retrieval.channels import CHANNELS
from whetstone.retrieval.dense import exact_search
from whetstone.retrieval.encode import encode, load_encoder
from whetstone.retrieval.fusion import rrf

RUNS = [channel.table for channel in CHANNELS]
DEPTH = 100
MISSPELT_SEED = 7  # of test queries: never a training seed


@dataclass(frozen=True)
class World:
    """A built source and everything that the rows of the table share."""

    settings: Settings
    dev_queries: int  # at most so many: a dev evaluation encodes all their judged products
    encoder: str  # folder or name of the base
    device: str = "auto"

    @cached_property
    def warehouse(self) -> Warehouse:
        return Warehouse(database=str(self.settings.warehouse_path))

    @cached_property
    def guideline(self) -> Guideline:
        return load_guideline(load_spec(self.settings.sql_dir, self.settings.source).guideline)

    @cached_property
    def material(self) -> Material:
        return load_material(
            self.warehouse.read,
            RUNS,
            relevant_grade=self.guideline.relevant_grade,
            confidence=self.settings.tier_confidence,
            synthetic=False,
            mined=False,
        )

    @cached_property
    def products(self) -> pd.DataFrame:
        return self.warehouse.table("staging.products").sort_values("product_id", ignore_index=True)

    @cached_property
    def judgments(self) -> pd.DataFrame:
        return self.warehouse.table("raw.judgments", columns="query_id, product_id, grade")

    def queries(self, split: str) -> pd.DataFrame:
        """query_id, text, split of the judged queries of a split."""
        found = self.warehouse.read(
            "select query_id, text, split from raw.queries where split = $split order by query_id", {"split": split}
        )
        return found[found["query_id"].isin(self.judgments["query_id"])].reset_index(drop=True)

    @cached_property
    def asked(self) -> pd.DataFrame:
        """Dev and test queries."""
        return pd.concat([self.queries("dev"), self.queries("test")], ignore_index=True)

    @cached_property
    def dev(self) -> DevSet | None:
        chosen = self.queries("dev").sample(frac=1, random_state=0).head(self.dev_queries)
        return build_dev_set(chosen, self.products[["product_id", "text"]], self.judgments, self.guideline.gains)

    @cached_property
    def base(self) -> Path:
        return encoder_folder(self.encoder)

    def grader(self, facts: pd.DataFrame | None = None) -> Callable[[pd.DataFrame], pd.DataFrame]:
        """The build's own cascade, through its ledger; `facts` are the synthetic queries that it may be asked about."""
        from whetstone.grading.grade import grade_pairs
        from whetstone.grading.jobs import open_cascade, open_room
        from whetstone.platform.artifacts import Artifacts
        from whetstone.project import dagster_instance

        instance, artifacts = dagster_instance(self.settings), Artifacts(self.settings.root / "artifacts")
        room = open_room(instance, self.settings, self.warehouse, artifacts, self.guideline, "bench")
        cascade, _ = open_cascade(instance, artifacts, room if facts is None else room._replace(synthetic=facts))
        nothing = pd.DataFrame(columns=["query_id", "product_id", "grade", "source"])
        return lambda pairs: grade_pairs(pairs, nothing, cascade, room.ledger, self.guideline, room.entry).rows

    @cached_property
    def words(self) -> pd.DataFrame:
        """The BM25 run of dev and test queries."""
        asked, settings = self.asked, self.settings
        texts, products = self.products["text"].tolist(), self.products["product_id"].tolist()
        ids = asked["query_id"].tolist()
        return bm25_run(texts, products, asked["text"].tolist(), ids, settings.depth, k1=settings.bm25_k1, b=settings.bm25_b)

    def evaluate(self, vectors_of: Callable[[list[str], str], np.ndarray]) -> pd.DataFrame:
        """Metrics of an encoder by dev and test query: over the full catalog, alone and in both hybrids (the blend is tuned on dev); of the
        judged list; on misspelt queries; and the margin, the mean cosine of relevant minus that of irrelevant judged products."""
        asked, products = self.asked, self.products["product_id"].tolist()
        catalog, ids = vectors_of(self.products["text"].tolist(), "product"), asked["query_id"].tolist()
        vectors = vectors_of(asked["text"].tolist(), "query")
        dense = exact_search(vectors, catalog, ids, products, self.settings.depth)
        judged = self.judgments[self.judgments["query_id"].isin(ids)]
        cosine = judged_cosines(judged, ids, vectors, products, catalog)
        grades = judged["grade"]
        judged = judged.assign(cosine=cosine, label=grades.map(self.guideline.labels), gain=grades.map(dict(self.guideline.gains)))
        is_dev = judged["query_id"].isin(self.queries("dev")["query_id"])
        blend = measure("bench", self.words, dense, judged[is_dev]).fuse(self.words, dense, self.settings.depth)
        found = {
            "": dense,
            "hybrid:": blend,
            "rrf:": rrf([self.words, dense]),
            "judged:": self._ranked(judged.dropna(subset=["cosine"])),
            "misspelt:": self._search_misspelt(vectors_of, catalog),
        }
        scores = {name: self.score(run) for name, run in found.items()}
        margin = judged.pivot_table(index="query_id", columns="label", values="cosine")
        other = {f"{name}ndcg@10": table["ndcg@10"] for name, table in scores.items() if name}
        return scores[""].assign(**other, margin=(margin[2] - margin[0]).reindex(ids).to_numpy())

    def _search_misspelt(self, vectors_of: Callable[[list[str], str], np.ndarray], catalog: np.ndarray) -> pd.DataFrame:
        ids = self.asked["query_id"].tolist()
        noisy = [misspell(text, MISSPELT_SEED, query) or text for query, text in zip(ids, self.asked["text"], strict=True)]
        return exact_search(vectors_of(noisy, "query"), catalog, ids, self.products["product_id"].tolist(), DEPTH)

    @staticmethod
    def _ranked(judged: pd.DataFrame) -> pd.DataFrame:
        run = judged.sort_values(["query_id", "cosine", "product_id"], ascending=[True, False, True]).rename(columns={"cosine": "score"})
        return run[["query_id", "product_id", "score"]].assign(rank=run.groupby("query_id").cumcount() + 1)

    def score(self, run: pd.DataFrame) -> pd.DataFrame:
        """Metrics of a run by dev and test query."""
        gains, relevant = self.guideline.gains, self.guideline.relevant_grade
        scores = evaluate_run(run, self.judgments, self.asked["query_id"].tolist(), gains=gains, relevant_grade=relevant)
        return scores.assign(split=self.asked["split"].to_numpy())

    def vectors(self, folder: Path) -> Callable[[list[str], str], np.ndarray]:
        """The encoder in a folder, as `evaluate` calls it."""
        model = load_encoder(str(folder), self.device)
        return lambda texts, side: encode(model, texts, "query" if side == "query" else "product")


def build(home: Path, source: str, data: Path | None, demo: dict[str, int], is_built: bool) -> None:
    """Generate the demo shop if that is the source, and build it up to the tiers, in a process of its own."""
    here = {"WHETSTONE_HOME": str(home), "WHETSTONE_SOURCE": source, "WHETSTONE_DATA": str(data or "")}
    graders = {"WHETSTONE_CASCADE": "simulated_small,simulated_large"} if source == "demo" else {}
    os.environ.update({**here, **graders})
    if is_built:
        return
    whetstone = [sys.executable, "-m", "whetstone.cli"]
    if source == "demo":
        options = [part for name, value in demo.items() for part in (f"--{name}", str(value))]
        subprocess.run([*whetstone, "demo-catalog", "--if-missing", *options], check=True)
    subprocess.run([*whetstone, "build", "--select", "+curriculum_tiers"], check=True, stdout=subprocess.DEVNULL)


def static_base(folder: Path, teacher: str, dimensions: int = 256) -> Path:
    """A StaticEmbedding in `folder`: each token's vector is the teacher's for that token alone, projected on the principal directions and
    weighted by log(1 + rank), as Model2Vec does (Tulkens and van Dongen 2024). It encodes a catalog in seconds."""
    if folder.exists():
        return folder
    model = load_encoder(teacher)
    tokens = model.tokenizer.convert_ids_to_tokens(range(len(model.tokenizer)))
    vectors = encode(model, [token.removeprefix("##") or token for token in tokens])
    centred = vectors - vectors.mean(axis=0)
    directions = np.linalg.svd(centred.T @ centred)[0][:, :dimensions]
    weighted = centred @ directions * np.log1p(np.arange(1, len(tokens) + 1))[:, None]
    weights = torch.from_numpy((weighted / np.abs(weighted).mean() * 0.1).astype(np.float32))
    module = StaticEmbedding(model.tokenizer.backend_tokenizer, embedding_weights=weights)
    SentenceTransformer(modules=[module], device="cpu").save_pretrained(str(folder), create_model_card=False)
    return folder


def facts_of(world: World) -> dict[str, Any]:
    """The sizes that stand above the table."""
    material = world.material
    tiers = material.tiers["tier"].value_counts().to_dict()
    splits = {split: len(world.queries(split)) for split in ("dev", "test")}
    return {"products": len(world.products), "train queries": len(material.queries), **splits, "graded": len(material.graded), **tiers}
