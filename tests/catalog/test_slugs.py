from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from whetstone.catalog.slugs import MAX_LENGTH, UNCATEGORISED, assign_slugs, slugify

NAMES = st.lists(
    st.one_of(st.text(max_size=90), st.sampled_from(["Tea", "tea", "TEA!", "tea-1", "../../etc", "🍵", "uncategorised", " "])), max_size=12
)


def test_names_are_folded_to_ascii() -> None:
    assert slugify("Clothing, Shoes & Jewelry") == "clothing-shoes-jewelry"
    assert slugify("Crème Brûlée > Straße") == "creme-brulee-strasse"
    assert slugify("../../etc") == "etc"
    assert slugify("a'; drop table x; --") == "a-drop-table-x"


def test_names_without_letters_get_a_slug_of_their_hash() -> None:
    assert re.fullmatch(r"c-[0-9a-f]{12}", slugify("🍵"))
    assert slugify("🍵") != slugify("☕")
    assert re.fullmatch(r"c-[0-9a-f]{12}", slugify(""))


def test_colliding_names_all_get_a_suffix_and_others_none() -> None:
    slugs = assign_slugs(["Home & Kitchen", "home, kitchen", "Toys"])
    assert slugs["Toys"] == "toys"
    assert {slugs["Home & Kitchen"][:13], slugs["home, kitchen"][:13]} == {"home-kitchen-"}
    assert re.fullmatch(r"home-kitchen-[0-9a-f]{6}", slugs["Home & Kitchen"])
    assert slugs["Home & Kitchen"] != slugs["home, kitchen"]


def test_a_suffixed_slug_that_meets_a_plain_one_is_told_apart() -> None:
    suffixed = assign_slugs(["Tea", "tea"])["Tea"]
    slugs = assign_slugs(["Tea", "tea", suffixed])
    assert len(set(slugs.values())) == 3


def test_long_names_that_differ_at_the_end_stay_apart() -> None:
    slugs = assign_slugs(["x" * 200 + "a", "x" * 200 + "b"])
    assert len(set(slugs.values())) == 2
    assert all(len(slug) <= MAX_LENGTH for slug in slugs.values())


def test_uncategorised_is_reserved() -> None:
    slugs = assign_slugs([None, "", "  ", "Uncategorised"])
    assert slugs[UNCATEGORISED] == UNCATEGORISED
    assert re.fullmatch(r"uncategorised-[0-9a-f]{6}", slugs["Uncategorised"])
    assert assign_slugs(["UNCATEGORISED!"])["UNCATEGORISED!"] != UNCATEGORISED


@given(NAMES)
def test_slugs_are_safe_unique_and_independent_of_order(names: list[str]) -> None:
    slugs = assign_slugs(names)
    assert slugs == assign_slugs(names[::-1] + names)
    assert len(set(slugs.values())) == len(slugs)
    assert all(re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,58}[a-z0-9])?", slug) for slug in slugs.values())
    assert set(slugs) == {name if name.strip() else UNCATEGORISED for name in names}
