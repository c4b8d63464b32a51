"""Wiring of grading: the local annotator and the grades, asked for once through the ledger."""

from typing import Any

import dagster as dg

from whetstone.grading.guideline import Guideline
from whetstone.platform.artifacts import Artifacts, frame_version
from whetstone.platform.asset import artifact_name, asset, result
from whetstone.platform.registry import registry_of
from whetstone.platform.settings import Settings
from whetstone.platform.warehouse import Warehouse


def assets(settings: Settings, guideline: Guideline) -> list[dg.AssetsDefinition]:
    """The grading assets; the cross-encoder is one of them only where it grades. Another guideline makes them all stale."""
    is_trained = settings.annotator == "cross_encoder"
    return [*([_cross_encoder(guideline)] if is_trained else []), _grades(guideline, ["models.cross_encoder"] if is_trained else [])]


def _cross_encoder(guideline: Guideline) -> dg.AssetsDefinition:
    @asset(
        schema="models",
        group="grading",
        kinds={"torch"},
        deps=["raw.judgments", "raw.queries", "staging.products"],
        uses=["encoder", "seed", "annotator_epochs"],
        version=f"1-{guideline.version}",
        by_category=False,
    )
    def cross_encoder(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        warehouse: Warehouse,
        artifacts: dg.ResourceParam[Artifacts],
    ) -> dg.MaterializeResult:
        """The local annotator: a cross-encoder from the base encoder's weights, fine-tuned on train judgments, chosen on dev queries."""
        from whetstone.grading.cross_encoder import train_cross_encoder
        from whetstone.platform.precision import pick_device

        judged = warehouse.read(
            "select q.split, q.text as query, p.text, j.grade from raw.judgments as j join raw.queries as q using (query_id) "
            "join staging.products as p using (product_id) where q.split in ('train', 'dev') order by j.query_id, j.product_id"
        )
        train, dev = (judged[judged["split"] == split] for split in ("train", "dev"))
        base, device = registry_of(settings).require().base, pick_device(settings.device)
        hyper: dict[str, Any] = {"seed": settings.seed, "epochs": settings.annotator_epochs, "batch_size": 16, "learning_rate": 5e-5}
        made = artifacts.make(
            "cross_encoder",
            {"base": base.version, "judged": frame_version(judged), "guideline": guideline.version, **hyper},
            lambda folder: train_cross_encoder(folder, base.path, train, dev, guideline, device=device, **hyper),
        )
        measured = {f"dev_{name}": value for name, value in made.facts["dev"].items() if isinstance(value, float)}
        return result(artifact=made, metadata={**measured, "dev": dg.MetadataValue.json(made.facts["dev"])})

    return cross_encoder


def _grades(guideline: Guideline, annotator_deps: list[str]) -> dg.AssetsDefinition:
    @asset(
        schema="marts",
        group="grading",
        kinds={"torch", "duckdb"},
        deps=["marts.grade_candidates", "staging.judgments", *annotator_deps],
        uses=["annotator", "simulated_accuracy", "seed"],
        version=f"1-{guideline.version}",
    )
    def grades(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        warehouse: Warehouse,
        artifacts: dg.ResourceParam[Artifacts],
    ) -> dg.MaterializeResult:
        """One row per graded pair: the human judgment where there is one, otherwise the annotator's answer, through the ledger."""
        from whetstone.catalog.source import open_source
        from whetstone.grading.annotators import load_annotator
        from whetstone.grading.grade import grade_pairs
        from whetstone.grading.ledger import Ledger

        category = context.partition_key
        candidates = warehouse.table("marts.grade_candidates", category)
        model = artifact_name(context.instance, "models.cross_encoder") if annotator_deps else None
        trained = artifacts.open(model) if model else None
        products = warehouse.table("staging.products", category, "product_id, category_path, attributes")
        annotator = load_annotator(settings, guideline, open_source(settings), trained, products)
        judgments = warehouse.table("staging.judgments", category)
        graded = grade_pairs(candidates, judgments, annotator, Ledger(warehouse.get_connection), guideline)
        rows = graded.rows.merge(candidates[["query_id", "product_id", "split"]], on=["query_id", "product_id"], validate="one_to_one")
        written = warehouse.replace("marts.grades", rows, category)
        settled = {f"settled_by_{name}": int(count) for name, count in rows["settled_by"].value_counts().items()}
        return result(written, metadata={**graded.counts, **settled})

    return grades
