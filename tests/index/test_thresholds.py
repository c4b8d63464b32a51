"""Cuts against brute force, the tuned weight against trying all, what cannot be tuned, and how it goes to a file and back."""

from __future__ import annotations

import json
import logging
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from whetstone.evaluation.metrics import evaluate_run
from whetstone.index.thresholds import WEIGHTS, Thresholds, best_cut, choose_weight, judged_cosines, measure
from whetstone.retrieval.fusion import blend, rrf
from whetstone.retrieval.ranking import top_k


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.sampled_from([-0.5, 0.0, 0.1, 0.2, 0.5, 0.9]), st.booleans()), min_size=1, max_size=20))
def test_the_cut_has_the_best_f1_of_all(pairs) -> None:
    cosines, right = (np.array(column) for column in zip(*pairs, strict=True))
    cut = best_cut(cosines, right)
    if right.all() or not right.any():
        assert cut is None
        return
    tried = []
    for least in sorted(set(cosines), reverse=True):
        said, hits = int((cosines >= least).sum()), int(right[cosines >= least].sum())
        precision, recall = hits / said, hits / right.sum()
        f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
        tried.append((round(f1, 12), least, precision, recall, said, hits))
    best = max(tried, key=lambda each: each[:2])
    assert (cut.cosine, cut.precision, cut.recall, cut.said, cut.right, cut.pairs) == pytest.approx((*best[1:], len(pairs)))


@pytest.fixture
def world():
    """Runs of 12 dev queries over 40 products, the judged pairs of both labels with their cosines, and gains."""
    rng = np.random.default_rng(4)
    queries, products = [f"q{n:02d}" for n in range(12)], [f"p{n:02d}" for n in range(40)]
    truth = rng.integers(0, 3, (12, 40))
    cosines, words = truth * 0.15 + rng.normal(0, 0.2, truth.shape), np.maximum(truth + rng.normal(0, 1.2, truth.shape), 0.0)
    dense = top_k(((np.arange(40), row) for row in cosines), products, queries, 25)
    lexical = top_k(((np.flatnonzero(row), row[row > 0]) for row in words), products, queries, 25)
    rows = [
        (queries[q], products[p], truth[q, p], truth[q, p] / 2, cosines[q, p]) for q, p in np.ndindex(truth.shape) if rng.random() < 0.5
    ]
    return lexical, dense, pd.DataFrame(rows, columns=["query_id", "product_id", "label", "gain", "cosine"])


def test_the_weight_is_the_one_nearest_to_the_middle_that_dev_cannot_tell_from_the_best(world) -> None:
    lexical, dense, judged = world
    stranger = dense.assign(query_id="test query")
    found = measure("v1", lexical, pd.concat([dense, stranger]), judged)
    cuts = (found.cuts["1"].cosine, found.cuts["2"].cosine)
    assert cuts[0] < cuts[1] and found.encoder == "v1" and found.reason == ""
    judgments = judged.assign(grade=judged["label"])
    tried = {}
    for weight in WEIGHTS:
        run = blend(lexical, dense, cuts, weight)
        per_query = evaluate_run(run, judgments, sorted(set(judged["query_id"])), gains={0: 0.0, 1: 0.5, 2: 1.0}, relevant_grade=2)
        tried[weight] = per_query["ndcg@10"]
    means = {weight: values.mean() for weight, values in tried.items()}
    assert found.ndcg_by_weight == pytest.approx({f"{weight:g}": value for weight, value in means.items()})
    best = tried[max(means, key=means.get)]
    level = [weight for weight, values in tried.items() if (best - values).mean() <= (best - values).sem() + 1e-9]  # the 1-SE rule
    assert 0 < len(level) < len(WEIGHTS)
    assert abs(found.weight - 0.5) == min(abs(weight - 0.5) for weight in level) and found.weight in level
    pd.testing.assert_frame_equal(found.fuse(lexical, dense, 7), blend(lexical, dense, cuts, found.weight, 7))


def test_of_weights_that_dev_cannot_tell_apart_the_nearest_to_the_middle_is_taken() -> None:
    best = pd.Series([0.9, 0.5, 0.7, 0.3])
    by_noise = best + pd.Series([-0.4, 0.3, -0.3, 0.3])
    by_much = best - pd.Series([0.1, 0.12, 0.09, 0.11])
    assert choose_weight({1.0: best, 0.6: by_noise}) == 0.6  # 0.025 behind, standard error 0.19
    assert choose_weight({1.0: best, 0.6: by_much}) == 1.0  # 0.105 behind, standard error 0.006
    assert choose_weight({0.2: best, 0.9: best, 0.4: by_much}) == 0.2


def test_equal_weights_go_to_the_middle(world) -> None:
    _, dense, judged = world
    assert measure("v1", dense[:0], dense[dense["score"] > 9], judged).weight == 0.5  # nothing found: all weights alike


def test_a_judged_product_outside_the_catalog_counts_in_ndcg_but_not_in_cuts(world) -> None:
    lexical, dense, judged = world
    lost = judged.drop_duplicates("query_id").assign(product_id="gone", label=2, gain=1.0, cosine=np.nan)
    before, after = measure("v1", lexical, dense, judged), measure("v1", lexical, dense, pd.concat([judged, lost]))
    assert after.cuts == before.cuts
    assert after.ndcg_by_weight["1"] < before.ndcg_by_weight["1"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda judged: judged[:0], r"label >= 2 and label >= 1: all or none of the 0 judged pairs"),
        (lambda judged: judged[judged["label"] == 0], r"label >= 2 and label >= 1: all or none"),
        (lambda judged: judged[judged["label"] > 0], r"no cut for label >= 1: all or none"),
        (lambda judged: judged.assign(gain=0.0), "no judged pair of a dev query has a gain"),
    ],
)
def test_what_cannot_be_tuned_is_said_and_goes_by_ranks(world, caplog, change, words) -> None:
    lexical, dense, judged = world
    found = measure("v1", lexical, dense, change(judged))
    assert found.weight is None and found.ndcg_by_weight == {}
    assert re.search(words, found.reason)
    with caplog.at_level(logging.WARNING):
        pd.testing.assert_frame_equal(found.fuse(lexical, dense, 9), rrf([lexical, dense], 9))
    assert "goes by ranks (RRF)" in caplog.text and found.reason in caplog.text


def test_thresholds_survive_a_file(world) -> None:
    found = measure("v1", *world)
    assert TypeAdapter(Thresholds).validate_python(json.loads(found.json())) == found


def test_two_labels_alone_make_one_cut_and_still_blend(world) -> None:
    lexical, dense, judged = world
    binary = judged.assign(label=np.where(judged["label"] == 2, 2, 0))
    found = measure("v1", lexical, dense, binary)
    assert found.cuts["1"] == found.cuts["2"] and found.weight is not None
    assert len(found.fuse(lexical, dense, 5)) == 12 * 5


def test_cosines_of_judged_pairs_by_name() -> None:
    vectors = np.array([[1, 0], [0.6, 0.8]], dtype=np.float32)
    judged = pd.DataFrame({"query_id": ["b", "a", "b", "x"], "product_id": ["p", "q", "q", "p"]}, index=[7, 7, 8, 9])
    found = judged_cosines(judged, ["a", "b"], vectors, ["q", "p"], vectors)
    assert found[:3] == pytest.approx([1.0, 1.0, 0.6], abs=1e-6) and np.isnan(found[3])
    assert len(judged_cosines(judged[:0], [], vectors[:0], ["q", "p"], vectors)) == 0
