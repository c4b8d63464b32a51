"""A report for people: the terminal's table, `report.md` and `report.html`, which is that Markdown with plots.

Names come from a shop's files and may hold anything, so each page writes them harmlessly: no control character reaches a terminal, no
pipe or line break ends a Markdown cell, and the HTML is that Markdown without raw tags. It is one file: styles inline, plots as data URIs,
no script, and a policy that forbids everything else; it follows the reader's light or dark setting.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from markdown_it import MarkdownIt

from whetstone.evaluation.report import CONTRACT, Report
from whetstone.platform.plots import data_uri
from whetstone.platform.printable import printable

MAIN = ("ndcg@10", "recall@100", "precision@10", "map", "mrr", "embarrassing@10", "judged@10")
BY_SEGMENT = ("ndcg@10", "recall@100", "embarrassing@10", "judged@10")
WITH_INTERVAL = ("ndcg@10", "recall@100")  # more of them don't fit into 120 columns
HOW_TO_READ = (
    "Test queries against the whole catalog. Mean [95 % bootstrap interval over queries]. embarrassing@10 is the share of grade 0 among "
    "the judged products of the top 10, judged@10 the share of the products shown there that were judged: read them together."
)
HOW_COMPARED = (
    "Paired by query: mean difference [95 % bootstrap interval], two-sided p of the randomisation test, not corrected for many comparisons."
)
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Evaluation of {source}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }}
table {{ display: block; overflow-x: auto; font-size: 14px; border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem .45rem; border-bottom: 1px solid #8886; white-space: nowrap; }}
[style*="left"] {{ white-space: normal; min-width: 6rem; max-width: 24rem; }}
figure {{ margin: 1rem 0; padding: .8rem; background: #fff; color: #1b1f24; }}
figure img {{ max-width: 100%; }}
</style></head><body>
{body}
</body></html>
"""
Rows = Sequence[Sequence[str]]  # cells of a table, its header first


def table_text(report: Report) -> str:
    """The main table for a terminal: facts, aligned columns, who is champion and why; ends with a newline."""
    promoted = "promoted" if report["promotion"]["promoted"] else "not promoted"
    verdict = f"* Champion: {report['champion']} ({promoted}). {report['promotion']['reason']}"
    columns = []
    for cells in zip(*_main_table(report), strict=True):
        shown = [printable(cell) for cell in cells]
        width = max(map(len, shown))
        shown.insert(1, "-" * width)
        columns.append([cell.rjust(width) if _is_figures(cells) else cell.ljust(width) for cell in shown])
    rows = ("  ".join(row).rstrip() for row in zip(*columns, strict=True))
    return "\n".join([printable(_facts(report)), "", *rows, "", printable(verdict)]) + "\n"


def report_markdown(report: Report) -> str:
    """`report.md`; last come the keys beyond the contract."""
    verdict = f"Champion: {report['champion']}. {'Promoted' if report['promotion']['promoted'] else 'Not promoted'}."
    sections = [
        f"# Evaluation\n\n{_markdown(_facts(report))}",
        _section("Champion", [verdict, report["promotion"]["reason"]]),
        *(_measured(report) if report["systems"] else [_section("Systems", ["No test query has a human judgment: nothing is measured."])]),
        *(_further(key, value) for key, value in report.items() if key not in CONTRACT and (value or value == 0)),
    ]
    return "\n\n".join(sections) + "\n"


def report_html(report: Report, plots: Mapping[str, bytes]) -> str:
    """`report.html`; `plots` (caption -> PNG bytes) come last."""
    text = MarkdownIt("commonmark", {"html": False}).enable("table").render(report_markdown(report))
    images = ((escape(caption), data_uri(png)) for caption, png in plots.items())
    figures = (f'<figure><img src="{uri}" alt="{caption}"><figcaption>{caption}</figcaption></figure>' for caption, uri in images)
    return PAGE.format(source=escape(report["source"]), body="\n".join([text, *figures]))


