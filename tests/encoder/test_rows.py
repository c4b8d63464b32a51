"""From instances to what a loss reads: numbers that tell whose product is whose, and the library's own negatives."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers.util import mine_hard_negatives
from tests.encoder.training import load, stage

from whetstone.curriculum.instances import text_columns
from whetstone.curriculum.material import Material
from whetstone.encoder.rows import library_negatives, numbered, training_rows
from whetstone.encoder.stages import stage_instances
from whetstone.platform.precision import half_precision

IDS = st.sampled_from([f"p{number}" for number in range(9)])
ROW = st.tuples(st.sampled_from(["mug", "cup", "jug"]), st.lists(IDS, min_size=3, max_size=3), st.lists(IDS, max_size=4, unique=True))


def frame(rows: list[tuple[str, list[str], list[str]]]) -> pd.DataFrame:
    """Rows of (query text, product and two negatives, known relevant products)."""
    wide = [(query, *items, sorted(relevant)) for query, items, relevant in rows]
    made = pd.DataFrame(wide, columns=["query", "product_id", "negative_id_1", "negative_id_2", "relevant_ids"])
    return made.assign(query_id=[f"q{place}" for place in range(len(made))])


@settings(deadline=None)
@given(st.lists(ROW, min_size=1, max_size=12))
def test_numbers_stand_for_query_texts_and_products_and_every_relevant_pair_is_known(rows: list[tuple[str, list[str], list[str]]]) -> None:
    made, known = numbered(frame(rows))
    labels = made["label"].tolist()
    assert all(len(label) == 4 for label in labels)
    queries = {(query, label[0]) for (query, _, _), label in zip(rows, labels, strict=True)}
    items = {pair for (_, ids, _), label in zip(rows, labels, strict=True) for pair in zip(ids, label[1:], strict=True)}
    for pairs in (queries, items):  # one number each, and each number once
        assert len({name for name, _ in pairs}) == len({number for _, number in pairs}) == len(pairs)
    number_of_query, number_of = dict(queries), dict(items)
    expected = {(number_of_query[query], number_of[product]) for query, _, relevant in rows for product in relevant if product in number_of}
    found = {tuple(pair) for pair in known.tolist()}
    seen = set(number_of.values())
    assert {(query, product) for query, product in found if product in seen} == expected
    per_text = {query: {product for other, _, relevant in rows if other == query for product in relevant} for query, _, _ in rows}
    assert len(found) == len(known) == sum(map(len, per_text.values()))  # those that no row has, too
    assert known.tolist() == sorted(known.tolist())


def test_two_query_ids_with_one_text_are_one_query_and_the_index_does_not_matter() -> None:
    rows = frame([("mug", ["p0", "p1", "p2"], ["p0"]), ("mug", ["p3", "p1", "p2"], ["p3"]), ("cup", ["p3", "p0", "p0"], ["p3"])])
    made, known = numbered(rows.set_axis([7, 7, 3]))
    assert made["label"].tolist() == [[0, 0, 1, 2], [0, 3, 1, 2], [1, 3, 0, 0]]
    assert known.tolist() == [[0, 0], [0, 3], [1, 3]]


def test_nothing_known_is_no_pairs_of_two() -> None:
    _, known = numbered(frame([("mug", ["p0", "p1", "p2"], [])]))
    assert known.shape == (0, 2) and str(known.dtype) == "torch.int64"


@pytest.mark.parametrize("count", [1, 3])
def test_library_negatives_are_what_the_library_mines(count: int, tiny_encoder: Path, material: Material) -> None:
    model, catalog = load(tiny_encoder), material.products["text"].tolist()
    instances = stage_instances(stage("mnr_baseline"), material, seed=1).frame
    assert set(instances["tier"]) == {"graded"} and len(instances) == 18
    made = library_negatives(instances, model, [*catalog, *catalog[:3]], count)  # a text twice is one product
    assert text_columns(made) == made.columns.tolist() == ["query", "product", *(f"negative_{place}" for place in range(1, count + 1))]
    with half_precision():  # the library's own vectors, as precise as everything is encoded
        direct = mine_hard_negatives(
            Dataset.from_dict({"query": instances["query"].tolist(), "product": instances["product"].tolist()}),
            load(tiny_encoder),
            corpus=sorted(catalog),
            relative_margin=0.05,
            range_max=1000,
            num_negatives=count,
            sampling_strategy="top",
            output_format="n-tuple",
            verbose=False,
        )
    assert made.to_numpy().tolist() == [list(row.values()) for row in direct] and len(made)
    assert (made["product"] != made["negative_1"]).all()
    assert set(made["negative_1"]) <= set(catalog)


@pytest.mark.parametrize("loss", ["bce", "mnr", "triplet", "mnr_baseline", "supcon"])
def test_each_loss_gets_its_columns(loss: str, tiny_encoder: Path, material: Material) -> None:
    instances = stage_instances(stage(loss), material, seed=1).frame
    rows, relevant = training_rows(stage(loss), instances, load(tiny_encoder), material.products["text"].tolist())
    assert (relevant is not None) == (loss == "mnr")
    assert ("label" in rows) == (loss in ("bce", "mnr", "supcon"))
    items = {"bce": [], "supcon": [f"item_{place}" for place in range(1, 5)]}.get(loss, ["negative_1"])
    assert text_columns(rows) == ["query", *(["product"] if loss != "supcon" else []), *items]
