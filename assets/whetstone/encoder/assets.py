"""Wiring of training: each stage of the recipe is an asset whose artifact is an ordinary sentence-transformers folder."""

from pathlib import Path
from typing import Any

import dagster as dg

from whetstone.encoder.recipes import Recipe, Stage
from whetstone.grading.guideline import Guideline
from whetstone.platform.artifacts import Artifact, Artifacts
from whetstone.platform.asset import artifact_name, asset, result
from whetstone.platform.registry import Encoder, registry_of
from whetstone.platform.settings import Settings
from whetstone.platform.warehouse import Warehouse
from whetstone.retrieval.channels import CHANNELS


def assets(recipe: Recipe, guideline: Guideline) -> list[dg.AssetsDefinition]:
    """One asset a stage, each depending on the one before."""
    befores = [None, *(stage.name for stage in recipe.stages)]
    return [_stage_asset(recipe, stage, before, guideline) for before, stage in zip(befores, recipe.stages, strict=False)]


def _stage_asset(recipe: Recipe, stage: Stage, before: str | None, guideline: Guideline) -> dg.AssetsDefinition:
    runs = [channel.table for channel in CHANNELS]
    tables = ["marts.curriculum_tiers", "marts.grades", "staging.products", "raw.judgments", "raw.queries", *runs]

    @asset(
        schema="models",
        name=stage.name,
        group="encoder",
        kinds={"torch", "sentencetransformers"},
        deps=[*tables, f"models.{before or 'incumbent_encoder'}"],
        version=f"1-{stage.fingerprint}-{recipe.seed}-{guideline.version}",
        by_category=False,
        nightly=True,
        description=f"Checkpoint of the stage `{stage.name}` of recipe `{recipe.name}` (loss: {stage.loss}), the best on dev queries.",
        metadata={"recipe": dg.MetadataValue.json(stage.model_dump(mode="json"))},
    )
    def checkpoint(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        warehouse: Warehouse,
        artifacts: dg.ResourceParam[Artifacts],
    ) -> dg.MaterializeResult:
        from dataclasses import asdict

        from whetstone.curriculum.instances import Material
        from whetstone.encoder.dev_evaluator import build_dev_set
        from whetstone.encoder.stages import stage_instances, train_stage
        from whetstone.encoder.training_plots import plot_training
        from whetstone.platform.artifacts import frame_version
        from whetstone.platform.plots import embed, figure_png

        start: Artifact | Encoder = registry_of(settings).require().incumbent
        if before:
            start = artifacts.open(artifact_name(context.instance, f"models.{before}"))
        products = warehouse.table("staging.products", columns="product_id, text")
        queries = warehouse.table("raw.queries", columns="query_id, text, split")
        judgments = warehouse.table("raw.judgments", columns="query_id, product_id, grade")
        # a judged product may lie in a category that its query is not routed to: it has no grade there, and is relevant all the same
        relevant = " union ".join(
            f"select query_id, product_id from {table} where grade >= $grade" for table in ("marts.grades", "raw.judgments")
        )
        material = Material(
            tiers=warehouse.table("marts.curriculum_tiers"),
            queries=queries[queries["split"] == "train"],
            products=products,
            relevant=warehouse.read(relevant, {"grade": guideline.relevant_grade}),
            found=warehouse.read(" union ".join(f"select query_id, product_id from {run}" for run in runs)),
        )
        graded = warehouse.read("select query_id, product_id, grade from marts.grades where split = 'dev'")
        is_judged = judgments["query_id"].isin(queries.loc[queries["split"] == "dev", "query_id"]).any()
        dev = build_dev_set(queries, products, judgments if is_judged else graded, guideline.gains, seed=recipe.seed)
        instances, counts = stage_instances(stage, material, recipe.seed)
        inputs = {
            "start": start.version,
            "stage": stage.fingerprint,
            "instances": frame_version(instances),
            "dev": dev.version if dev else None,
            "seed": recipe.seed,
        }

        def train(folder: Path) -> dict[str, object]:
            done = train_stage(folder, start.path, stage, instances, dev, seed=recipe.seed, device=settings.device, progress=True)
            return asdict(done)

        made = artifacts.make("checkpoint", inputs, train)
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
