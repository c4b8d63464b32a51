"""The agreement report's picture holds its numbers and stays small enough for the event log."""

from __future__ import annotations

import json

import numpy as np
import pytest
from matplotlib import pyplot

from whetstone.grading.agreement import agreement_report, reliability
from whetstone.grading.guideline import Guideline
from whetstone.grading.summary import agreement_figure
from whetstone.platform.plots import figure_png

EVENT_LOG_BYTES = 50_000
BINS = [{"pairs": 4, "confidence": 0.9, "share_right": 0.75}]


def test_the_matrix_has_humans_in_rows_and_the_curves_their_pairs(esci: Guideline) -> None:
    truth, given = np.array([4, 4, 4, 0]), np.array([4, 4, 2, 0])
    report = agreement_report(truth, given, {}, np.array([0, 0, 1, 1]), esci, seed=0)
    before, after = reliability(np.array([0.9, 0.9, 0.3, 0.3]), truth == given), reliability(np.full(4, 0.75), truth == given)
    report |= {"reliability_before": before, "reliability_after": after}
    matrix, curves = agreement_figure(json.loads(json.dumps(report, sort_keys=True))).axes  # as an artifact's manifest keeps it
    assert [label.get_text() for label in matrix.get_yticklabels()] == [level.name for level in esci.levels]
    assert (matrix.get_ylabel(), matrix.get_xlabel()) == ("human", "machine")
    cells = {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in matrix.texts}
    assert len(cells) == 16 and (cells[0, 0], cells[0, 1], cells[1, 0], cells[3, 3]) == ("2", "1", "0", "1")
    assert matrix.get_title() == "4 pairs of 2 queries"
    assert matrix.images[0].get_array()[0].tolist() == pytest.approx([2 / 3, 1 / 3, 0, 0])  # type: ignore[index]
    diagonal, first, second = curves.lines
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert first.get_xydata().tolist() == [[row["confidence"], row["share_right"]] for row in before]
    assert second.get_xydata().tolist() == [[0.75, 0.75]]
    assert [text.get_text() for text in curves.get_legend().get_texts()] == ["before", "after"]
    assert curves.collections[0].get_sizes().tolist() == [200, 200]
    assert not pyplot.get_fignums()  # nothing global is left open


@pytest.mark.parametrize("name", ["under $5 or $6", "x" * 300, "sehr gut 🦷", "$\\frac{$"])
def test_it_takes_any_level_name_and_stays_small(name: str) -> None:
    report = {"confusion": np.full((5, 5), 1_234_567).tolist(), "levels": [name, "b", "c", "d", "e"], "pairs": 30_864_175, "queries": 9}
    png = figure_png(agreement_figure({**report, "reliability_before": BINS, "reliability_after": BINS}))
    assert png.startswith(b"\x89PNG")
    assert len(png) < EVENT_LOG_BYTES
