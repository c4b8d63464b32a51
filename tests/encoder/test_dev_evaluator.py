"""Graded NDCG@10 on dev: hand-worked, against scikit-learn, and a sub-catalog that holds what it must and keeps still."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sentence_transformers import SentenceTransformer
from sklearn.metrics import ndcg_score

from whetstone.encoder import dev_evaluator
from whetstone.encoder.dev_evaluator import DevSet, build_dev_set
from whetstone.platform.errors import WhetstoneError

GAINS = {4: 1.0, 2: 0.1, 1: 0.01, 0: 0.0}


def frames() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    queries = pd.DataFrame(
        [("q2", "second", "dev"), ("q1", "first", "dev"), ("q1", "first", "dev"), ("q3", "third", "dev"), ("t", "learnt", "train")],
        columns=["query_id", "text", "split"],
    )
    products = pd.DataFrame([(f"p{number:02}", f"text {number}") for number in range(40)], columns=["product_id", "text"])
    judgments = pd.DataFrame(
        [("q1", "p05", 4), ("q1", "p07", 2), ("q2", "p30", 1), ("q3", "p31", 0), ("t", "p33", 4), ("q1", "gone", 4)],
        columns=["query_id", "product_id", "grade"],
    )
    return queries, products, judgments


def ndcg_of(scores: list[float], gains: list[float], monkeypatch: pytest.MonkeyPatch) -> float:
    """What the evaluator says of an encoder that gives one query these scores."""
    dev = DevSet(("query",), tuple(map(str, scores)), np.array([[*gains, *[0.0] * (len(scores) - len(gains))]]))
    monkeypatch.setattr(
        dev_evaluator, "encode", lambda model, texts, side="product": np.array([[1.0 if side == "query" else float(t)] for t in texts])
    )
    return dev.ndcg(None)


@pytest.mark.parametrize("unjudged", [0, 8])
def test_ndcg_by_hand(unjudged: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # order: `unjudged` products without a gain, then 0, 0.1, 1; the tenth place is the last that counts
    value = ndcg_of([0.9, 0.5, 0.7, *[1.0] * unjudged], [0.0, 1.0, 0.1], monkeypatch)
    third = 1 / math.log2(4) if not unjudged else 0
    expected = (0.1 / math.log2(3 + unjudged) + third) / (1 + 0.1 / math.log2(3))
    assert value == pytest.approx(expected, abs=1e-12)


def test_equal_scores_share_their_places_whatever_the_order_of_products(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = (1 + 1 / math.log2(3) + 1 / math.log2(4)) / 3
    assert ndcg_of([0.5, 0.5, 0.5], [1.0, 0, 0], monkeypatch) == pytest.approx(expected)
    assert ndcg_of([0.5, 0.5, 0.5], [0, 0, 1.0], monkeypatch) == pytest.approx(expected)


def test_only_dev_queries_with_a_gain_count() -> None:
    dev = build_dev_set(*frames(), GAINS, others=7)
    assert dev.queries == ("first", "second")
    pairs = {(dev.queries[q], dev.products[p], dev.gains[q, p]) for q, p in zip(*dev.gains.nonzero(), strict=True)}
    assert pairs == {("first", "text 5", 1.0), ("first", "text 7", 0.1), ("second", "text 30", 0.01)}


def test_sub_catalog_has_every_judged_product_and_as_many_others_as_asked_for() -> None:
    dev = build_dev_set(*frames(), GAINS, others=7)
    assert len(dev.products) == 10
    assert {"text 5", "text 7", "text 30"} <= set(dev.products)
    assert len(build_dev_set(*frames(), GAINS, others=0).products) == 3
    assert len(build_dev_set(*frames(), GAINS, others=1000).products) == 40


def test_sub_catalog_depends_on_the_seed_and_hardly_on_the_catalog() -> None:
    queries, products, judgments = frames()
    dev = build_dev_set(queries, products, judgments, GAINS, others=17)
    shuffled = build_dev_set(queries.iloc[::-1], products.iloc[::-1], judgments.iloc[::-1], GAINS, others=17)
    assert dev.version == shuffled.version
    assert dev.version != build_dev_set(queries, products, judgments, GAINS, others=17, seed=1).version
    more = pd.concat([products, pd.DataFrame({"product_id": ["new"], "text": ["new"]})])
    assert len(set(dev.products) - set(build_dev_set(queries, more, judgments, GAINS, others=17).products)) <= 1


def test_version_follows_every_part() -> None:
    dev = build_dev_set(*frames(), GAINS)
    others = [
        replace(dev, queries=("other", *dev.queries[1:])),
        replace(dev, products=("other", *dev.products[1:])),
        replace(dev, gains=dev.gains * 0.5),
        replace(dev, gains=dev.gains[:, ::-1]),
    ]
    assert len({dev.version, *(other.version for other in others)}) == 5


def test_nothing_to_choose_by_is_no_dev_set_and_a_strange_grade_an_error() -> None:
    queries, products, judgments = frames()
    assert build_dev_set(queries, products, judgments[judgments["query_id"] == "q3"], GAINS) is None
    with pytest.raises(WhetstoneError, match=r"no gain for grade\(s\) \[4\]"):
        build_dev_set(queries, products, judgments, {2: 0.1, 1: 0.0, 0: 0.0})


def test_it_is_the_mean_over_queries_of_the_models_own_ranking(tiny_encoder: Path) -> None:
    queries = pd.DataFrame([("q1", "red mug", "dev"), ("q2", "blue lamp", "dev")], columns=["query_id", "text", "split"])
    texts = ["mug", "red", "red mug", "blue lamp", "shoe blue", "lamp for women"]
    products = pd.DataFrame({"product_id": list("abcdef"), "text": texts})
    judgments = pd.DataFrame([("q1", "c", 4), ("q1", "a", 2), ("q2", "f", 4)], columns=["query_id", "product_id", "grade"])
    model = SentenceTransformer(str(tiny_encoder), device="cpu")
    value = build_dev_set(queries, products, judgments, GAINS).ndcg(model)
    vectors = model.encode([*queries["text"], *texts], normalize_embeddings=True)
    truth = np.array([[0.1, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1.0]])
    assert value == pytest.approx(ndcg_score(truth, vectors[:2] @ vectors[2:].T, k=10), abs=1e-9)
