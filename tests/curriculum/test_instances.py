"""Training rows: what they hold, what they never hold, that every loss of a pair is counted, and that edits stay local."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whetstone.curriculum import instances
from whetstone.curriculum.instances import text_columns
from whetstone.curriculum.material import Material
from whetstone.platform.errors import WhetstoneError

# the paper's choice of tiers, where a test doesn't say otherwise
bce_instances = partial(
    instances.bce_instances, positives=("easy_positive",), positive_grade=4, negatives=("random",), negatives_per_positive=4
)
mnr_instances = partial(
    instances.mnr_instances,
    positives=("hard_positive",),
    positive_grade=3,
    negatives=("hard_negative", "random"),
    negatives_per_positive=1,
)
triplet_instances = partial(
    instances.triplet_instances,
    positives=("hard_positive", "easy_positive"),
    positive_grade=3,
    negatives=("token_similar_negative",),
    negatives_per_positive=1,
)

TIERS = ["easy_positive", "hard_positive", "hard_negative", "token_similar_negative"]
HOSTILE = ["plain", 'it\'s "quoted"', "comma, semi;", "new\nline", "emoji \U0001f600", "../../path", "x" * 300, "\0zero"]


def pairs(*rows: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["query_id", "product_id"])


def material(
    tiers: list[tuple[str, str, str, int]],
    count_products: int = 30,
    *,
    found: pd.DataFrame | None = None,
    relevant: pd.DataFrame | None = None,
    texts: dict[str, str] | None = None,
) -> Material:
    """Rows of (query, product, tier, grade); queries q0-q5; products p0..; everything has a text of its own."""
    products = pd.DataFrame({"product_id": [f"p{number}" for number in range(count_products)]})
    products["text"] = [(texts or {}).get(product, f"text of {product}") for product in products["product_id"]]
    return Material(
        tiers=pd.DataFrame(tiers, columns=["query_id", "product_id", "tier", "grade"]).assign(split="train", category="c"),
        queries=pd.DataFrame({"query_id": [f"q{number}" for number in range(6)], "text": [f"query {number}" for number in range(6)]}),
        products=products,
        relevant=pairs() if relevant is None else relevant,
        found=pairs() if found is None else found,
    )


ROWS = st.lists(
    st.tuples(st.sampled_from([f"q{n}" for n in range(6)]), st.sampled_from([f"p{n}" for n in range(30)]), st.sampled_from(TIERS)),
    max_size=60,
    unique_by=lambda row: row[:2],
).map(lambda rows: [(query, product, tier, 4 if tier.endswith("_positive") else 0) for query, product, tier in rows])
BUILD: dict[str, Any] = {"bce": bce_instances, "mnr": mnr_instances, "triplet": triplet_instances}


def test_bce_pairs_each_positive_once_with_random_products() -> None:
    frame, counts = bce_instances(
        material([("q0", "p0", "easy_positive", 4), ("q0", "p1", "easy_positive", 4)]), seed=1, negatives_per_positive=3
    )
    assert frame.columns.tolist() == ["query_id", "product_id", "tier", "query", "product", "label"]
    assert frame.loc[frame["label"] == 1, "product_id"].tolist() == ["p0", "p1"]
    negatives = frame[frame["label"] == 0]
    assert len(negatives) == 6 and set(negatives["tier"]) == {"random"} and not counts
    assert (frame["query"] == "query 0").all()
    assert frame["product"].tolist() == [f"text of {product}" for product in frame["product_id"]]


def test_bce_takes_grade_4_alone_unless_told_otherwise() -> None:
    shop = material([("q0", "p0", "easy_positive", 4), ("q0", "p1", "easy_positive", 3), ("q0", "p2", "hard_positive", 4)])
    frame, counts = bce_instances(shop, seed=1)
    assert frame.loc[frame["label"] == 1, "product_id"].tolist() == ["p0"]
    assert counts == {"positive_below_grade": 1}
    assert set(bce_instances(shop, seed=1, positive_grade=3).frame.query("label == 1")["product_id"]) == {"p0", "p1"}


@settings(deadline=None, max_examples=30)
@given(ROWS, st.lists(st.tuples(st.integers(0, 5), st.integers(0, 29)), max_size=60), st.integers(0, 3), st.integers(1, 4))
def test_random_negatives_were_found_by_nobody_and_are_relevant_to_nobody(
    rows: list[tuple[str, str, str, int]], seen: list[tuple[int, int]], seed: int, count: int
) -> None:
    found = pairs(*[(f"q{query}", f"p{product}") for query, product in seen])
    relevant = pairs(*[(f"q{query}", f"p{29 - product}") for query, product in seen])
    shop = material(rows, found=found, relevant=relevant)
    frame = bce_instances(shop, seed=seed, negatives_per_positive=count).frame
    assert not frame.duplicated(["query_id", "product_id"]).any()
    drawn = set(frame.loc[frame["label"] == 0, ["query_id", "product_id"]].itertuples(index=False, name=None))
    positives = {(query, product) for query, product, tier, _ in rows if tier.endswith("_positive")}
    never = positives | set(found.itertuples(index=False, name=None)) | set(relevant.itertuples(index=False, name=None))
    assert not drawn & never
    # and each query has as many as asked for, or all that there are
    for query, group in frame.groupby("query_id"):
        eligible = {f"p{n}" for n in range(30)} - {product for other, product in never if other == query}
        wanted = count * int((group["label"] == 1).sum())
        assert int((group["label"] == 0).sum()) == min(wanted, len(eligible))


def test_mnr_gives_each_positive_the_next_hard_negatives_of_its_query_in_turn() -> None:
    shop = material(
        [("q0", f"p{n}", "hard_positive", 4) for n in range(3)]
        + [("q0", f"p{n}", "hard_negative", 0) for n in (10, 11)]
        + [("q1", "p20", "hard_negative", 1)]
    )
    frame, counts = mnr_instances(shop, seed=1, negatives_per_positive=3)
    assert text_columns(frame) == ["query", "product", "negative_1", "negative_2", "negative_3"]
    flat = frame[["negative_id_1", "negative_id_2", "negative_id_3"]].to_numpy().ravel().tolist()
    assert set(flat) == {"p10", "p11"} and flat[::2] == [flat[0]] * 5 and flat[1::2] == [flat[1]] * 4
    assert frame["negative_2"].tolist() == [f"text of {product}" for product in frame["negative_id_2"]]
    assert not counts


def test_the_tiers_of_negatives_take_turns_until_one_is_used_up() -> None:
    tiers = [("q0", f"p{n}", "hard_positive", 4) for n in range(4)] + [("q0", f"p{n}", "hard_negative", 0) for n in range(10, 16)]
    tiers += [("q0", f"p{n}", "token_similar_negative", 0) for n in (20, 21)]
    negatives = ("hard_negative", "token_similar_negative")
    drawn = mnr_instances(material(tiers), seed=1, negatives=negatives, negatives_per_positive=2).frame.filter(like="negative_id")
    assert [(row >= "p20").sum() for row in drawn.to_numpy()] == [1, 1, 0, 0]
    assert drawn.stack().nunique() == 8  # nothing is drawn twice before all were drawn


def test_mnr_fills_a_query_without_hard_negatives_with_random_products_and_says_so() -> None:
    shop = material(
        [("q0", "p0", "hard_positive", 4), ("q1", "p1", "hard_positive", 4), ("q1", "p2", "hard_negative", 0)], found=pairs(("q0", "p3"))
    )
    frame, counts = mnr_instances(shop, seed=1, negatives_per_positive=2)
    assert frame["query_id"].tolist() == ["q0", "q1"]
    assert frame.loc[0, "negative_id_1"] != frame.loc[0, "negative_id_2"]
    assert not {frame.loc[0, "negative_id_1"], frame.loc[0, "negative_id_2"]} & {"p0", "p3"}
    assert counts == {"filled_with_random": 1}
    strict, lost = mnr_instances(shop, seed=1, negatives=("hard_negative",))
    assert strict["query_id"].tolist() == ["q1"] and lost == {"without_enough_negatives": 1}


def test_near_misses_are_the_pairs_of_label_1_below_the_positives() -> None:
    graded = pd.DataFrame(
        [("q0", "p0", 4, 2), ("q0", "p1", 2, 1), ("q0", "p2", 1, 1), ("q0", "p3", 0, 0), ("q1", "p1", 0, 0)],
        columns=["query_id", "product_id", "grade", "label"],
    )
    shop = replace(material([("q0", "p0", "hard_positive", 4), ("q1", "p4", "hard_positive", 4)]), graded=graded)
    frame, counts = mnr_instances(shop, seed=1, negatives=("near_miss",), negatives_per_positive=2)
    assert set(frame.loc[0, ["negative_id_1", "negative_id_2"]]) == {"p1", "p2"}
    assert len(frame) == 1 and counts == {"without_enough_negatives": 1}  # q1 has none
    low = mnr_instances(shop, seed=1, positive_grade=2, negatives=("near_miss",), negatives_per_positive=1).frame
    assert low["negative_id_1"].tolist() == ["p2"]  # where grade 2 is good enough to be found, it is no miss


def test_mnr_without_negatives_is_pairs() -> None:
    frame, counts = mnr_instances(material([("q0", "p0", "hard_positive", 3)]), seed=1, negatives=(), negatives_per_positive=0)
    assert text_columns(frame) == ["query", "product"] and len(frame) == 1 and not counts


def test_mnr_rows_carry_every_known_relevant_product_for_the_sampler() -> None:
    shop = material([("q0", "p0", "hard_positive", 4), ("q0", "p1", "easy_positive", 4)], relevant=pairs(("q0", "p2"), ("q1", "p3")))
    assert mnr_instances(shop, seed=1).frame["relevant_ids"].tolist() == [["p0", "p1", "p2"]]


def test_triplets_set_each_positive_against_each_of_its_token_similar_negatives() -> None:
    shop = material(
        [("q0", "p0", "easy_positive", 3), ("q0", "p1", "hard_positive", 4), ("q1", "p2", "hard_positive", 4)]
        + [("q0", f"p{n}", "token_similar_negative", 0) for n in (10, 11, 12)]
    )
    frame, counts = triplet_instances(shop, seed=1, negatives_per_positive=2)
    assert frame["product_id"].tolist() == ["p0", "p0", "p1", "p1"]
    assert set(frame["negative_id_1"]) == {"p10", "p11", "p12"}
    assert not frame.duplicated(["product_id", "negative_id_1"]).any()
    assert counts == {"without_enough_negatives": 1}


def test_a_negative_with_the_text_of_a_relevant_product_is_left_out() -> None:
    twins = {"p10": "text of p0", "p11": "text of p5"}
    rows = [("q0", "p0", "hard_positive", 4), *[("q0", f"p{n}", "hard_negative", 0) for n in (10, 11, 12)]]
    frame, counts = mnr_instances(material(rows, texts=twins, relevant=pairs(("q0", "p5"))), seed=1, negatives_per_positive=2)
    assert set(frame[["negative_id_1", "negative_id_2"]].to_numpy().ravel()) == {"p12"}
    assert counts == {"negative_is_relevant_by_id_or_text": 2}
    everything = {f"p{n}": "text of p0" for n in range(1, 30)}
    shop = material([("q0", "p0", "easy_positive", 4)], texts=everything)
    assert bce_instances(shop, seed=1).counts == {"without_enough_negatives": 1}  # random ones neither


@pytest.mark.parametrize("loss", BUILD)
def test_order_of_the_input_does_not_matter_and_the_seed_does(loss: str) -> None:
    rows = [(f"q{n % 3}", f"p{n}", TIERS[n % 4], 4 if n % 4 < 2 else 0) for n in range(24)]
    build, negatives = BUILD[loss], ("random",) if loss == "bce" else ("hard_negative", "token_similar_negative")
    plain = build(material(rows), seed=1, negatives=negatives, negatives_per_positive=2).frame
    again = build(material(rows[::-1]), seed=1, negatives=negatives, negatives_per_positive=2).frame
    pd.testing.assert_frame_equal(plain, again)
    assert not plain.equals(build(material(rows), seed=2, negatives=negatives, negatives_per_positive=2).frame)


def test_an_edited_category_leaves_the_rows_of_other_queries_alone() -> None:
    rows = [(f"q{n % 4}", f"p{n}", "easy_positive", 4) for n in range(12)]
    before = bce_instances(material(rows, 400), seed=1).frame
    without_q3 = bce_instances(material([row for row in rows if row[0] != "q3"], 400), seed=1).frame
    pd.testing.assert_frame_equal(before[before["query_id"] != "q3"].reset_index(drop=True), without_q3)
    after = bce_instances(material(rows, 408), seed=1).frame  # 2 % more products: a few draws move, not all
    kept = before.merge(after, on=["query_id", "product_id", "label"])
    assert len(kept) >= 0.9 * len(before)


def test_random_products_are_spread_over_the_catalog() -> None:
    rows = [(f"q{n % 6}", f"p{n}", "easy_positive", 4) for n in range(60)]
    frame = bce_instances(material(rows, 600), seed=1, negatives_per_positive=10).frame
    drawn = frame.loc[frame["label"] == 0, "product_id"]
    assert drawn.nunique() > 200 and drawn.value_counts().max() <= 10


@pytest.mark.parametrize("split", ["test", "dev"])
def test_a_query_of_another_split_is_an_error_that_names_it(split: str) -> None:
    shop = material([("q0", "p0", "easy_positive", 4), ("q4", "p1", "easy_positive", 4)])
    shop.tiers.loc[1, "split"] = split
    with pytest.raises(WhetstoneError, match=rf"1 tier rows are not of the train split, first query 'q4' of split '{split}'"):
        replace(shop)


def test_pairs_without_a_text_and_duplicates_are_counted() -> None:
    shop = material([("q0", "p0", "easy_positive", 4), ("q0", "gone", "easy_positive", 4), ("q0", "p0", "easy_positive", 4)])
    frame, counts = bce_instances(shop, seed=1)
    assert int(frame["label"].sum()) == 1
    assert counts == {"query_or_product_without_text": 1, "duplicate_pair": 1}


@pytest.mark.parametrize("loss", BUILD)
def test_no_tiers_give_no_rows_but_all_columns(loss: str) -> None:
    frame, counts = BUILD[loss](material([]), seed=1, negatives_per_positive=1)
    assert frame.empty and {"query", "product"} <= set(frame.columns) and not counts


@pytest.mark.parametrize("loss", BUILD)
def test_hostile_ids_and_texts_come_through_as_they_are(loss: str) -> None:
    products = pd.DataFrame({"product_id": HOSTILE, "text": [f"text {text}" for text in HOSTILE]})
    queries = pd.DataFrame({"query_id": HOSTILE, "text": HOSTILE})
    tiers = pd.DataFrame(
        [(query, query, "hard_positive", 4, "train") for query in HOSTILE], columns=["query_id", "product_id", "tier", "grade", "split"]
    )
    shop = Material(tiers=tiers, queries=queries, products=products, relevant=pairs(), found=pairs())
    frame = BUILD[loss](shop, seed=1, positives=("hard_positive",), negatives=("random",), negatives_per_positive=2).frame
    assert set(frame["query_id"]) == set(HOSTILE)
    assert (frame["product"] == "text " + frame["product_id"]).all()
