"""What grading has to say in a report: agreement with humans, who settled how much, dollars, candidates, the audit, warnings."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from whetstone.platform.plots import figure_png
from whetstone.platform.printable import printable

MEASURES = ("accuracy", "within_one", "quadratic_kappa", "macro_f1", "ece_raw", "ece", "ece_new_queries")
SECTIONS = {
    "candidates": """
        select rule, coalesce(dropped, 'kept') as what, count(*) as pairs from marts.grade_proposals group by all order by all
    """,
    "grades": """
        select
            stage, sum(columns(['asked', 'settled', 'failed', 'unanswered']))::bigint, sum(new)::bigint as new_in_last_build,
            sum(new_usd) as usd_of_last_build, any_value(why) as why_unanswered
        from meta.grading group by stage order by min(rowid)
    """,
    "spending": """
        select annotator, category, day::varchar as day, count(*) as answers, sum(cost_usd) as usd, bool_and(request = key) as is_pretended
        from ledger.grades where cost_usd > 0 group by all order by all
    """,
    "engagement_audit": """
        select
            sum(columns(['graded', 'sampled', 'conflicts', 'rejudged', 'changed', 'superseded', 'disputed']))::bigint,
            sum(sample_error_before * sampled_machine) / nullif(sum(sampled_machine), 0) as error_before,
            sum(sample_error_after * sampled_machine) / nullif(sum(sampled_machine), 0) as error_after,
            any_value(examination_exponent) as examination_exponent, any_value(reason) as reason
        from meta.audit
    """,
}


def sections(read: Callable[[str], pd.DataFrame], found: Mapping[str, Any]) -> dict[str, Any]:
    """Sections of the report as JSON values; `read` is the warehouse's, `found` what `calibrate` returned (with warnings)."""
    report = found["report"]
    tables = {name: read(query).astype(object) for name, query in SECTIONS.items()}
    records = {name: table.where(table.notna(), None).to_dict(orient="records") for name, table in tables.items()}
    agreement = {"agreement_with_humans": _agreement_rows(report), "settled_by": _stage_rows(report)} if report else {}
    return {"warnings": found["warnings"], **agreement, **records}


def agreement_text(found: Mapping[str, Any]) -> str:
    """Agreement, shares, costs and warnings for a terminal or a metadata entry."""
    if not found["report"]:
        return "\n".join(["no agreement was measured", *found["warnings"]])
    tables = [pd.DataFrame(rows(found["report"])).fillna("").to_string(index=False) for rows in (_agreement_rows, _stage_rows)]
    return "\n\n".join([*tables, *found["warnings"]])


def _agreement_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for the cascade, each stage alone, always the commonest grade, and the human raters among themselves."""
    names = [row["stage"] for row in report["stages"] if row["stage"] in report["alone"]]  # JSON may have sorted the keys
    rows: list[dict[str, Any]] = [
        {"annotator": name, "pairs": each["pairs"], "queries": each["queries"], **{part: _interval(each[part]) for part in MEASURES}}
        for name, each in {"cascade": report, **{name: report["alone"][name] for name in names}}.items()
    ]
    rows.append({"annotator": "always the commonest grade", "pairs": report["pairs"], "accuracy": f"{report['majority_accuracy']:.3f}"})
    if raters := report["raters"]:
        figures = {measure: f"{raters[measure]:.3f}" for measure in ("accuracy", "within_one", "quadratic_kappa")}
        rows.append({"annotator": "human raters among themselves", "pairs": raters["judgments"], **figures})
    return rows


def _stage_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each stage and the vote, and what all cost as a share of asking the dearest stage for everything."""
    rows = []
    for row in report["stages"]:
        figures = {name: _interval(row[name]) for name in ("share", "accuracy", "confidence")}
        rows.append({"stage": row["stage"], "pairs": row["pairs"], **figures, "usd_per_pair": _interval(row["cost_usd"], 6)})
    usd = {"usd_per_pair": _interval(report["cost"]["usd_per_pair"], 6), "of_the_dearest": _interval(report["cost"]["share"])}
    return [*rows, {"stage": "all", "pairs": report["pairs"], "share": "1.000", "accuracy": _interval(report["accuracy"]), **usd}]


def _interval(value: Mapping[str, float | None], digits: int = 3) -> str | None:
    """`0.612 [0.55, 0.67]`, or None where it is undefined."""
    if value["mean"] is None:
        return None
    bounds = "" if value["low"] is None else f" [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"
    return f"{value['mean']:.{digits}f}{bounds}"


def plots(found: Mapping[str, Any]) -> dict[str, bytes]:
    """The agreement report as one PNG, by caption."""
    return {"Agreement with human judgments": figure_png(agreement_figure(found["report"]))} if found["report"] else {}


def agreement_figure(report: Mapping[str, Any]) -> Figure:
    """Confusion matrix (shade: share of the human level) and share right by confidence (area: pairs), before and after calibration."""
    counts, names = np.array(report["confusion"]), [printable(name, 20) for name in report["levels"]]
    figure = Figure(figsize=(4 + 1.2 * len(names), 2 + 0.6 * len(names)), layout="constrained")  # the Figure API belongs to no window
    matrix, curve = figure.subplots(1, 2)
    matrix.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), vmin=0, vmax=2, cmap="Blues", aspect="auto")
    # to matplotlib dollars are mathematics, but a level may be called "under $5 or $6"
    matrix.set_xticks(range(len(names)), names, rotation=30, ha="right", parse_math=False)
    matrix.set_yticks(range(len(names)), names, parse_math=False)
    for (row, column), count in np.ndenumerate(counts):
        matrix.text(column, row, f"{count:,}", ha="center", va="center", fontsize="small")
    matrix.set(xlabel="machine", ylabel="human", title=f"{report['pairs']:,} pairs of {report['queries']:,} queries")
    curve.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle="--")
    for when in ("before", "after"):
        bins = pd.DataFrame(report[f"reliability_{when}"])
        curve.plot(bins["confidence"], bins["share_right"], label=when)
        curve.scatter(bins["confidence"], bins["share_right"], s=400 * bins["pairs"] / report["pairs"])
    curve.set(xlabel="confidence", ylabel="share right", xlim=(0, 1), ylim=(0, 1.02))
    curve.legend(title="calibration", fontsize="small")
    return figure
