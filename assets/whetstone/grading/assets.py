"""Wiring of grading: the local annotator, the calibrated cascade, the grades (asked for once, through the ledger), and their audit."""

import logging
from typing import Any

import dagster as dg

from whetstone.grading.guideline import Guideline
from whetstone.grading.jobs import JUDGED, build_of, open_cascade, open_room
from whetstone.platform.artifacts import frame_version
from whetstone.platform.asset import asset, result
from whetstone.platform.registry import registry_of
from whetstone.platform.resources import Context, WithArtifacts, WithSettings
from whetstone.platform.settings import Settings
from whetstone.platform.warehouse import Warehouse

LOG = logging.getLogger("whetstone.grading")
PAYING = ["cascade", "can_buy", "budget_usd", "category_budget_usd", "claude_small", "claude_large", "seed"]
COUNTS = "meta.grading"  # what became of each category's pairs at each stage: a table that the asset of marts.grades writes, too


@asset(
    schema="marts",
    group="grading",
    kinds={"duckdb"},
    deps=["raw.engagement", "raw.judgments", "raw.queries"],
    by_category=False,
)
def examination(context: Context, warehouse: Warehouse) -> dg.MaterializeResult:
    """One row: how fast shoppers' looks fall with rank, in the whole shop; no finer than the error it may have, so that it seldom moves."""
    import pandas as pd

    from whetstone.grading.engagement import examination_exponent

    # estimated on judged pairs alone, so no more of the shop's log is read
    log = warehouse.read("select log.* from raw.engagement as log semi join raw.judgments using (query_id, product_id)")
    human = warehouse.read("select j.* from raw.judgments as j join raw.queries as q using (query_id) where q.split != 'test'")
    eta = examination_exponent(log, human)
    row = pd.DataFrame({"exponent": [None if eta is None else round(eta, 1)]}, dtype=float)
    return result(warehouse.replace("marts.examination", row))


