"""Typos: what they may touch, that they depend on nothing but the query, and what they add to a frame."""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whetstone.curriculum.spelling import NEIGHBOURS, keeps_variant, misspell, with_spelling

WORDS = [
    "water",
    "bottle",
    "Phone",
    "ceiling",
    "fan",
    "12oz",
    "B07XYZ",
    "NIKE",
    "inches",
    "oz",
    "ml",
    "été",
    "café",
    "靴下",
    "👟",
    "men's",
    "t-shirt",
]
TEXTS = st.one_of(st.text(max_size=30), st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join))


def table(texts: list[str]) -> pd.DataFrame:
    """Two rows per query, the second rows after all first ones, as builders don't promise any order."""
    rows = [(f"q{number}", f"p{place}", text, number) for place in range(2) for number, text in enumerate(texts)]
    return pd.DataFrame(rows, columns=["query_id", "product_id", "query", "label"])


def test_neighbours_on_the_keyboard() -> None:
    assert {key: "".join(sorted(NEIGHBOURS[key])) for key in "qagmp"} == {"q": "aw", "a": "qswz", "g": "bfhtvy", "m": "jkn", "p": "lo"}
    assert all(one in NEIGHBOURS[other] for one in NEIGHBOURS for other in NEIGHBOURS[one])


@given(TEXTS, st.integers(0, 2**32), st.text(max_size=8))
@settings(max_examples=300, deadline=None)
def test_one_word_is_changed_and_nothing_that_must_stay(text: str, seed: int, key: str) -> None:
    variant = misspell(text, seed, key)
    assert variant == misspell(text, seed, key)
    before = re.split(r"(\s+)", text)
    may_change = [piece.isascii() and not re.search(r"\d", piece) and bool(re.search(r"[A-Za-z]{4}", piece)) for piece in before]
    if variant is None:
        pieces = [word for piece, may in zip(before, may_change, strict=True) if may for word in re.findall("[A-Za-z]{4,}", piece)]
        assert all(word.isupper() or word.lower() in {"inch", "inches", "foot", "feet", "volts"} for word in pieces)
        return
    after = re.split(r"(\s+)", variant)
    changed = [place for place, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    assert len(changed) == 1 and may_change[changed[0]]
    old, new = before[changed[0]], after[changed[0]]
    assert abs(len(old) - len(new)) <= 1 and not re.search(r"\d", new) and new.isascii()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12oz 500ml",
        "30 inches",
        "5 Feet",
        "GTX-1080ti B07XYZ12",
        "NIKE USB",
        "ultra-9 ultra1080ti",
        "red fan mat",
        "café 靴下 👟shoes",
        "5 volts",
        "\0",
    ],
)
def test_nothing_to_change(text: str) -> None:
    assert misspell(text, 1, "q") is None


def test_each_kind_of_typo_comes_up_and_keeps_capitals_and_first_letter() -> None:
    variants = Counter(misspell("Phone", seed, "q") for seed in range(2000))
    assert variants.keys() >= {"Phine", "Pone", "Pohne", "Phoone", "Fone"}
    first = {variant[0] for variant in variants if variant}
    assert first == {"P", "F"}
    # a phonetic confusion has 15 % of the draws and one place only here; a neighbour 35 %, shared by all places
    assert 240 <= variants["Fone"] <= 360
    shorter = sum(count for variant, count in variants.items() if variant and len(variant) == 4) - variants["Fone"]
    assert 320 <= shorter <= 480
    assert len({misspell("water bottle", 0, key) for key in "abcdefgh"}) > 4  # each query has a typo of its own


@given(st.lists(TEXTS, min_size=1, max_size=8), st.integers(0, 99), st.sampled_from(["additive", "in_place"]))
@settings(max_examples=100, deadline=None)
def test_a_querys_rows_dont_depend_on_other_queries(texts: list[str], seed: int, mode: Literal["additive", "in_place"]) -> None:
    whole, _ = with_spelling(table(texts), mode, seed, 0.5)
    for query in whole["query_id"].unique():
        frame = table(texts)
        alone, _ = with_spelling(frame[frame["query_id"] == query], mode, seed, 0.5)
        pd.testing.assert_frame_equal(alone.reset_index(drop=True), whole[whole["query_id"] == query].reset_index(drop=True))


@given(st.lists(TEXTS, max_size=8), st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_additive_keeps_every_row_and_appends_copies(texts: list[str], seed: int) -> None:
    frame = table(texts)
    both, counts = with_spelling(frame, "additive", seed, 0.5)
    pd.testing.assert_frame_equal(both.iloc[: len(frame)], frame)
    added = both.iloc[len(frame) :]
    kept = [f"q{number}" for number in range(len(texts)) if keeps_variant(f"q{number}", seed, 0.5)]
    expected = [
        row for row in frame.itertuples(index=False) if row.query_id in kept and misspell(row.query, seed, row.query_id) is not None
    ]
    assert list(added["product_id"]) == [row.product_id for row in expected]
    assert list(added["label"]) == [row.label for row in expected]
    assert list(added["query"]) == [misspell(row.query, seed, row.query_id) for row in expected]
    assert counts["row_misspelt"] == len(added) == 2 * counts["query_misspelt"]
    assert counts["query_misspelt"] + counts["query_without_word_to_misspell"] == len(kept)


def test_in_place_replaces_and_none_does_nothing() -> None:
    frame = table(["water bottle", "12oz", "ceiling lamp", "running shoes"])
    same, nothing = with_spelling(frame, "none", 0, 1.0)
    pd.testing.assert_frame_equal(same, frame)
    assert nothing == {}
    replaced, counts = with_spelling(frame, "in_place", 0, 1.0)
    assert counts == {"query_misspelt": 3, "query_without_word_to_misspell": 1, "row_misspelt": 6}
    pd.testing.assert_frame_equal(replaced.drop(columns="query"), frame.drop(columns="query"))
    assert list(replaced["query"] == frame["query"]) == [False, True, False, False] * 2
    assert list(frame["query"].iloc[:2]) == ["water bottle", "12oz"]  # the input stays as it was
    assert len(with_spelling(frame, "additive", 0, 0.0)[0]) == len(frame)


@pytest.mark.parametrize("share", [0.3, 0.4, 0.5])
def test_the_share_is_kept_and_a_greater_one_only_adds(share: float) -> None:
    keys = [f"q{number}" for number in range(4000)]
    kept = {key for key in keys if keeps_variant(key, 7, share)}
    assert abs(len(kept) / len(keys) - share) < 0.03  # four standard errors
    assert kept <= {key for key in keys if keeps_variant(key, 7, share + 0.1)}
    assert kept != {key for key in keys if keeps_variant(key, 8, share)}
