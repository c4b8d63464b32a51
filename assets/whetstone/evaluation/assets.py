"""Wiring of evaluation: every system on dev and test queries over the whole catalog, the champion gate, the report."""

from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from whetstone.grading.guideline import Guideline
from whetstone.platform.asset import INPUT_TAG, artifact_name, asset, key_of, result
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.files import atomic_write
from whetstone.platform.history import History
from whetstone.platform.registry import Encoder, registry_of
from whetstone.platform.resources import Context, WithArtifacts, WithSettings
from whetstone.platform.warehouse import Warehouse

BEFORE_TAG = "whetstone-champion/before"  # whom the gate compared with


def assets(stages: list[str], guideline: Guideline) -> list[dg.AssetsDefinition]:
    """The evaluation assets for the checkpoints of these training stages."""
    return [_evaluation(stages, guideline), champion, report]


def _evaluation(stages: list[str], guideline: Guideline) -> dg.AssetsDefinition:
    @asset(
        schema="marts",
        group="evaluation",
        kinds={"python", "duckdb"},
        deps=["marts.learning_set", "raw.queries", "staging.judged_pairs", "raw.synonyms", *(f"models.{stage}" for stage in stages)],
        uses=["depth", "bm25_k1", "bm25_b", "seed"],
        version=f"2-{guideline.version}",
        by_category=False,
    )
    def evaluation(context: Context, settings: WithSettings, warehouse: Warehouse, artifacts: WithArtifacts) -> dg.MaterializeResult:
        """One row per system x dev or test query: every metric, over the full catalog and without routing."""
        import pandas as pd

        from whetstone.catalog.source import open_source
        from whetstone.evaluation.contestants import Contest, evaluate_systems

        synonyms = open_source(settings).synonyms
        products, judgments = warehouse.table("staging.products"), warehouse.table("staging.judged_pairs")
        contest = Contest(
            products=products,
            queries=warehouse.table("raw.queries", columns="query_id, text, split, segment"),
            judgments=judgments[judgments["product_id"].isin(products["product_id"])],  # the held rows may name one that left
            synonyms=synonyms.read_text(encoding="utf-8").splitlines() if synonyms else (),
            guideline=guideline,
            settings=settings,
        )
        pointers = registry_of(settings).require()
        checkpoints = {stage: artifacts.open(artifact_name(context.instance, f"models.{stage}")) for stage in stages}
        encoders = [pointers.base, *(Encoder(stage, made.version, str(made.path)) for stage, made in checkpoints.items())]
        previous = [each for each in pointers.previous if Path(each.path).is_dir()]  # so that a rollback finds its figures and thresholds
        served = {"champion_before": pointers.champion, **{f"previous_{n}": each for n, each in enumerate(previous, start=1)}}
        known = {encoder.version for encoder in encoders}
        encoders[1:1] = [replace(each, name=name) for name, each in served.items() if each.version not in known]
        table, scores, found = evaluate_systems(contest, encoders)
        warehouse.replace("meta.judged_scores", scores)
        warehouse.replace("meta.thresholds", pd.DataFrame([{"encoder": each.encoder, "thresholds": each.json()} for each in found]))
        written = warehouse.replace("marts.evaluation", table)
        test = table[table["split"] == "test"].groupby("system", sort=False)["ndcg@10"].mean()
        return result(written, metadata={f"test_ndcg_at_10_{system}": float(value) for system, value in test.items()})

    return evaluation


