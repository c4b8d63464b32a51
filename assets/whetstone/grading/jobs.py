"""Opening the cascade, for the assets and for a dry run: whose budget it is, which annotators answer, and what grading would cost."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from whetstone.catalog.source import load_spec
from whetstone.grading.guideline import Guideline, load_guideline
from whetstone.platform.artifacts import Artifacts
from whetstone.platform.asset import BUILD_TAG, artifact_name, artifact_names, table_of
from whetstone.platform.build import Builder
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.settings import Settings
from whetstone.platform.warehouse import Warehouse

JUDGED = """
select q.split, j.query_id, j.product_id, p.category, q.text as query, p.text, j.grade, j.raters
from raw.judgments as j join raw.queries as q using (query_id) join staging.products as p using (product_id)
where q.split in ('train', 'dev') order by j.query_id, j.product_id
"""
BESIDES = {
    "marts.grade_audit": "the last stage about conflicts with engagement",
    "marts.hard_samples": "at most twice WHETSTONE_CANDIDATES_PER_RULE pairs a train query",
    "marts.synthetic_grades": "one query and about nine pairs a chosen product",
}


def build_of(context: dg.AssetExecutionContext) -> str:
    """On whose budget a run spends: its build's or backfill's; a run of neither shares the budget of its day."""
    tags = context.run.tags
    return tags.get(BUILD_TAG) or tags.get("dagster/backfill") or f"day {datetime.now(UTC).date()}"


def open_room(
    instance: dg.DagsterInstance, settings: Settings, warehouse: Warehouse, artifacts: Artifacts, guideline: Guideline, build: str
) -> Any:
    """What annotators need, for a step or for a dry run: an `annotators.Room`."""
    from whetstone.catalog.source import open_source
    from whetstone.grading.annotators import Room
    from whetstone.grading.ledger import Entry, Ledger

    model = artifact_names(instance, "models.cross_encoder").get(None) if "cross_encoder" in settings.stages else None
    return Room(
        settings,
        guideline,
        open_source(settings),
        Ledger(warehouse.get_connection),
        Entry(build, datetime.now(UTC).date()),
        artifacts.open(model) if model else None,
        lambda: warehouse.read("select product_id, category_path, attributes from staging.products"),
    )


def open_cascade(instance: dg.DagsterInstance, artifacts: Artifacts, room: Any) -> tuple[list[Any], list[str]]:
    """The stages that the calibration kept, each with its annotator, and the calibration's warnings."""
    from whetstone.grading.annotators import open_annotators
    from whetstone.grading.calibration import Stage

    found = artifacts.open(artifact_name(instance, "models.calibration")).facts
    opened = {annotator.name: annotator for annotator in open_annotators(room)[0]}
    stages = [Stage(**stage) for stage in found["stages"] if stage["name"] in opened]
    if other := [stage.name for stage in stages if stage.version != opened[stage.name].version]:
        raise WhetstoneError(f"{', '.join(other)} changed since the calibration; run `whetstone build --select calibration`")
    return [(opened[stage.name], stage) for stage in stages], list(found["warnings"])


def plan_grading(settings: Settings, builder: Builder, categories: list[str] | None) -> tuple[list[str], str]:
    """`whetstone grade --dry-run`: notes, and what every stage would be asked in these categories (by default all), for how much."""
    import pandas as pd

    from whetstone.grading.annotators import open_annotators
    from whetstone.grading.calibrate import held_out
    from whetstone.grading.calibration import NONE, Stage
    from whetstone.grading.cascade import NEVER
    from whetstone.grading.claude.annotator import ClaudeAnnotator
    from whetstone.grading.grade import grade_pairs
    from whetstone.grading.plan import Quote, plan_category, shares_that_go_on

    warehouse, artifacts, instance = builder.warehouse, builder.artifacts, builder.instance
    if warehouse is None:
        raise WhetstoneError("a dry run needs the warehouse")
    guideline = load_guideline(load_spec(settings.sql_dir, settings.source).guideline)
    stale = {table_of(each.key) for each in builder.stale() if each.partition is None or not categories or each.partition in categories}
    tables = {table_of(key): key for key in builder.graph.nodes}
    notes = [f"{table} will ask besides: {what}; these figures leave it out" for table, what in BESIDES.items() if table in tables]
    if not builder.history.latest(tables["marts.grade_candidates"]):
        raise WhetstoneError("nothing is mined yet, so there is nothing to grade; run `whetstone build --select +grade_candidates` (free)")
    if "marts.grade_candidates" in stale:
        notes.append("marts.grade_candidates will change: run `whetstone build --select +grade_candidates` first for the exact pairs")
    room = open_room(instance, settings, warehouse, artifacts, guideline, "dry run")
    room.ledger.create()
    if "models.cross_encoder" in stale:
        notes.append("models.cross_encoder is not up to date: it is left out, so that all pairs go to the next stage")
        room = room._replace(cross_encoder=None)
    annotators, warnings = open_annotators(room)
    made = artifact_names(instance, "models.calibration").get(None)
    found = artifacts.open(made).facts if made else {"stages": [], "report": None}
    quotes = {each.name: Quote(each, settings.claude_batch_from) for each in annotators if isinstance(each, ClaudeAnnotator)}
    unsure = [(quotes.get(each.name, each), Stage(each.name, each.version, NONE, NEVER)) for each in annotators]
    known = {(each["name"], each["version"]): Stage(**each) for each in found["stages"]}
    cascade = [(each, known.get((each.name, each.version), never)) for each, never in unsure]
    if unknown := [each.name for each in annotators if (each.name, each.version) not in known]:
        notes.append(f"{', '.join(unknown)} is not calibrated yet: it counts as never sure, so that its pairs go to the next stage, too")
    shares = shares_that_go_on(found) if len(unknown) < len(annotators) else {}
    books = room.ledger, guideline, room.entry
    judged = warehouse.read(JUDGED).assign(source="")
    dev = held_out(judged[judged["split"] == "dev"].reset_index(drop=True), settings.calibration_pairs)
    paid = [(each, never) for each, never in unsure if each.name in quotes]
    rows = plan_category("(calibration)", grade_pairs(dev, judged.iloc[:0], paid, *books).stages, quotes, {})[1:]
    for category in categories or builder.history.categories:
        pairs, judgments = (warehouse.table(table, category) for table in ("marts.grade_candidates", "staging.judgments"))
        rows += plan_category(category, grade_pairs(pairs, judgments, cascade, *books).stages, quotes, shares)
    table = pd.DataFrame(rows)
    table["stage"] = table["stage"].mask(table["category"] == "(calibration)", "calibration of " + table["stage"])
    parts = [table.groupby("category", sort=False, as_index=False)[["to_buy", "usd", "at_most_usd"]].sum()]
    parts.append(table.drop(columns="category").groupby("stage", sort=False, as_index=False).sum())
    shown = [part.to_string(index=False, float_format="${:,.4f}".format) for part in parts]
    verdict = f"about ${table['usd'].sum():,.2f}, at most ${table['at_most_usd'].sum():,.2f}"
    return [*notes, *warnings], "\n\n".join([*shown, f"{verdict}; WHETSTONE_BUDGET_USD is {settings.budget_usd:g}"])
