"""What grading has to say in a report: agreement with humans, who settled how much, dollars, candidates, the audit, warnings."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from whetstone.grading.agreement_plots import confusion_figure, reliability_figure
from whetstone.platform.plots import figure_png

MEASURES = ("accuracy", "within_one", "quadratic_kappa", "macro_f1", "ece_raw", "ece", "ece_new_queries")
SECTIONS = {
    "candidates": """
        select rule, coalesce(dropped, 'kept') as what, count(*) as pairs from marts.grade_proposals group by all order by all
    """,
    "grades": """
        select
            stage, sum(asked)::bigint as asked, sum(settled)::bigint as settled, sum(failed)::bigint as failed,
            sum(unanswered)::bigint as unanswered, sum(new)::bigint as new_in_last_build,
            sum(new_usd) as usd_of_last_build, any_value(why) as why_unanswered
        from meta.grading group by stage order by min(rowid)
    """,
    "spending": """
        select annotator, category, day::varchar as day, count(*) as answers, sum(cost_usd) as usd, bool_and(request = key) as is_pretended
        from ledger.grades where cost_usd > 0 group by all order by all
    """,
    "engagement_audit": """
        select
            sum(graded)::bigint as graded, sum(sampled)::bigint as sampled, sum(conflicts)::bigint as conflicts,
            sum(rejudged)::bigint as rejudged, sum(changed)::bigint as changed, sum(superseded)::bigint as superseded,
            sum(disputed)::bigint as disputed,
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
    agreement = {"agreement_with_humans": agreement_rows(report), "settled_by": _stage_rows(report)} if report else {}
    return {"warnings": found["warnings"], **agreement, **records}


def agreement_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for the cascade, each stage alone, always the commonest grade, and the human raters among themselves."""
    rows: list[dict[str, Any]] = []
    names = [row["stage"] for row in report["stages"] if row["stage"] in report["alone"]]  # JSON may have sorted the keys
    for name, each in {"cascade": report, **{name: report["alone"][name] for name in names}}.items():
        figures = {measure: _interval(each[measure]) for measure in MEASURES}
        rows.append({"annotator": name, "pairs": each["pairs"], "queries": each["queries"], **figures})
    rows.append({"annotator": "always the commonest grade", "pairs": report["pairs"], "accuracy": f"{report['majority_accuracy']:.3f}"})
    if raters := report["raters"]:
        figures = {measure: f"{raters[measure]:.3f}" for measure in ("accuracy", "within_one", "quadratic_kappa")}
        rows.append({"annotator": "human raters among themselves", "pairs": raters["judgments"], **figures})
    return rows


def agreement_text(found: Mapping[str, Any]) -> str:
    """The same for a terminal or a metadata entry, with shares, costs and warnings."""
    if not found["report"]:
        return "\n".join(["no agreement was measured", *found["warnings"]])
    tables = [pd.DataFrame(agreement_rows(found["report"])), pd.DataFrame(_stage_rows(found["report"]))]
    return "\n\n".join([*(table.fillna("").to_string(index=False) for table in tables), *found["warnings"]])


def plots(found: Mapping[str, Any]) -> dict[str, bytes]:
    """PNG of the confusion matrix and of the reliability before and after calibration, by caption."""
    report = found["report"]
    if not report:
        return {}
    return {"Confusion with human judgments": figure_png(confusion_figure(report)), "Reliability": figure_png(reliability_figure(report))}


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
