"""Margins worked by hand, what shifts and scales do to them, overlap of words, and the picture."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from whetstone.evaluation.charts import separability_figure
from whetstone.evaluation.separability import margins, separability, token_overlap
from whetstone.platform.plots import figure_png

PAIRS = pd.DataFrame(
    [
        ("base", "q1", 2, 0.9, 1.0),
        ("base", "q1", 2, 0.5, 0.7),
        ("base", "q1", 1, 0.99, 1.0),
        ("base", "q1", 0, 0.6, 0.7),
        ("base", "q1", 0, 0.2, 0.1),
        ("base", "q2", 2, 0.8, 0.0),
        ("base", "q2", 0, 0.1, 1.0),
        ("base", "q3", 2, 0.3, 1.0),  # no irrelevant product: no margin
        ("base", "q4", 0, 0.3, 1.0),
        ("$new_", "q1", 2, 0.5, 1.0),
        ("$new_", "q1", 0, 0.4, 0.0),
    ],
    columns=["system", "query_id", "label", "cosine", "overlap"],
)


def test_margins_worked_by_hand() -> None:
    rows = separability(PAIRS, seed=1)
    assert [(row["encoder"], row["pairs"], row["queries"]) for row in rows] == [
        ("base", "all", 2),
        ("base", "token overlap >= 70%", 1),
        ("$new_", "all", 1),
        ("$new_", "token overlap >= 70%", 0),
    ]
    base, similar, new, nothing = rows
    assert base["average_margin"] == pytest.approx((0.3 + 0.7) / 2) and base["worst_margin"] == pytest.approx((-0.1 + 0.7) / 2)
    assert base["average_low"] == pytest.approx(0.3) and base["worst_high"] == pytest.approx(0.7)
    assert (similar["average_margin"], similar["worst_margin"]) == pytest.approx((0.1, -0.1)) and np.isnan(similar["worst_low"])
    assert new["average_margin"] == pytest.approx(0.1) and np.isnan(nothing["average_margin"])
    assert separability(PAIRS[:0]) == []


judged = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.floats(-1, 1)), min_size=1, max_size=30)


@settings(deadline=None, max_examples=40)
@given(judged, st.floats(-1, 1), st.integers(0, 1000))
def test_a_shift_of_all_cosines_changes_no_margin_and_the_worst_is_no_better(rows, shift, seed) -> None:
    pairs = pd.DataFrame(rows, columns=["query_id", "label", "cosine"])
    before = margins(pairs, 0)
    shuffled = pairs.assign(cosine=pairs["cosine"] + shift).sample(frac=1, random_state=seed)
    for kind, other in margins(shuffled, 0).items():
        assert list(vars(before[kind]).values()) == pytest.approx(list(vars(other).values()), abs=1e-9, nan_ok=True)
    assert not before["worst"].mean > before["average"].mean + 1e-9
    doubled = margins(pairs.assign(cosine=2 * pairs["cosine"]), 0)
    assert doubled["average"].mean == pytest.approx(2 * before["average"].mean, abs=1e-9, nan_ok=True)


def test_overlap_is_the_share_of_the_querys_distinct_words() -> None:
    queries = ["USB-C cable cable", "red lamp", "naïve 5", "?!", "", "red"]
    products = ["a usb Cable, 2 m", "redlamp", "NAÏVE\n5\x00", "x", "", ""]
    assert token_overlap(queries, products).tolist() == pytest.approx([2 / 3, 0, 1, 0, 0, 0])
    assert token_overlap([], []).shape == (0,)


def test_the_picture_shows_every_label_that_is_there() -> None:
    picture = Image.open(BytesIO(figure_png(separability_figure(PAIRS, ["base", "$new_"]))))
    assert picture.format == "PNG" and len(picture.convert("RGB").getcolors(100_000)) > 20
    one = Image.open(BytesIO(figure_png(separability_figure(PAIRS, ["base"]))))
    assert one.width < picture.width
