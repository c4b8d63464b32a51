"""A BERT small enough to train in a second, as an ordinary sentence-transformers folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import BertConfig, BertModel, BertTokenizer

from whetstone.curriculum.material import Material
from whetstone.encoder.dev_evaluator import DevSet, build_dev_set

KINDS = ["red", "blue", "green", "black", "white", "pink"]
THINGS = ["shoe", "mug", "lamp", "cable", "chair", "knife"]


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a randomly initialised two-layer encoder that knows the words of `KINDS` and `THINGS`."""
    root = tmp_path_factory.mktemp("tiny")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *KINDS, *THINGS, "for", "women"]
    (root / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(root / "bert")
    BertTokenizer(str(root / "vocab.txt")).save_pretrained(root / "bert")
    transformer = Transformer(str(root / "bert"))
    model = SentenceTransformer(modules=[transformer, Pooling(32, "mean")], device="cpu")
    model.save_pretrained(str(root / "encoder"), create_model_card=False)
    return root / "encoder"


@pytest.fixture(scope="session")
def shop() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Queries (half train, half dev), products and grades: 4 for kind and thing, 1 for the thing alone."""
    products = pd.DataFrame(
        [(f"p-{kind}-{thing}", f"{thing} {kind} for women") for kind in KINDS for thing in THINGS],
        columns=["product_id", "text"],
    )
    queries = pd.DataFrame(
        [
            (f"q-{kind}-{thing}", f"{kind} {thing}", ("train", "dev")[(row + column) % 2])
            for row, kind in enumerate(KINDS)
            for column, thing in enumerate(THINGS)
        ],
        columns=["query_id", "text", "split"],
    )
    grades = pd.DataFrame(
        [
            (query, f"p-{kind}-{query.rsplit('-')[-1]}", 4 if kind == query.split("-")[1] else 1)
            for query in queries["query_id"]
            for kind in KINDS
        ],
        columns=["query_id", "product_id", "grade"],
    )
    return queries, products, grades


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Same seed, same weights holds on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def dev(shop: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]) -> DevSet:
    """The shop's dev queries."""
    return build_dev_set(*shop, {4: 1.0, 1: 0.1})


@pytest.fixture
def material(shop: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]) -> Material:
    """The shop's train queries: what is graded 4 is a hard positive, the rest are hard negatives; nothing was mined since."""
    queries, products, grades = shop
    train = grades.merge(queries.loc[queries["split"] == "train", ["query_id", "split"]], on="query_id")
    tiers = train.assign(tier=train["grade"].map({4: "hard_positive", 1: "hard_negative"}))
    graded = train.assign(label=train["grade"].map({4: 2, 1: 0}))
    return Material(tiers=tiers, queries=queries, products=products, relevant=train[train["grade"] > 2], found=train, graded=graded)
