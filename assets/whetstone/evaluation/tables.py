"""What the pages of a report show: one list of sections, rendered alike as Markdown, HTML and terminal text."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whetstone.evaluation.report import CONTRACT, Report

WITH_INTERVAL = ("ndcg@10", "recall@100", "mrr", "embarrassing@10")
MAIN = ("ndcg@10", "recall@100", "precision@10", "map", "mrr", "embarrassing@10", "judged@10")
BY_SEGMENT = ("ndcg@10", "recall@100", "embarrassing@10", "judged@10")
NOTHING = "-"
HOW_TO_READ = (
    "Test queries against the whole catalog. Mean [95 % bootstrap interval over queries]. embarrassing@10 is the share of grade 0 among "
    "the judged products of the top 10, judged@10 the share of the products shown there that were judged: read them together."
)
HOW_COMPARED = (
    "Paired by query: mean difference [95 % bootstrap interval], two-sided p of the randomisation test, not corrected for many comparisons."
)


@dataclass(frozen=True)
class Table:
    """Header and rows of text cells; the first `words` columns are words, the rest figures."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1


@dataclass(frozen=True)
class Section:
    """A heading, then paragraphs, then perhaps a table."""

    title: str
    paragraphs: Sequence[str] = ()
    table: Table | None = None


def facts(report: Report) -> str:
    """One sentence: which source, when, how large."""
    catalog, queries = report["catalog"], report["catalog"]["queries"]
    return (
        f"Source {report['source']}, {report['created_at']}: {catalog['products']:,} products in {catalog['categories']:,} categories, "
        f"{catalog['judgments']:,} judgments, {queries['train']:,} train, {queries['dev']:,} dev and {queries['test']:,} test queries."
    )


def sections(report: Report) -> list[Section]:
    """All sections of the page, in order; last the keys beyond the contract."""
    verdict = "Promoted." if report["promotion"]["promoted"] else "Not promoted."
    return [
        Section("Champion", [f"Champion: {report['champion']}. {verdict}", report["promotion"]["reason"]]),
        *(_measured(report) if report["systems"] else [Section("Systems", ["No test query has a human judgment: nothing is measured."])]),
        *(_further(key, value) for key, value in report.items() if key not in CONTRACT and (value or value == 0)),
    ]


def _measured(report: Report) -> list[Section]:
    return [
        Section("Systems", [HOW_TO_READ], main_table(report)),
        Section("Segments", [], _segment_table(report)),
        Section("Comparisons", [HOW_COMPARED], _comparison_table(report)),
        Section("All metrics", ["Means."], _all_metrics_table(report)),
    ]


def main_table(report: Report, with_interval: Collection[str] = WITH_INTERVAL) -> Table:
    """System by the main metrics, the champion marked with an asterisk."""
    return Table(
        ["system", *MAIN], [[_marked(name, report), *_cells(each, MAIN, with_interval)] for name, each in report["systems"].items()]
    )


def _segment_table(report: Report) -> Table:
    rows = [
        [_marked(name, report), segment, f"{figures['queries']:,}", *_cells(figures, BY_SEGMENT, WITH_INTERVAL)]
        for name, system in report["systems"].items()
        for segment, figures in system["segments"].items()
    ]
    return Table(["system", "segment", "queries", *BY_SEGMENT], rows, words=2)


def _comparison_table(report: Report) -> Table:
    rows = []
    for row in report["comparisons"]:
        difference, low, high = (_number(row[key], "+.4f") for key in ("difference", "low", "high"))
        rows.append([row["system"], row["against"], row["metric"], f"{difference} [{low}, {high}]", _number(row["p"])])
    return Table(["system", "against", "metric", "difference", "p"], rows, words=3)


def _all_metrics_table(report: Report) -> Table:
    systems = report["systems"]
    first = next(iter(systems.values()))  # the same metrics as in every other, beside counts and segments
    metrics = [name for name, value in first.items() if isinstance(value, Mapping) and "mean" in value]
    rows = [[metric, *(_number(each[metric]["mean"]) for each in systems.values())] for metric in metrics]
    return Table(["metric", *(_marked(name, report) for name in systems)], rows)


def _further(key: str, value: Any) -> Section:
    """A list of records or a mapping as a table, anything else as paragraphs."""
    title = key.replace("_", " ").capitalize()
    if isinstance(value, Mapping):
        return Section(title, [], Table(["name", "value"], [[name, _text(each)] for name, each in value.items()]))
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(each, Mapping) for each in values):
        return Section(title, [_text(each) for each in values])
    header = list(dict.fromkeys(name for record in values for name in record))
    words = sum(any(isinstance(record.get(name), str) for record in values) for name in header)  # SQL groups by them, so they come first
    return Section(title, [], Table(header, [[_text(record.get(name)) for name in header] for record in values], words))


def _marked(name: str, report: Report) -> str:
    return f"{name} *" if name == report["champion"] else name


def _cells(figures: Mapping[str, Any], metrics: Sequence[str], with_interval: Collection[str]) -> Iterator[str]:
    for metric in metrics:
        mean, low, high = (figures[metric][key] for key in ("mean", "low", "high"))
        has_interval = metric in with_interval and mean is not None
        yield f"{_number(mean)} [{_number(low, '.3f')}, {_number(high, '.3f')}]" if has_interval else _number(mean)


def _number(value: float | None, spec: str = ".4f") -> str:
    """A figure, or a dash where it is undefined."""
    return NOTHING if value is None else format(value, spec)


def _text(value: object) -> str:
    """Any JSON value as a cell's text."""
    if value is None:
        return NOTHING
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() else f"{value:.4g}"  # SQL sums counts into floats
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(_text(each) for each in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_text(each)}" for key, each in value.items())
    return str(value)
