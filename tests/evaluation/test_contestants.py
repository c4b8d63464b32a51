"""Every system on a small catalog: which there are, that each hybrid is what its name says, and the scores of judged pairs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from whetstone.evaluation import contestants
from whetstone.evaluation.contestants import Contest, encoders_of, evaluate_systems
from whetstone.grading.guideline import load_guideline
from whetstone.index.thresholds import measure
from whetstone.platform.registry import Encoder
from whetstone.platform.settings import Settings

WORDS = [f"word{number}" for number in range(9)]


class FakeEmbedder:
    """Counts words, with noise that each version repeats; `good` has none."""

    def __init__(self, encoder: Encoder, *_: object, **__: object) -> None:
        self.noise = 0.0 if encoder.name == "good" else 0.6

    def queries(self, texts):
        rows = np.array([[text.split().count(word) for word in WORDS] for text in texts], dtype=np.float64).reshape(-1, len(WORDS)) + 0.01
        rows += self.noise * np.random.default_rng(len(rows)).random(rows.shape)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def products(self, products):
        return self.queries(products["text"].tolist())


@pytest.fixture
def contest(monkeypatch):
    monkeypatch.setattr(contestants, "Embedder", FakeEmbedder)
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 3)) for _ in range(50)]
    products = pd.DataFrame({"product_id": [f"p{n:02d}" for n in range(50)], "text": texts, "title": texts, "brand": None})
    products["category_path"], products["attributes"] = [[]] * 50, [{}] * 50
    queries = pd.DataFrame({"query_id": [f"q{n:02d}" for n in range(24)], "text": [" ".join(rng.choice(WORDS, 2)) for _ in range(24)]})
    queries["split"], queries["segment"] = ["dev", "test", "train"] * 8, ["head", "torso", "tail", "tail"] * 6
    rows = [
        (query_id, product_id, 4 if shared == 2 else 2 if shared == 1 else 0)
        for query_id, query in zip(queries["query_id"], queries["text"], strict=True)
        for product_id, text in zip(products["product_id"], texts, strict=True)
        if (shared := len({*query.split()} & {*text.split()})) >= 0 and rng.random() < 0.5
    ]
    judgments = pd.DataFrame([*rows, ("q00", "gone", 4)], columns=["query_id", "product_id", "grade"])
    return Contest(products, queries, judgments, (), load_guideline("three_level"), Settings(depth=30, bm25_k1=1.2, bm25_b=0.5, seed=1))


ENCODERS = [Encoder("base", "v0", ""), Encoder("good", "v1", "")]


def test_every_encoder_stands_alone_and_in_two_hybrids(contest) -> None:
    table, _, thresholds = evaluate_systems(contest, ENCODERS)
    names = ["random", "dictionary", "bm25", "base", "rrf_base", "hybrid_base", "good", "rrf_good", "hybrid_good"]
    assert table["system"].unique().tolist() == names and encoders_of(table) == {"base": "v0", "good": "v1"}
    assert [(each.encoder, each.weight is None) for each in thresholds] == [("v0", False), ("v1", False)]
    assert set(table["split"]) == {"dev", "test"} and len(table) == len(names) * 16
    means = table[table["split"] == "dev"].groupby("system")["ndcg@10"].mean()
    assert means["hybrid_base"] > means["base"] and means["hybrid_base"] != means["rrf_base"]


def test_the_weight_of_a_hybrid_is_of_dev_queries_and_of_its_own_encoder(contest, monkeypatch) -> None:
    seen = {}

    def spy(encoder, lexical, dense, judged):
        seen[encoder] = judged
        return measure(encoder, lexical, dense, judged)

    monkeypatch.setattr(contestants, "measure", spy)
    evaluate_systems(contest, ENCODERS)
    assert list(seen) == ["v0", "v1"]
    for judged in seen.values():
        assert set(judged["query_id"]) == set(contest.queries.loc[contest.queries["split"] == "dev", "query_id"])
        assert judged.loc[judged["product_id"] == "gone", "cosine"].isna().all() and judged["cosine"].notna().sum() == len(judged) - 1


def test_judged_pairs_carry_cosine_label_and_overlap(contest) -> None:
    _, scores, _ = evaluate_systems(contest, ENCODERS)
    assert list(scores) == ["query_id", "product_id", "split", "label", "gain", "overlap", "cosine", "system"]
    assert set(scores["system"]) == {"base", "good"} and set(scores["split"]) == {"dev", "test"} and "gone" not in set(scores["product_id"])
    good = scores[scores["system"] == "good"].sample(frac=1, random_state=0).iloc[0]
    query = contest.queries.set_index("query_id").loc[good["query_id"], "text"]
    product = contest.products.set_index("product_id").loc[good["product_id"], "text"]
    assert good["cosine"] == pytest.approx(float(np.vdot(*FakeEmbedder(ENCODERS[1]).queries([query, product]))), abs=1e-6)
    assert good["overlap"] == len({*query.split()} & {*product.split()}) / len({*query.split()})


def test_without_a_judged_query_there_is_nothing(contest) -> None:
    empty = Contest(contest.products, contest.queries, contest.judgments[:0], (), contest.guideline, contest.settings)
    table, scores, _ = evaluate_systems(empty, ENCODERS)
    assert table.empty and scores.empty and "cosine" in scores
