"""The cross-encoder learns a toy relevance from a tiny model, keeps its best checkpoint, reloads, and answers the same each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import BertConfig, BertModel, BertTokenizer, set_seed

from whetstone.grading.annotator import check_answers
from whetstone.grading.cross_encoder import PATIENCE, CrossEncoderAnnotator, train_cross_encoder
from whetstone.grading.guideline import Guideline, load_guideline
from whetstone.platform.errors import WhetstoneError

WORD_OF_GRADE = {4: "superb", 2: "decent", 1: "weak", 0: "awful"}
FILLERS = ["red", "blue", "large", "small", "lamp", "chair"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence encoder of 2 layers, 32 dimensions and 32 positions, saved as the incumbent is."""
    folder = tmp_path_factory.mktemp("base")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORD_OF_GRADE.values(), *FILLERS]
    (folder / "vocab.txt").write_text("\n".join(words))
    set_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
        initializer_range=0.2,  # at the usual 0.02 so small a model learns slowly
    )
    BertModel(config).save_pretrained(folder / "bert")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    transformer = Transformer(str(folder / "bert"))
    pooling = Pooling(transformer.get_embedding_dimension())
    SentenceTransformer(modules=[transformer, pooling]).save_pretrained(str(folder / "encoder"), create_model_card=False)
    return folder / "encoder"


def toy(count: int, seed: int) -> pd.DataFrame:
    """Judged pairs whose grade stands in the product's text as a word; half of them are of grade 4."""
    generator = np.random.default_rng(seed)
    grades = generator.choice([4, 2, 1, 0], size=count, p=[0.5, 0.2, 0.15, 0.15])
    fillers = generator.choice(FILLERS, size=(count, 3))
    return pd.DataFrame(
        {
            "query_id": [f"q{row}" for row in range(count)],
            "product_id": [f"p{row}" for row in range(count)],
            "query": fillers[:, 0],
            "text": [f"{WORD_OF_GRADE[grade]} {' '.join(rest)}" for grade, rest in zip(grades, fillers[:, 1:], strict=True)],
            "grade": grades,
        }
    )


def train(folder: Path, base: Path, guideline: Guideline, **changes: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"seed": 3, "epochs": 4, "batch_size": 16, "learning_rate": 5e-3, "device": "cpu"}
    parts = {"train": toy(160, seed=1), "dev": toy(48, seed=2)}
    return train_cross_encoder(folder, base, guideline=guideline, **{**parts, **settings, **changes})


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("trained") / "model"
    return folder, train(folder, base, load_guideline("esci"))


def test_learns_and_tells(trained: tuple[Path, dict[str, Any]]) -> None:
    _, metrics = trained
    assert metrics["dev"]["accuracy"] > 0.9
    assert metrics["dev"]["majority_accuracy"] < 0.7
    assert metrics["dev"]["pairs"] == 48
    assert metrics["train_pairs"] == 160
    losses = [row["loss"] for row in metrics["loss"]]
    assert losses[-1] < losses[0]


def test_the_best_checkpoint_is_kept(base: Path, esci: Guideline, tmp_path: Path) -> None:
    # in dev every word means the next grade, so the better the words are learnt, the worse it gets
    contrary = toy(48, seed=2).assign(grade=lambda rows: rows["grade"].map({4: 2, 2: 1, 1: 0, 0: 4}))
    metrics = train(tmp_path / "model", base, esci, dev=contrary)
    f1 = [row["macro_f1"] for row in metrics["dev_curve"]]
    assert f1[-1] < max(f1)
    assert metrics["dev"]["macro_f1"] == pytest.approx(max(f1))


def test_stops_when_nothing_improves(base: Path, esci: Guideline, tmp_path: Path) -> None:
    metrics = train(tmp_path / "still", base, esci, learning_rate=0.0, epochs=20)
    assert len(metrics["dev_curve"]) <= PATIENCE + 2


def test_reloads_and_answers(trained: tuple[Path, dict[str, Any]], esci: Guideline) -> None:
    folder, metrics = trained
    annotator = CrossEncoderAnnotator(folder, esci, "abc")
    dev = toy(48, seed=2)
    answers = check_answers(dev, annotator.annotate(dev), esci)
    assert (answers["grade"] == dev["grade"]).mean() == metrics["dev"]["accuracy"]
    assert answers["confidence"].between(1 / 4, 1).all()
    assert answers["cost_usd"].eq(0).all()
    assert (annotator.name, annotator.version) == ("cross_encoder", "abc")
    pd.testing.assert_frame_equal(annotator.annotate(dev), answers)
    shuffled = dev.sample(frac=1, random_state=0)
    again = annotator.annotate(shuffled).set_index("product_id").loc[dev["product_id"]]
    assert again["grade"].tolist() == answers["grade"].tolist()
    np.testing.assert_allclose(again["confidence"], answers["confidence"], atol=0.02)


def test_the_same_seed_trains_the_same_model(base: Path, esci: Guideline, tmp_path: Path) -> None:
    first, second, other = (train(tmp_path / name, base, esci, epochs=1, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert first == second
    assert first["loss"] != other["loss"]


def test_writes_nowhere_but_its_folder(base: Path, esci: Guideline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    train(tmp_path / "model", base, esci, epochs=1)
    assert list((tmp_path / "here").iterdir()) == []


def test_hostile_texts_are_graded(trained: tuple[Path, dict[str, Any]], esci: Guideline, hostile_texts: list[str]) -> None:
    pairs = pd.DataFrame([{"query": query, "text": text} for query in hostile_texts for text in hostile_texts])
    pairs = pairs.assign(query_id=pairs["query"], product_id=pairs["text"])
    annotator = CrossEncoderAnnotator(trained[0], esci, "v")
    check_answers(pairs, annotator.annotate(pairs), esci)
    assert annotator.annotate(pairs.iloc[:0]).empty


def test_another_guideline_is_refused(trained: tuple[Path, dict[str, Any]]) -> None:
    with pytest.raises(WhetstoneError, match="4 classes, but guideline 'three_level' has 3"):
        CrossEncoderAnnotator(trained[0], load_guideline("three_level"), "v")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": toy(4, 0).iloc[:0]}, "no human judgments of train queries"),
        ({"dev": toy(4, 0).iloc[:0]}, "no human judgments of dev queries"),
        ({"dev": toy(4, 0).assign(grade=3)}, r"dev judgments have grades \[3\]"),
    ],
)
def test_what_cannot_be_trained_is_refused(base: Path, esci: Guideline, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(WhetstoneError, match=message):
        train(tmp_path / "model", base, esci, **changes)
