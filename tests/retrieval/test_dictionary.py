from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from whetstone.retrieval import bm25, dictionary
from whetstone.retrieval.channels import ChannelInputs
from whetstone.retrieval.lexicon import Lexicon, harvest
from whetstone.retrieval.synonyms import Synonyms


def lexicon_of(**held: list[int]) -> Lexicon:
    """Ten products; entry (underscores for spaces) -> the products that hold it."""
    matrix = np.zeros((10, len(held)), dtype=bool)
    for column, products in enumerate(held.values()):
        matrix[products, column] = True
    return Lexicon({name.replace("_", " "): n for n, name in enumerate(held)}, sparse.csc_array(matrix))


def coverage(queries: list[str], lexicon: Lexicon, synonyms: Synonyms) -> np.ndarray:
    """Every query's share covered by every product, (n_queries, n_products)."""
    shares = np.zeros((len(queries), lexicon.holds.shape[0]))
    for row, (products, covered) in zip(shares, dictionary.coverage(queries, lexicon, synonyms), strict=True):
        row[products] = covered
    return shares


def test_the_score_is_the_idf_weighted_share_of_the_query() -> None:
    lexicon = lexicon_of(red=[0, 1, 2], sofa=[0, 3])
    red, sofa, unknown = (np.log(1 + (10 - df + 0.5) / (df + 0.5)) for df in (3, 2, 0))
    scores = coverage(["red sofa", "red zebra", "the sofa"], lexicon, {})
    assert scores[0, 0] == 1.0
    assert scores[0, 1] == pytest.approx(red / (red + sofa), abs=1e-6)
    assert scores[1, 0] == pytest.approx(red / (red + unknown), abs=1e-6)
    assert scores[2, 3] == 1.0  # a stop word weighs nothing
    assert scores[0, 4] == 0.0


def test_a_part_of_the_longest_match_counts_half() -> None:
    lexicon = lexicon_of(hot_dog=[0], dog=[1], hot=[2])
    scores = coverage(["hot dog", "dog"], lexicon, {})
    assert scores[0, 0] == 1.0
    assert 0 < scores[0, 1] < 0.5
    assert scores[1, 1] == 1.0
    assert scores[1, 0] == 0.0


def test_synonyms_give_their_credit_and_replaced_phrases_do_not_stand_for_themselves() -> None:
    lexicon = lexicon_of(sofa=[0], couch=[1])
    declared = coverage(["couch"], lexicon, {"couch": {"sofa": 1.0}})[0]
    learned = coverage(["couch"], lexicon, {"couch": {"couch": 1.0, "sofa": 0.6}})[0]
    assert (declared[0], declared[1]) == (1.0, 0.0)
    assert (learned[0], learned[1]) == (0.6, 1.0)


def test_a_synonym_of_several_words_is_matched_as_one() -> None:
    scores = coverage(["big sneaker box"], lexicon_of(running_shoe=[0]), {"sneaker box": {"running shoe": 1.0}})[0]
    assert 0.5 < scores[0] < 1.0


names = st.sampled_from(["red", "sofa", "red sofa", "sofa bed", "bed", "usb", "usb c"])


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(names, st.lists(st.integers(0, 9), min_size=1, max_size=5), min_size=1, max_size=6),
    st.lists(st.sampled_from(["red", "sofa", "bed", "usb", "c", "the", "zebra"]), max_size=6),
)
def test_shares_lie_between_0_and_1_and_more_entries_never_cover_less(held: dict[str, list[int]], query: list[str]) -> None:
    lexicon = lexicon_of(**{name.replace(" ", "_"): products for name, products in held.items()})
    scores = coverage([" ".join(query)], lexicon, {})[0]
    assert ((scores >= 0) & (scores <= 1)).all()
    holds = lexicon.holds.toarray()
    for better in range(10):
        for worse in range(10):
            if (holds[better] >= holds[worse]).all():
                assert scores[better] >= scores[worse]


def test_it_finds_what_bm25_does_not_and_ranks_what_the_product_is(shop: pd.DataFrame, make_inputs: Callable[..., ChannelInputs]) -> None:
    inputs = make_inputs(shop, ["charger", "couch"], synonyms=("couch => sofa",))
    looked_up, matched = dictionary.search(inputs, 10), bm25.search(inputs, 10)
    assert set(looked_up.loc[looked_up["query_id"] == "q0", "product_id"]) == {"p0", "p2"}
    assert set(matched.loc[matched["query_id"] == "q0", "product_id"]) == {"p0", "p1", "p2"}  # "cable with charger hook" too
    assert list(looked_up.loc[looked_up["query_id"] == "q1", "product_id"]) == ["p5"]
    assert "q1" not in set(matched["query_id"])


def test_a_run_does_not_depend_on_the_order_of_the_catalog(shop: pd.DataFrame, make_inputs: Callable[..., ChannelInputs]) -> None:
    queries = ["usb c charger", "white hub", "sofa for iphone", "kern"]
    run = dictionary.search(make_inputs(shop, queries), 3)
    shuffled = shop.sample(frac=1, random_state=1).reset_index(drop=True)
    pd.testing.assert_frame_equal(run, dictionary.search(make_inputs(shuffled, queries), 3))


def test_hostile_queries_and_catalogs(shop: pd.DataFrame, make_inputs: Callable[..., ChannelInputs], hostile: list[str]) -> None:
    assert dictionary.search(make_inputs(shop, ["", "?!", "🦄", "the"]), 5).empty
    assert len(dictionary.search(make_inputs(shop, ["charger " * 20_000]), 5)) == 2
    assert dictionary.search(make_inputs(shop[:0], ["charger"]), 5).empty
    assert dictionary.search(make_inputs(shop, []), 5).empty
    strange = shop.assign(title=hostile[: len(shop)], brand=hostile[-len(shop) :])
    dictionary.search(make_inputs(strange, hostile), 5)


def test_the_lexicon_of_the_shop_covers_a_query_in_full(shop: pd.DataFrame) -> None:
    scores = coverage(["white volta charger"], harvest(shop), {})[0]
    assert scores[0] == 1.0
    assert scores.argsort()[-2:].tolist() == [3, 0]