def assets(settings: Settings, guideline: Guideline) -> list[dg.AssetsDefinition]:
    """The grading assets; the cross-encoder is one of them only where it grades. Another guideline makes them all stale."""
    from whetstone.grading.claude.prompt import Prompt

    is_trained = "cross_encoder" in settings.stages
    prompt = f"{Prompt(guideline).version}-{guideline.version}"  # another prompt is another annotator, to be calibrated anew

    @asset(
        schema="models",
        group="grading",
        kinds={"torch"},
        deps=["marts.judged_set"],
        uses=["encoder", "seed", "annotator_epochs", "annotator_runs"],
        version=f"2-{guideline.version}",
        by_category=False,
    )
    def cross_encoder(context: Context, settings: WithSettings, warehouse: Warehouse, artifacts: WithArtifacts) -> dg.MaterializeResult:
        """The local annotator: a cross-encoder from the base encoder's weights, fine-tuned on train judgments, in several runs."""
        from whetstone.grading.cross_encoder import train_cross_encoder
        from whetstone.platform.precision import pick_device

        judged = warehouse.read(JUDGED)
        train = judged[judged["split"] == "train"]
        base, device = registry_of(settings).require().base, pick_device(settings.device)
        hyper: dict[str, Any] = {"seed": settings.seed, "epochs": settings.annotator_epochs, "runs": settings.annotator_runs}
        made = artifacts.make(
            "cross_encoder",
            {"base": base.version, "judged": frame_version(train), "guideline": guideline.version, **hyper},
            lambda folder: train_cross_encoder(folder, base.path, train, guideline, device=device, **hyper),
        )
        return result(artifact=made, metadata={"training": dg.MetadataValue.json(made.facts)})

    @asset(
        schema="models",
        group="grading",
        kinds={"python", "anthropic"},
        deps=["marts.judged_set", *(["models.cross_encoder"] if is_trained else [])],
        uses=[*PAYING, "cascade_target", "calibration_pairs", "agreement_floor"],
        version=f"2-{prompt}",
        by_category=False,
    )
    def calibration(context: Context, settings: WithSettings, warehouse: Warehouse, artifacts: WithArtifacts) -> dg.MaterializeResult:
        """How far each annotator of the cascade can be trusted: calibrated on human judgments of dev queries, measured by cross-fitting."""
        from whetstone.grading.annotators import open_annotators
        from whetstone.grading.calibrate import calibrate, held_out
        from whetstone.grading.summary import agreement_text, plots
        from whetstone.platform.plots import embed

        room = open_room(context.instance, settings, warehouse, artifacts, guideline, build_of(context))
        annotators, warnings = open_annotators(room)
        judged = warehouse.read(JUDGED)
        dev = held_out(judged[judged["split"] == "dev"].reset_index(drop=True), settings.calibration_pairs if settings.can_buy else None)
        found = calibrate(dev, annotators, room.ledger, guideline, room.entry, settings.cascade_target, settings.seed)
        if not found["is_met"] and found["report"]:
            warnings.append(f"the target {settings.cascade_target} can't be met on the held-out pairs; the thresholds come nearest")
        left_out = {each["stage"]: f"{each['stage']} is left out: {each['why']}" for each in found["dropped"]}
        found["warnings"] = [*(each for each in warnings if each.split(":")[0] not in left_out), *left_out.values()]
        warn(found["warnings"])

        made = artifacts.make("calibration", found, lambda _: found)
        report = found["report"]
        figures = {name: float(report[name]["mean"]) for name in ("accuracy", "quadratic_kappa", "ece", "ece_raw")} if report else {}
        pictures = {name: dg.MetadataValue.md(embed(png, name)) for name, png in plots(found).items()}
        shown = {"agreement": dg.MetadataValue.md(f"```\n{agreement_text(found)}\n```"), "warnings": found["warnings"]}
        return result(artifact=made, metadata={**figures, **shown, **pictures})

    @asset(
        schema="marts",
        group="grading",
        kinds={"duckdb", "anthropic"},
        deps=["marts.grade_candidates", "staging.judgments", "models.calibration"],
        uses=PAYING,
        version=f"2-{prompt}",
    )
    def grades(context: Context, settings: WithSettings, warehouse: Warehouse, artifacts: WithArtifacts) -> dg.MaterializeResult:
        """One row per graded pair: the human judgment where there is one, otherwise what the cascade settles on, through the ledger."""
        import pandas as pd

        from whetstone.grading.grade import grade_pairs, left_out

        category = context.partition_key
        room = open_room(context.instance, settings, warehouse, artifacts, guideline, build_of(context))
        candidates = warehouse.table("marts.grade_candidates", category).sort_values(["place", "query_id", "product_id"])
        judgments = warehouse.table("staging.judgments", category)
        cascade, warnings = open_cascade(context.instance, artifacts, room)
        graded = grade_pairs(candidates, judgments, cascade, room.ledger, guideline, room.entry)
        rows = graded.rows.merge(candidates[["query_id", "product_id", "split"]], on=["query_id", "product_id"], validate="one_to_one")
        graded.stages.extend(left_out(graded, settings.stages, warnings))
        counts = pd.DataFrame(graded.stages)
        warehouse.replace(COUNTS, counts.astype({"why": object}), category)
        written = warehouse.replace("marts.grades", rows, category)
        whys = [f"{row['stage']}: {row['why']}" for row in graded.stages if row["why"]]
        warn([f"grades[{category}]: {why}" for why in whys])
        settled = {f"settled_by_{row['stage']}": row["settled"] for row in graded.stages}
        usd = {"new_usd": float(counts["new_usd"].sum()), "spent_usd": float(rows["cost_usd"].sum())}
        table = dg.MetadataValue.md(f"```\n{counts.to_string(index=False)}\n```")
        return result(written, metadata={**settled, **usd, "stages": table, "warnings": [*warnings, *whys]})

    @asset(
        schema="marts",
        group="grading",
        kinds={"duckdb", "anthropic"},
        deps=["marts.grades", "marts.grade_candidates", "models.calibration", "staging.engagement", "marts.examination"],
        uses=[*PAYING, "audit_share"],
        version=f"1-{guideline.version}",
    )
    def grade_audit(context: Context, settings: WithSettings, warehouse: Warehouse, artifacts: WithArtifacts) -> dg.MaterializeResult:
        """One row per sampled grade that shoppers contradict, judged again by the strongest stage; a correction supersedes in the tiers."""
        import pandas as pd

        from whetstone.grading.audit import audit_category, in_sample
        from whetstone.grading.engagement import debiased

        category = context.partition_key
        room = open_room(context.instance, settings, warehouse, artifacts, guideline, build_of(context))
        cascade, _ = open_cascade(context.instance, artifacts, room)
        [eta] = warehouse.table("marts.examination")["exponent"].astype(object).where(lambda known: known.notna(), None)
        candidates = warehouse.table("marts.grade_candidates", category, "query_id, product_id, query, text")
        graded = warehouse.table("marts.grades", category).merge(candidates, on=["query_id", "product_id"], validate="one_to_one")
        graded["is_sampled"] = in_sample(graded, settings.seed, settings.audit_share)
        rates = debiased(warehouse.table("staging.engagement", category), eta)
        audited, facts = audit_category(graded, rates, cascade[-1] if cascade else None, room.ledger, guideline, room.entry)
        facts["examination_exponent"] = eta
        words = {name: object if name in ("reason", "why_unanswered") else float for name in facts}
        warehouse.replace("meta.audit", pd.DataFrame([facts]).astype(words), category)
        written = warehouse.replace("marts.grade_audit", audited, category)
        return result(written, metadata={"audit": dg.MetadataValue.json(facts)})

    return [*([cross_encoder] if is_trained else []), calibration, grades, examination, grade_audit]


def warn(warnings: list[str]) -> None:
    """Say it where people look while a build runs."""
    for warning in warnings:
        LOG.warning("%s", warning)
