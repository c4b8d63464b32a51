from collections.abc import Callable
from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from whetstone.retrieval.lexicon import Lexicon, harvest, head_noun, longest_matches, longest_sizes, own_segments, words


def entries(lexicon: Lexicon, product: int) -> set[str]:
    held = set(lexicon.holds.tocsr()[[product]].indices)
    return {phrase for phrase, number in lexicon.phrases.items() if number in held}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Women's Running SHOES", ["women", "run", "shoe"]),
        ("128GB, 3.5mm", ["128", "gb", "3.5", "mm"]),
        ("Café  crème", ["cafe", "creme"]),
        ("usb-c_cable", ["usb", "c", "cabl"]),
        ("🦄 ?!", []),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Volta USB C Charger, 30W, for iPhone", [["volta", "usb", "c", "charger"], ["30", "w"]]),
        ("Cable with Charger Hook - Black", [["cabl"], ["black"]]),
        ("Faucet w/ Handshower", [["faucet"]]),
        ("60 W Bulb", [["60", "w", "bulb"]]),
        ("For iPhone", []),
        ("", []),
    ],
)
def test_only_what_names_the_product_is_read_of_a_title(title: str, expected: list[list[str]]) -> None:
    assert own_segments(title) == expected


@pytest.mark.parametrize(
    ("segment", "head"),
    [("usb c charger", "charger"), ("charger 2 pack", "charger"), ("wine glasses set of 4", "glass"), ("30 w", None), ("", None)],
)
def test_head_noun(segment: str, head: str | None) -> None:
    assert head_noun(words(segment)) == head


def test_longest_matches_takes_the_longest_from_the_left() -> None:
    known = {"hot", "hot dog", "dog bun", "bun", "dog bun box"}
    query = words("a hot dog bun dog bun hot bun")
    assert list(longest_matches(query, longest_sizes(known), known)) == [(1, 3), (3, 4), (4, 6), (6, 7), (7, 8)]


def test_a_product_holds_what_its_own_fields_say(shop: pd.DataFrame) -> None:
    lexicon = harvest(shop)
    charger = entries(lexicon, 0)
    assert {"volta", "charger", "electron", "white"} <= charger
    assert {"case", "holster", "sleev"} <= entries(lexicon, 4)
    assert {"grey", "stone"} <= entries(lexicon, 5)


def test_a_mere_mention_is_not_held(shop: pd.DataFrame) -> None:
    assert "charger" not in entries(harvest(shop), 1)  # "cable with charger hook"


def test_titles_name_values_nodes_and_a_brand_in_front(make_products: Callable[..., pd.DataFrame]) -> None:
    lexicon = harvest(
        make_products(
            {"title": "Acme stainless steel pan", "attributes": {"material": "stainless steel"}, "brand": "Acme"},
            {"title": "Acme pot, stainless steel"},
            {"title": "Holder, Acme style"},
        )
    )
    assert {"acm", "stainless steel"} <= entries(lexicon, 1)
    assert "acm" not in entries(lexicon, 2)


def test_head_nouns_need_two_products(make_products: Callable[..., pd.DataFrame]) -> None:
    lexicon = harvest(make_products({"title": "Red sofa"}, {"title": "Blue sofa"}, {"title": "Oddity"}))
    assert set(lexicon.phrases) == {"sofa"}


def test_collocations_are_words_that_keep_together(make_products: Callable[..., pd.DataFrame]) -> None:
    rng = np.random.default_rng(0)
    filler = [f"thing{a}{b}" for a in "abcdefg" for b in "hijklmn"]
    titles = [" ".join([*rng.permutation(filler)[:3], "noise", "cancelling", "headset"]) for _ in range(30)]
    often = [" ".join(order) for order in permutations(["big", "soft", "warm", "light"])]  # neighbours by chance
    lexicon = harvest(make_products(*({"title": title} for title in [*titles, *often])))
    collocations = {phrase for phrase in lexicon.phrases if " " in phrase}
    assert {"nois cancel", "cancel headset", "nois cancel headset"} <= collocations
    assert not any(word in phrase for phrase in collocations for word in ("big", "soft", "warm", "light"))
    assert "nois cancel headset" in entries(lexicon, 29)


def test_collocations_do_not_cross_segments_or_hold_stop_words(make_products: Callable[..., pd.DataFrame]) -> None:
    lexicon = harvest(make_products(*({"title": "Zig, zag of zug"} for _ in range(5))))
    assert set(lexicon.phrases) == {"zig", "zug"}  # two heads


def test_entries_and_weights_do_not_depend_on_the_order_of_products(shop: pd.DataFrame) -> None:
    backwards = harvest(shop[::-1].reset_index(drop=True))
    forwards = harvest(shop)
    assert backwards.phrases == forwards.phrases
    assert backwards.document_frequency == forwards.document_frequency
    assert [entries(backwards, 5 - product) for product in range(6)] == [entries(forwards, product) for product in range(6)]


def test_idf_is_lucenes_over_the_products_that_hold_the_word(shop: pd.DataFrame) -> None:
    lexicon = harvest(shop)
    assert lexicon.idf("electron") == pytest.approx(np.log(1 + (6 - 5 + 0.5) / (5 + 0.5)))
    assert lexicon.idf("unheard-of") == pytest.approx(np.log(1 + 6.5 / 0.5))


def test_missing_and_hostile_values(make_products: Callable[..., pd.DataFrame], hostile: list[str]) -> None:
    rows = [{"title": text, "brand": text, "category_path": [text], "attributes": {text: text}} for text in hostile]
    nothing = {"title": None, "brand": float("nan"), "category_path": None, "attributes": None, "text": ""}
    lexicon = harvest(make_products(*rows, nothing))
    assert "naiv cafe" in lexicon.phrases
    assert entries(lexicon, len(hostile)) == set()


def test_no_products_have_an_empty_lexicon(make_products: Callable[..., pd.DataFrame]) -> None:
    lexicon = harvest(make_products({})[:0])
    assert lexicon.holds.shape == (0, 0)
    assert lexicon.document_frequency == {}
