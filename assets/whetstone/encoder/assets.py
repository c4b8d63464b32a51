"""Wiring of training: each stage of a recipe is an asset whose artifact is an ordinary sentence-transformers folder."""

import shutil
from pathlib import Path
from typing import Any

import dagster as dg

from whetstone.curriculum.ring import stable_hash
from whetstone.encoder.recipes import Recipe, Stage, Towers
from whetstone.grading.assets import PAYING, warn
from whetstone.grading.guideline import Guideline
from whetstone.grading.jobs import JUDGED, build_of, open_cascade, open_room
from whetstone.platform.artifacts import Artifact, fingerprint
from whetstone.platform.asset import artifact_name, asset, result
from whetstone.platform.registry import Encoder, registry_of
from whetstone.platform.resources import Context, WithArtifacts, WithSettings
from whetstone.platform.warehouse import Warehouse
from whetstone.retrieval.channels import CHANNELS

RUNS = [channel.table for channel in CHANNELS]
SAMPLE = 2000  # products whose vectors give a projection its start
CODE = 5  # bumped when training's answer changes: part of a checkpoint's version and of its address


def assets(recipe: Recipe, guideline: Guideline) -> list[dg.AssetsDefinition]:
    """One asset a stage, each depending on the one before, and the hard samples between them where a stage learns from those."""
    befores = [None, *(stage.name for stage in recipe.stages)]
    made = [_stage_asset(recipe, stage, before, guideline) for before, stage in zip(befores, recipe.stages, strict=False)]
    return [*made, _hard_samples(recipe, recipe.miner, guideline)] if recipe.miner else made


def _stage_asset(recipe: Recipe, stage: Stage, before: str | None, guideline: Guideline) -> dg.AssetsDefinition:
    tables = ["marts.learning_set", "marts.judged_set"]  # they move when enough changed; what is read is what there is then
    tables += ["marts.synthetic_queries", "marts.synthetic_grades"] if recipe.synthetic else []
    tables += ["marts.hard_samples"] if stage.needs_hard_samples else []
    shape = recipe.towers.model_dump(mode="json")

    @asset(
        schema="models",
        name=stage.name,
        group="encoder",
        kinds={"torch", "sentencetransformers"},
        deps=[*tables, f"models.{before or 'incumbent_encoder'}"],
        uses=["tier_confidence"],
        version=f"{CODE}-{stage.fingerprint}-{fingerprint(shape)[:8]}-{recipe.seed}-{guideline.version}",
        by_category=False,
        nightly=True,
        description=f"Checkpoint of the stage `{stage.name}` of recipe `{recipe.name}` (loss: {stage.loss}), the best on dev queries.",
        metadata={"recipe": dg.MetadataValue.json(stage.model_dump(mode="json"))},
    )
    def checkpoint(context: Context, settings: WithSettings, warehouse: Warehouse, artifacts: WithArtifacts) -> dg.MaterializeResult:
        from dataclasses import asdict

        from whetstone.curriculum.material import load_material
        from whetstone.encoder.dev_evaluator import build_dev_set
        from whetstone.encoder.stages import stage_instances, train_stage
        from whetstone.encoder.training_plots import plot_training
        from whetstone.platform.artifacts import frame_version
        from whetstone.platform.plots import embed, figure_png

        start: Artifact | Encoder = registry_of(settings).require().incumbent
        if before:
            start = artifacts.open(artifact_name(context.instance, f"models.{before}"))
        material = load_material(
            warehouse.read,
            RUNS,
            relevant_grade=guideline.relevant_grade,
            confidence=settings.tier_confidence,
            synthetic=recipe.synthetic is not None,
            mined=stage.needs_hard_samples,
        )
        queries = warehouse.table("raw.queries", columns="query_id, text, split")
        judgments = warehouse.table("raw.judgments", columns="query_id, product_id, grade")
        graded = warehouse.read("select query_id, product_id, grade from marts.corrected_grades where split = 'dev'")
        is_judged = judgments["query_id"].isin(queries.loc[queries["split"] == "dev", "query_id"]).any()
        dev = build_dev_set(queries, material.products, judgments if is_judged else graded, guideline.gains, seed=recipe.seed)
        instances, counts = stage_instances(stage, material, recipe.seed)
        catalog = catalog_texts(recipe, stage, material.product_text)
        inputs = {
            "code": CODE,
            "start": start.version,
            "stage": stage.fingerprint,
            "towers": shape,
            "instances": frame_version(instances),
            "catalog": fingerprint(catalog),
            "dev": dev.version if dev else None,
            "seed": recipe.seed,
        }
        resume = settings.root / "training" / stage.name / fingerprint(inputs)

        def train(folder: Path) -> dict[str, object]:
            done = train_stage(
                folder,
                start.path,
                stage,
                instances,
                dev,
                seed=recipe.seed,
                towers=recipe.towers,
                catalog=catalog,
                resume=resume,
                device=settings.device,
                progress=True,
            )
            return asdict(done)

        made = artifacts.make("checkpoint", inputs, train)
        shutil.rmtree(resume.parent, ignore_errors=True)  # what earlier, abandoned trainings left too
        facts = made.facts
        measured: dict[str, Any] = {}
        if facts["dev_curve"]:
            plot = plot_training(facts["loss_curve"], facts["dev_curve"], facts["best_step"], stage.name)
            measured["training"] = dg.MetadataValue.md(embed(figure_png(plot), "loss and dev curves"))
            measured |= {"dev_ndcg@10": facts["dev_metric"], "dev_ndcg@10_start": facts["dev_curve"][0][1]}
        return result(
            artifact=made,
            metadata={
                **measured,
                **{name: facts[name] for name in ("best_step", "steps", "instances")},
                "skipped": facts["skipped"] or "no",
                "learned": dg.MetadataValue.json(facts["learned"]),
                "pairs_left_out": dg.MetadataValue.json(counts),
            },
        )

    return checkpoint


