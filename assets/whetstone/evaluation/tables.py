"""What the pages of a report show: one list of sections, rendered alike as Markdown, HTML and terminal text."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whetstone.evaluation.report import CONTRACT, Report
from whetstone.evaluation.systems import SEGMENTS

WITH_INTERVAL = ("ndcg@10", "recall@100", "mrr", "embarrassing@10")
MAIN = ("ndcg@10", "recall@100", "precision@10", "map", "mrr", "embarrassing@10", "judged@10")
BY_SEGMENT = ("ndcg@10", "recall@100", "embarrassing@10", "judged@10")
NOTHING = "-"
HOW_TO_READ = (
    "Test queries against the whole catalog. Mean [95 % bootstrap interval over queries]. embarrassing@10 is the share "
    "of grade 0 among the judged products of the top 10, judged@10 the share of the products shown there that were "
    "judged: read them together."
)
HOW_COMPARED = (
    "Paired by query: mean difference [95 % bootstrap interval], two-sided p of the randomisation test, not corrected for many comparisons."
)


@dataclass(frozen=True)
class Table:
    """Header and rows of text cells; `is_text` says which columns are words (the rest are figures)."""

    header: list[str]
    rows: list[list[str]]
    is_text: list[bool]


@dataclass(frozen=True)
class Section:
    """A heading, then paragraphs, then tables (any may be empty)."""

    title: str
    paragraphs: list[str]
    tables: list[Table]


def facts(report: Report) -> str:
    """One sentence: which source, when, how large."""
    catalog, queries = report["catalog"], report["catalog"]["queries"]
    return (
        f"Source {report['source']}, {report['created_at']}: {catalog['products']:,} products in "
        f"{catalog['categories']:,} categories, {catalog['judgments']:,} judgments, {queries['train']:,} train, "
        f"{queries['dev']:,} dev and {queries['test']:,} test queries."
    )


def sections(report: Report) -> list[Section]:
    """All sections of the page, in order."""
    verdict = "Promoted." if report["promotion"]["promoted"] else "Not promoted."
    return [
        Section("Champion", [f"Champion: {report['champion']}. {verdict}", report["promotion"]["reason"]], []),
        Section(
            "Systems",
            [HOW_TO_READ],
            [main_table(report)],
        ),
        Section("Segments", [], [segment_table(report)]),
        Section(
            "Comparisons",
            [HOW_COMPARED],
            [comparison_table(report)],
        ),
        Section("All metrics", ["Means."], [all_metrics_table(report)]),
        *further(report),
    ]


def main_table(report: Report, with_interval: Collection[str] = WITH_INTERVAL) -> Table:
    """System by the main metrics, the champion marked with an asterisk."""
    metrics = [name for name in MAIN if name in metrics_of(report)]
    rows = [
        [marked(name, report), *(_cell(system, metric, metric in with_interval) for metric in metrics)]
        for name, system in report["systems"].items()
    ]
    return _figures(["system", *metrics], rows)


def segment_table(report: Report) -> Table:
    """System and segment by the metrics that differ by segment."""
    metrics = [name for name in BY_SEGMENT if name in metrics_of(report)]
    rows = [
        [
            marked(name, report),
            segment,
            f"{figures['queries']:,}",
            *(_cell(figures, m, m in WITH_INTERVAL) for m in metrics),
        ]
        for name, system in report["systems"].items()
        for segment, figures in sorted(system["segments"].items(), key=lambda item: SEGMENTS.index(item[0]))
    ]
    return Table(["system", "segment", "queries", *metrics], rows, [True, True, False, *(False for _ in metrics)])


def comparison_table(report: Report) -> Table:
    """One row per comparison."""
    rows = [
        [
            *(row["system"], row["against"], row["metric"]),
            f"{number(row['difference'], '+.4f')} [{number(row['low'], '+.4f')}, {number(row['high'], '+.4f')}]",
            number(row["p"]),
        ]
        for row in report["comparisons"]
    ]
    return Table(["system", "against", "metric", "difference", "p"], rows, [True, True, True, False, False])


def all_metrics_table(report: Report) -> Table:
    """Metric by system: every metric's mean."""
    systems = report["systems"]
    rows = [[metric, *(_cell(each, metric, False) for each in systems.values())] for metric in metrics_of(report)]
    return _figures(["metric", *(marked(name, report) for name in systems)], rows)


def further(report: Report) -> list[Section]:
    """The keys beyond the contract: a list of records or a mapping as a table, anything else as paragraphs."""
    result = []
    for key, value in report.items():
        if key in CONTRACT or (not value and value != 0):
            continue
        title = key.replace("_", " ").capitalize()
        if isinstance(value, Mapping):
            result.append(Section(title, [], [Table(["name", "value"], [[k, text(v)] for k, v in value.items()], [True, False])]))
        elif isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(row, Mapping) for row in value):
            result.append(Section(title, [], [_records(value)]))
        else:
            items = [value] if isinstance(value, str) or not isinstance(value, Sequence) else value
            result.append(Section(title, [text(item) for item in items], []))
    return result


def metrics_of(report: Report) -> list[str]:
    """Metrics of the first system, in order (all systems have the same)."""
    first = next(iter(report["systems"].values()))
    return [name for name, value in first.items() if isinstance(value, Mapping) and "mean" in value]


def marked(name: str, report: Report) -> str:
    """A system's name, with an asterisk for the champion."""
    return f"{name} *" if name == report["champion"] else name


def number(value: float | None, spec: str = ".4f") -> str:
    """A figure, or a dash where it is undefined."""
    return NOTHING if value is None else format(value, spec)


def printable(value: str) -> str:
    """One line without control characters, which a terminal would obey."""
    return "".join(character if character.isprintable() else " " for character in value)


def text(value: object) -> str:
    """Any JSON value as a cell's text."""
    if value is None:
        return NOTHING
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() else f"{value:.4g}"  # SQL sums counts into floats
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(text(each) for each in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {text(each)}" for key, each in value.items())
    return str(value)


def _cell(figures: Mapping[str, Any], metric: str, with_interval: bool) -> str:
    each = figures[metric]
    if not with_interval or each["mean"] is None:
        return number(each["mean"])
    return f"{number(each['mean'])} [{number(each['low'], '.3f')}, {number(each['high'], '.3f')}]"


def _figures(header: list[str], rows: list[list[str]]) -> Table:
    return Table(header, rows, [True, *(False for _ in header[1:])])


def _records(records: Sequence[Mapping[str, Any]]) -> Table:
    header = list(dict.fromkeys(key for record in records for key in record))
    rows = [[text(record.get(key)) for key in header] for record in records]
    is_text = [any(isinstance(record.get(key), str) for record in records) for key in header]
    return Table(header, rows, is_text)
