"""The pages of a report: what they show, that nothing in a name can break them, and that the plots are pictures."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from whetstone.evaluation.charts import systems_figure
from whetstone.evaluation.metrics import metric_names
from whetstone.evaluation.pages import report_html, report_markdown, table_text
from whetstone.platform.plots import figure_png
from whetstone.platform.printable import printable

HOSTILE = "_$\\frac$ <script>alert(1)</script>\"'|\n# x `y` \x1b[31m [a](javascript:b) 🦆 & _z_ *w*" + "long" * 100
VOID = {"meta", "img"}
NO_EMOJI_FONT = pytest.mark.filterwarnings("ignore:Glyph")


class Page(HTMLParser):
    """Collects tags, the text of the table cells and the addresses of a page; notices tags that don't nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.cells, self.paragraphs, self.sources, self.captions, self.open = [], [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        self.captions += [value for name, value in attrs if name == "alt"]
        if tag in ("td", "th"):
            self.cells.append("")
        if tag == "p":
            self.paragraphs.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data
        if self.open and self.open[-1] == "p":
            self.paragraphs[-1] += data


@pytest.fixture
def hostile(report):
    """The report with a hostile text wherever a source, a shop or a setting can put one."""
    systems = report["systems"] | {HOSTILE: report["systems"]["base"]}
    row = report["comparisons"][0] | {"against": HOSTILE}
    hostile = {"source": HOSTILE, "systems": systems, "comparisons": [row], "champion": HOSTILE}
    hostile["promotion"] = {"promoted": False, "reason": HOSTILE}
    further = {"overlap": [{"category": HOSTILE, HOSTILE: 1.0}], HOSTILE: HOSTILE, "versions": {HOSTILE: HOSTILE}}
    return report | hostile | further


def cell_of(lines, system, column):
    """The cell of a terminal table: columns are apart by two spaces, figures within a column by one."""
    header = next(line for line in lines if line.startswith("system"))
    row = next(line for line in lines if re.match(rf"{system}( \*)?  ", line))
    place = re.split(r"\s{2,}", header).index(column)
    return re.split(r"\s{2,}", row)[place]


def test_terminal_table_shows_baselines_and_figures(report):
    lines = table_text(report).splitlines()
    names = [line.split()[0] for line in lines[4:14]]
    assert names == [
        "random",
        "dictionary",
        "bm25",
        "base",
        "rrf_base",
        "hybrid_base",
        "encoder_mnr",
        "encoder_bce",
        "rrf_champion",
        "hybrid_champion",
    ]
    ndcg = report["systems"]["bm25"]["ndcg@10"]
    assert cell_of(lines, "bm25", "ndcg@10") == f"{ndcg['mean']:.4f} [{ndcg['low']:.3f}, {ndcg['high']:.3f}]"
    assert cell_of(lines, "bm25", "judged@10") == f"{report['systems']['bm25']['judged@10']['mean']:.4f}"
    assert re.search(r"embarrassing@10 +judged@10$", lines[2])
    assert "6,764 products in 36 categories" in lines[0]
    assert lines[-1] == "* Champion: encoder_mnr (promoted). encoder_mnr becomes the champion: it is better."


def test_terminal_table_is_aligned_and_no_line_is_very_long(report):
    table = table_text(report).splitlines()[2:14]
    assert len({len(line) for line in table}) == 1
    assert len(table[0]) <= 120


def test_no_control_character_reaches_the_terminal(hostile):
    text = table_text(hostile)
    assert "\x1b" not in text
    assert all(character.isprintable() for line in text.split("\n") for character in line)
    assert len(text.splitlines()) == 17


def test_undefined_figures_are_dashes(report):
    for figures in (report["systems"]["random"], report["systems"]["random"]["segments"]["head"]):
        figures["ndcg@10"] = dict.fromkeys(("mean", "low", "high"))
    assert cell_of(table_text(report).splitlines(), "random", "ndcg@10") == "-"
    assert "nan" not in report_markdown(report).lower()
    assert "None" not in report_html(report, {"plot": figure_png(systems_figure(report))})


