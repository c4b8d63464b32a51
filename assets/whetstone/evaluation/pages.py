"""A report for people: the terminal's table, `report.md` and `report.html`, of the same sections (`tables.sections`).

Names come from a shop's files and may hold anything, so each page writes them harmlessly: no control character reaches a terminal, no
pipe or line break ends a Markdown cell, no tag reaches HTML. The HTML is one file: styles inline, plots as data URIs, no script, and a
policy that forbids everything else; it follows the reader's light or dark setting.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape

from whetstone.evaluation.report import Report
from whetstone.evaluation.tables import Table, facts, main_table, printable, sections
from whetstone.platform.plots import data_uri

TERMINAL_INTERVALS = ("ndcg@10", "recall@100")  # more of them don't fit into 120 columns
PLOTS_AFTER = "Segments"  # the section that the plots follow
STYLE = """
:root { color-scheme: light dark; }
:root { --ink: #1b1f24; --paper: #ffffff; --line: #d5dae0; --quiet: #5b6570; --band: #f4f6f8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ec; --paper: #14171a; --line: #343b43; --quiet: #9aa5b1; --band: #1c2126; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
body { max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
p { max-width: 60rem; overflow-wrap: anywhere; } .facts { color: var(--quiet); }
.wide { overflow-x: auto; } table { font-size: 14px; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .45rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th.text, td.text { text-align: left; white-space: normal; max-width: 24rem; overflow-wrap: break-word; }
tbody tr:nth-child(even) { background: var(--band); }
.plots { margin-top: 1.2rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(30rem, 100%), 1fr)); gap: 1rem; }
figure { margin: 0; padding: .8rem; background: #ffffff; color: #1b1f24; }
figure { border: 1px solid var(--line); border-radius: .4rem; }
figure img { width: 100%; height: auto; } figcaption { font-size: .9rem; overflow-wrap: anywhere; }
"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Evaluation of {source}</title>
<style>{style}</style></head><body>
<h1>Evaluation</h1>
<p class="facts">{facts}</p>
{body}
</body></html>
"""


def table_text(report: Report) -> str:
    """The main table for a terminal: facts, aligned columns, who is champion and why; ends with a newline."""
    promotion = report["promotion"]
    promoted = "promoted" if promotion["promoted"] else "not promoted"
    verdict = f"* Champion: {report['champion']} ({promoted}). {promotion['reason']}"
    lines = [printable(facts(report)), "", *_aligned(main_table(report, TERMINAL_INTERVALS)), "", printable(verdict)]
    return "\n".join(lines) + "\n"


def report_markdown(report: Report) -> str:
    """`report.md`."""
    lines = ["# Evaluation", "", _markdown(facts(report))]
    for section in sections(report):
        lines += ["", f"## {_markdown(section.title)}"]
        for paragraph in section.paragraphs:
            lines += ["", _markdown(paragraph)]
        if table := section.table:
            ruler = [":---" if place < table.words else "---:" for place in range(len(table.header))]
            lines += ["", *(f"| {' | '.join(map(_markdown, row))} |" for row in (table.header, ruler, *table.rows))]
    return "\n".join(lines) + "\n"


def report_html(report: Report, plots: Mapping[str, bytes]) -> str:
    """`report.html`; `plots` (caption -> PNG bytes) are shown in order after the segments."""
    body = []
    for section in sections(report):
        body.append(f"<h2>{escape(section.title)}</h2>")
        body += [f"<p>{escape(paragraph)}</p>" for paragraph in section.paragraphs]
        body += [_html_table(section.table)] if section.table else []
        if section.title == PLOTS_AFTER and plots:
            body += ['<div class="plots">', *(_html_figure(*plot) for plot in plots.items()), "</div>"]
    return PAGE.format(source=escape(report["source"]), style=STYLE, facts=escape(facts(report)), body="\n".join(body), policy=POLICY)


def _html_figure(caption: str, png: bytes) -> str:
    image = f'<img src="{data_uri(png)}" alt="{escape(caption)}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def _html_table(table: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        kinds = [' class="text"' if place < table.words else "" for place in range(len(cells))]
        return "<tr>" + "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for cell, kind in zip(cells, kinds, strict=True)) + "</tr>"

    rows = "\n".join(row(cells, "td") for cells in table.rows)
    return f'<div class="wide"><table><thead>{row(table.header, "th")}</thead><tbody>\n{rows}\n</tbody></table></div>'


def _aligned(table: Table) -> list[str]:
    columns = []
    for place, cells in enumerate(zip(table.header, *table.rows, strict=True)):
        shown = [printable(cell) for cell in cells]
        width = max(map(len, shown))
        shown.insert(1, "-" * width)
        columns.append([cell.ljust(width) if place < table.words else cell.rjust(width) for cell in shown])
    return ["  ".join(row).rstrip() for row in zip(*columns, strict=True)]


def _markdown(value: str) -> str:
    """One line that Markdown shows as it is; what does no harm (an interval's brackets, snake_case) stays readable."""
    return re.sub(r"([\\`*<>|#&~]|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", printable(value))