def catalog_texts(recipe: Recipe, stage: Stage, texts: dict[str, str]) -> list[str]:
    """The texts (by product_id) that training reads besides its rows: all for the library's miner, for shaped towers a sample, else none.

    The sample is the products of the smallest hashes: a new product takes at most one other's place.
    """
    if stage.loss == "mnr_baseline":
        return list(texts.values())
    wanted = SAMPLE if recipe.towers != Towers() else 0
    return [texts[product] for product in sorted(texts, key=lambda product: stable_hash(recipe.seed, product))[:wanted]]


def _hard_samples(recipe: Recipe, miner: str, guideline: Guideline) -> dg.AssetsDefinition:
    @asset(
        schema="marts",
        group="encoder",
        kinds={"torch", "duckdb", "anthropic"},
        deps=[f"models.{miner}", "marts.learning_set", "marts.judged_set", "models.calibration"],
        uses=[*PAYING, "tier_confidence", "candidates_per_rule"],
        version=f"1-{recipe.mining_depth}-{guideline.version}",
        by_category=False,
        nightly=True,
    )
    def hard_samples(context: Context, settings: WithSettings, warehouse: Warehouse, artifacts: WithArtifacts) -> dg.MaterializeResult:
        """One row per pair that the encoder so far ranks on the wrong side of k / 2; what was never graded is graded through the ledger."""
        import pandas as pd

        from whetstone.encoder.hard_samples import mine_hard_samples
        from whetstone.grading.grade import grade_pairs
        from whetstone.retrieval.encode import Embedder

        made = artifacts.open(artifact_name(context.instance, f"models.{miner}"))
        embedder = Embedder(Encoder(miner, made.version, str(made.path)), settings.root / "vectors", settings.device, progress=True)
        products = warehouse.table("staging.products", columns="product_id, category, text, text_hash")
        room = open_room(context.instance, settings, warehouse, artifacts, guideline, build_of(context))
        cascade, _ = open_cascade(context.instance, artifacts, room)
        judged = warehouse.read(JUDGED)  # also where the query is not routed to the product's category
        human = judged[judged["split"] == "train"].assign(confidence=1.0, settled_by="human", label=judged["grade"].map(guideline.labels))
        known = warehouse.read("select * from marts.corrected_grades where split = 'train'")
        stages: list[dict[str, Any]] = []

        def grade(pairs: pd.DataFrame) -> pd.DataFrame:
            none_judged = judged.iloc[:0].assign(source="")
            done = grade_pairs(pairs, none_judged, cascade, room.ledger, guideline, room.entry)
            stages.extend(done.stages)
            return done.rows

        samples, counts = mine_hard_samples(
            warehouse.read("select query_id, text from raw.queries where split = 'train' order by query_id"),
            products,
            embedder.queries,
            lambda: embedder.products(products),
            pd.concat([human, known])[["query_id", "product_id", "grade", "label", "confidence", "settled_by"]],
            grade,
            k=recipe.mining_depth,
            cap=settings.candidates_per_rule,
            confidence=settings.tier_confidence,
        )
        warn([f"hard_samples: {row['stage']}: {row['why']}" for row in stages if row["why"]])
        written = warehouse.replace("marts.hard_samples", samples)
        kinds = {kind: int((samples["kind"] == kind).sum()) for kind in ("hard_negative", "hard_positive")}
        table = dg.MetadataValue.md(f"```\n{pd.DataFrame(stages).to_string(index=False)}\n```")
        return result(written, metadata={**kinds, "stages": table, "pairs": dg.MetadataValue.json(counts)})

    return hard_samples