def test_markdown_shows_every_section(report):
    text = report_markdown(report)
    titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert titles == [
        *("Champion", "Systems", "Segments", "Comparisons", "All metrics"),
        *("Separability", "Warnings", "Tiers", "Overlap", "Versions"),
    ]
    assert "| encoder_mnr \\* |" in text
    assert "| easy | 12,345 | 60 |" in text
    assert "| bm25 | dense | 0.1345 | 12,345 |" in text
    assert "| :--- | :--- | ---: | ---: |" in text  # names to the left, figures to the right
    assert re.search(r"\| encoder_mnr \| base \| ndcg@10 \| [+-]0\.\d{4} \[[+-]0\.\d{4}, [+-]0\.\d{4}\] \|", text)
    assert re.search(r"\| base \| tail \| 1 \| 0\.\d{4} \[-, -\] \|", text)
    for metric in (*metric_names(), r"ndcg_label@10"):
        assert f"| {metric} |" in text


def test_markdown_tables_survive_hostile_names(hostile):
    text = report_markdown(hostile)
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(counts) == 1
    assert "\x1b" not in text
    assert not re.search(r"(?<!\\)<script", text)
    assert not re.search(r"(?<!\\)\]\(", text)
    assert not re.search(r"^# x", text, re.MULTILINE)


def test_html_is_self_contained_and_shows_the_plots(report):
    plots = {"Systems": figure_png(systems_figure(report)), "Overlap of the channels": b"\x89PNG"}
    text = report_html(report, plots)
    page = Page(text)
    assert page.tags.count("img") == 2
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert "http://" not in text and "https://" not in text
    assert "url(" not in text and "@import" not in text
    assert "color-scheme: light dark" in text  # and no colour of the page's own stands in its way
    assert "background: #f" not in text.split("figure {")[0]
    assert {"encoder_mnr *", "random", "easy", "12,345"} <= set(page.cells)


@NO_EMOJI_FONT
def test_html_escapes_hostile_names(hostile):
    text = report_html(hostile, {HOSTILE: b"png"})
    page = Page(text)
    assert "script" not in page.tags
    assert not set(page.tags) - set(Page(report_html(hostile | {"overlap": []}, {"plot": b""})).tags)
    assert printable(HOSTILE) in page.cells
    assert page.captions[-1] == HOSTILE


PIECES = st.sampled_from(
    [*"ab1 \\`*_<>|#&~[]()!:\"'-+=.\n\t\x1b🦆", "&amp;", "<b>", "</td>", "[a](b)", "- e", "1. f", "```", "---", "http://a.b"]
)


def test_any_text_is_shown_literally(report):
    known = set(Page(report_html(report, {})).tags)

    @settings(deadline=None, max_examples=60)
    @given(st.lists(PIECES, min_size=1, max_size=12).map("".join))
    def check(text: str) -> None:
        shown = printable(text).strip()
        page = Page(report_html(report | {"promotion": {"promoted": True, "reason": text}, "versions": [{"a": text, "b": "end"}]}, {}))
        assert not set(page.tags) - known
        assert not shown or shown in page.paragraphs
        assert page.cells[-4:] == ["a", "b", shown, "end"]

    check()


@NO_EMOJI_FONT
def test_the_plot_is_a_picture_that_follows_the_figures(report, hostile):
    before = figure_png(systems_figure(report))
    for png in (before, figure_png(systems_figure(hostile))):
        image = Image.open(BytesIO(png))
        assert image.format == "PNG"
        assert len(image.convert("RGB").getcolors(100_000)) > 20  # something is drawn
        assert image.width < 3_000
    assert figure_png(systems_figure(report)) == before
    base = report["systems"]["base"]
    for key in ("high", "mean"):
        base["ndcg@10"][key] += 0.2
        after = figure_png(systems_figure(report))
        assert after != before
        before = after
