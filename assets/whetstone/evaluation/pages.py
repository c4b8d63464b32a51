"""A report for people: the terminal's table, `report.md` and `report.html`, of the same sections (`tables.sections`).

Names come from a shop's files and may hold anything, so each page writes them harmlessly: no control character reaches a terminal, no
pipe or line break ends a Markdown cell, and the HTML is that Markdown without raw tags. It is one file: styles inline, plots as data URIs,
no script, and a policy that forbids everything else; it follows the reader's light or dark setting.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape

from markdown_it import MarkdownIt

from whetstone.evaluation.report import Report
from whetstone.evaluation.tables import Table, facts, main_table, sections
from whetstone.platform.plots import data_uri
from whetstone.platform.printable import printable

TERMINAL_INTERVALS = ("ndcg@10", "recall@100")  # more of them don't fit into 120 columns
AFTER_PLOTS = "<h2>Comparisons</h2>"
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Evaluation of {source}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }}
h1 {{ font-size: 1.6rem; }} h2 {{ font-size: 1.2rem; margin-top: 2.2rem; }} p {{ max-width: 60rem; }}
table {{ display: block; overflow-x: auto; font-size: 14px; border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem .45rem; border-bottom: 1px solid #8886; white-space: nowrap; }}
[style*="left"] {{ white-space: normal; min-width: 6rem; max-width: 24rem; }}
tbody tr:nth-child(even) {{ background: #8882; }}
.plots {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(30rem, 100%), 1fr)); gap: 1rem; margin-top: 1.2rem; }}
figure {{ margin: 0; padding: .8rem; background: #fff; color: #1b1f24; border: 1px solid #8886; border-radius: .4rem; }}
figure img {{ width: 100%; height: auto; }} figcaption {{ font-size: .9rem; }}
</style></head><body>
{body}</body></html>
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
            lines += ["", re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", _markdown(paragraph))]  # nor does it begin a list or a rule
        if table := section.table:
            ruler = [":---" if place < table.words else "---:" for place in range(len(table.header))]
            lines += ["", *(f"| {' | '.join(map(_markdown, row))} |" for row in (table.header, ruler, *table.rows))]
    return "\n".join(lines) + "\n"


def report_html(report: Report, plots: Mapping[str, bytes]) -> str:
    """`report.html`; `plots` (caption -> PNG bytes) are shown in order after the segments, or last where nothing was measured."""
    text = MarkdownIt("commonmark", {"html": False}).enable("table").render(report_markdown(report))
    images = [(f'<img src="{data_uri(png)}" alt="{escape(caption)}">', escape(caption)) for caption, png in plots.items()]
    figures = "\n".join(f"<figure>{image}<figcaption>{caption}</figcaption></figure>" for image, caption in images)
    above, heading, below = text.partition(AFTER_PLOTS)
    body = f'{above}<div class="plots">\n{figures}\n</div>\n{heading}{below}'
    return PAGE.format(source=escape(report["source"]), body=body)


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
    return re.sub(r"([\\`*<>|#&~]|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", printable(value).strip())