def _facts(report: Report) -> str:
    catalog, queries = report["catalog"], report["catalog"]["queries"]
    return (
        f"Source {report['source']}, {report['created_at']}: {catalog['products']:,} products in {catalog['categories']:,} categories, "
        f"{catalog['judgments']:,} judgments, {queries['train']:,} train, {queries['dev']:,} dev and {queries['test']:,} test queries."
    )


def _main_table(report: Report) -> Rows:
    return [["system", *MAIN], *([_marked(name, report), *_cells(each, MAIN)] for name, each in report["systems"].items())]


def _measured(report: Report) -> Iterator[str]:
    systems = report["systems"]
    yield _section("Systems", [HOW_TO_READ], _main_table(report))
    by_segment = (
        [_marked(name, report), segment, f"{figures['queries']:,}", *_cells(figures, BY_SEGMENT)]
        for name, system in systems.items()
        for segment, figures in system["segments"].items()
    )
    yield _section("Segments", [], [["system", "segment", "queries", *BY_SEGMENT], *by_segment])
    compared = []
    for row in report["comparisons"]:
        difference, low, high = (_number(row[key], "+.4f") for key in ("difference", "low", "high"))
        compared.append([row["system"], row["against"], row["metric"], f"{difference} [{low}, {high}]", _number(row["p"])])
    yield _section("Comparisons", [HOW_COMPARED], [["system", "against", "metric", "difference", "p"], *compared])
    first = next(iter(systems.values()))  # the same metrics as in every other, beside counts and segments
    metrics = [name for name, value in first.items() if isinstance(value, Mapping) and "mean" in value]
    means = ([metric, *(_number(each[metric]["mean"]) for each in systems.values())] for metric in metrics)
    yield _section("All metrics", ["Means."], [["metric", *(_marked(name, report) for name in systems)], *means])


def _further(key: str, value: Any) -> str:
    """A record or a list of records as a table, anything else as paragraphs."""
    title, values = key.replace("_", " ").capitalize(), value if isinstance(value, list) else [value]
    if not all(isinstance(each, Mapping) for each in values):
        return _section(title, [_text(each) for each in values])
    header = list(dict.fromkeys(name for record in values for name in record))
    return _section(title, [], [header, *([_text(record.get(name)) for name in header] for record in values)])


def _section(title: str, paragraphs: Sequence[str], table: Rows = ()) -> str:
    parts = [f"## {_markdown(title)}"]
    parts += [re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", _markdown(each)) for each in paragraphs]  # nor does one begin a list or a rule
    if table:
        ruler = ["---:" if _is_figures(cells) else ":---" for cells in zip(*table, strict=True)]
        lines = ([_markdown(cell) for cell in row] for row in table)
        header, *rows = (f"| {' | '.join(cells)} |" for cells in lines)
        parts.append("\n".join([header, f"| {' | '.join(ruler)} |", *rows]))
    return "\n\n".join(parts)


def _is_figures(column: Sequence[str]) -> bool:
    """Whether a column holds figures, below its header."""
    return all(re.match(r"[-+]?\d|-$", cell) for cell in column[1:])


def _marked(name: str, report: Report) -> str:
    """A system's name, the champion's with an asterisk."""
    return f"{name} *" if name == report["champion"] else name


def _cells(figures: Mapping[str, Any], metrics: Sequence[str]) -> Iterator[str]:
    for metric in metrics:
        mean, low, high = (figures[metric][key] for key in ("mean", "low", "high"))
        has_interval = metric in WITH_INTERVAL and mean is not None
        yield f"{_number(mean)} [{_number(low, '.3f')}, {_number(high, '.3f')}]" if has_interval else _number(mean)


def _number(value: float | None, spec: str = ".4f") -> str:
    return "-" if value is None else format(value, spec)


def _text(value: object) -> str:
    """A JSON scalar as a cell's text."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() else f"{value:.4g}"  # SQL sums counts into floats
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def _markdown(value: str) -> str:
    """One line that Markdown shows as it is; what does no harm (an interval's brackets, snake_case) stays readable."""
    return re.sub(r"([\\`*<>|#&~]|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", printable(value).strip())