@asset(schema="models", group="evaluation", kinds={"python"}, deps=["marts.evaluation"], by_category=False)
def champion(context: Context, settings: WithSettings, warehouse: Warehouse, artifacts: WithArtifacts) -> dg.MaterializeResult:
    """The gate: a checkpoint better on dev, significantly worse on no segment, becomes champion; WhetstoneError: the old has no results."""
    from whetstone.evaluation.contestants import encoders_of
    from whetstone.evaluation.gate import decide

    registry, history = registry_of(settings), History(context.instance)
    pointers, told = registry.require(), history.latest(key_of("models.champion")).get(None)
    current, known = pointers.champion, told.data_version if told else pointers.base.version
    if told and told.tags.get(f"{INPUT_TAG}marts.evaluation") == history.seen_by(key_of("marts.evaluation"), None):
        known = told.tags.get(BEFORE_TAG, known)  # the same figures as last time
    table = warehouse.read("select * from marts.evaluation where split = 'dev' and encoder_version is not null order by place")
    versions = encoders_of(table) or {current.name: current.version}
    names = {version: name for name, version in versions.items()}
    if current.version not in names:
        raise WhetstoneError(f"the champion {current.name} has no results on dev queries; run `whetstone build --select evaluation`")
    # What was decided, but killed before Dagster was told of it, or lost since, is decided again, and alike.
    starts = [known] if known in names and known not in pointers.rejected else []
    for before in dict.fromkeys(names[version] for version in [*starts, current.version]):
        checkpoints = [name for name, version in versions.items() if name.startswith("encoder_") and version != versions[before]]
        candidates = [name for name in checkpoints if versions[name] not in pointers.rejected]
        decision = decide(table[table["system"].isin([before, *candidates])], candidates, before)
        if decision.promoted:
            break
    barred = [f"{name} was rolled back, so it is no candidate." for name in checkpoints if name not in candidates]
    decision = replace(decision, reason=" ".join([decision.reason, *barred]))
    version, facts = versions[decision.champion], asdict(decision)
    decided = artifacts.make("promotion", {**facts, "version": version}, lambda _: facts)
    if decision.promoted:  # after the decision is kept
        registry.promote(Encoder(decision.champion, version, str(artifacts.open(f"checkpoint/{version}").path)))
    made = result(version=version, artifact=decided, metadata={key: facts[key] for key in ("promoted", "champion", "reason")})
    return made._replace(tags={**(made.tags or {}), BEFORE_TAG: versions[decision.before]})


@asset(
    schema="reports",
    group="evaluation",
    kinds={"python"},
    deps=["marts.evaluation", "models.champion", "models.calibration", "models.search_thresholds", "marts.channel_overlap"],
    uses=["seed"],
    by_category=False,
)
def report(context: Context, settings: WithSettings, warehouse: Warehouse, artifacts: WithArtifacts) -> dg.MaterializeResult:
    """`report.json`, `report.md` and `report.html`: every system with intervals, segments, comparisons, overlap and who graded what."""
    import pandas as pd

    from whetstone.disagreement.overlap import heatmap
    from whetstone.evaluation.charts import separability_figure, systems_figure
    from whetstone.evaluation.pages import report_html, report_markdown, table_text
    from whetstone.evaluation.report import JUDGED, gather, report_json
    from whetstone.grading.summary import plots as grading_plots
    from whetstone.platform.plots import embed, figure_png

    names = [artifact_name(context.instance, f"models.{part}") for part in ("champion", "calibration", "search_thresholds")]
    decision, calibrated, hybrid = (artifacts.open(name).facts for name in names)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    made = gather(warehouse.read, settings, decision, calibrated, now)
    made["label_cuts"] = [{"label": f">= {label}", **cut} for label, cut in hybrid["cuts"].items()]
    made["weight_of_the_cosine"] = hybrid["weight"] if hybrid["weight"] is not None else hybrid["reason"]
    plots = {}
    if made["systems"]:
        plots["ndcg@10 by system, with 95 % intervals"] = figure_png(systems_figure(made))
    if made["separability"]:
        encoders = list(dict.fromkeys(("base", made["champion"])))
        plots["Cosine of judged pairs by label"] = figure_png(separability_figure(warehouse.read(JUDGED), encoders))
    plots |= grading_plots(calibrated)
    if made["overlap"]:
        plots["Overlap of the channels' finds"] = figure_png(heatmap(pd.DataFrame(made["overlap"])))
    pages = {"report.json": report_json(made), "report.md": report_markdown(made), "report.html": report_html(made, plots)}

    def write(folder: Path) -> None:
        for name, text in pages.items():
            (folder / name).write_text(text, encoding="utf-8")

    published = artifacts.make("report", {key: value for key, value in made.items() if key != "created_at"}, write)
    folder = settings.root / "report"  # a copy where people look for it
    for name in pages:
        atomic_write(folder / name, (published.path / name).read_bytes())
    shown = {"report": dg.MetadataValue.path(str(folder / "report.html")), "table": dg.MetadataValue.md(f"```\n{table_text(made)}```")}
    pictures = {caption: dg.MetadataValue.md(embed(plot, caption)) for caption, plot in list(plots.items())[:1]}
    return result(artifact=published, metadata={**shown, **pictures})
