"""The agreement report's figures hold its numbers and stay small enough for the event log."""

from __future__ import annotations

import json

import numpy as np
import pytest
from matplotlib import pyplot

from whetstone.grading.agreement import agreement_report, reliability
from whetstone.grading.agreement_plots import confusion_figure, reliability_figure
from whetstone.grading.guideline import Guideline
from whetstone.platform.plots import figure_png

EVENT_LOG_BYTES = 50_000


def test_confusion_figure_has_humans_in_rows(esci: Guideline) -> None:
    truth, given = np.array([4, 4, 4, 0]), np.array([4, 4, 2, 0])
    figure = confusion_figure(agreement_report(truth, given, {}, list("aabb"), esci, seed=0))
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [level.name for level in esci.levels]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("human", "machine")
    cells = {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in axes.texts}
    assert len(cells) == 16
    assert cells[0, 0] == "2\n67%"
    assert cells[0, 1] == "1\n33%"
    assert cells[1, 0] == "0\n0%"  # nothing of this level: no share of nothing
    assert cells[3, 3] == "1\n100%"
    assert axes.get_title() == "4 pairs of 2 queries"
    assert axes.images[0].get_array()[0].tolist() == pytest.approx([2 / 3, 1 / 3, 0, 0])  # type: ignore[index]
    assert not pyplot.get_fignums()  # nothing global is left open


@pytest.mark.parametrize("name", ["under $5 or $6", "x" * 300, "sehr gut 🦷", "$\\frac{$"])
def test_confusion_figure_takes_any_level_name_and_stays_small(name: str) -> None:
    levels = [name, "b", "c", "d", "e"]
    report = {"confusion": np.full((5, 5), 1_234_567).tolist(), "levels": levels, "pairs": 30_864_175, "queries": 9}
    png = figure_png(confusion_figure(report))
    assert png.startswith(b"\x89PNG")
    assert len(png) < EVENT_LOG_BYTES


def test_reliability_figure_shows_both_curves_and_how_many_pairs() -> None:
    rng = np.random.default_rng(0)
    told, is_right = rng.uniform(0.5, 1.0, 400), rng.uniform(size=400) < 0.6
    before, after = reliability(told, is_right), reliability(np.full(400, 0.6), is_right)
    report = {"pairs": 400, "reliability_before": before, "reliability_after": after}
    figure = reliability_figure(json.loads(json.dumps(report, sort_keys=True)))  # as an artifact's manifest keeps it
    (curves,) = figure.axes
    diagonal, first, second = curves.lines
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert first.get_xydata().tolist() == [[row["confidence"], row["share_right"]] for row in before]
    assert second.get_xydata().tolist() == pytest.approx(np.array([[0.6, is_right.mean()]]))
    assert [text.get_text() for text in curves.get_legend().get_texts()] == ["before", "after"]
    assert curves.collections[0].get_sizes().tolist() == [row["pairs"] for row in before]
    png = figure_png(figure)
    assert png.startswith(b"\x89PNG")
    assert len(png) < EVENT_LOG_BYTES
