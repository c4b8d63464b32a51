"""What a stage can be told: losses, batches, layers that stay, the pull to the start, misspelt queries, towers, a static base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Router, StaticEmbedding
from tests.encoder.training import load, same, stage, weights

from whetstone.curriculum.material import Material
from whetstone.encoder import stages
from whetstone.encoder.best import freeze
from whetstone.encoder.dev_evaluator import DevSet
from whetstone.encoder.recipes import Towers
from whetstone.encoder.stages import StageResult, stage_instances, train_stage
from whetstone.encoder.towers import Kind, kind_of
from whetstone.platform.errors import WhetstoneError
from whetstone.retrieval.encode import encode

pytestmark = pytest.mark.usefixtures("one_thread")


class Trainer:
    """Trains on the shop; dev likes later weights better, so that the last are kept."""

    def __init__(self, start: Path, material: Material, dev: DevSet, folder: Path) -> None:
        self.start, self.material, self.dev, self.folder = start, material, dev, folder

    def rows(self, loss: str, **settings: Any) -> pd.DataFrame:
        return stage_instances(stage(loss, **settings), self.material, seed=1).frame

    def run(self, loss: str, *, name: str = "out", start: Path | None = None, towers: Towers | None = None, **settings: Any) -> StageResult:
        shape, catalog = towers or Towers(), self.material.products["text"].tolist()
        told: dict[str, Any] = {"seed": 1, "device": "cpu", "towers": shape, "catalog": catalog}
        return train_stage(self.folder / name, start or self.start, stage(loss, **settings), self.rows(loss, **settings), self.dev, **told)

    def weights(self, name: str = "out") -> dict[str, np.ndarray]:
        return weights(self.folder / name)


@pytest.fixture
def trainer(tiny_encoder: Path, material: Material, dev: DevSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    rising = iter(range(1000))
    monkeypatch.setattr(DevSet, "ndcg", lambda self, model: float(next(rising)))
    return Trainer(tiny_encoder, material, dev, tmp_path)


@pytest.mark.parametrize(
    ("loss", "settings"),
    [("supcon", {"learning_rate": 1e-3}), ("circle", {"learning_rate": 1e-3}), ("mnr_baseline", {}), ("mnr", {"batches": "shuffled"})],
)
def test_every_loss_trains(loss: str, settings: dict[str, Any], trainer: Trainer) -> None:
    result = trainer.run(loss, epochs=4, **settings)
    _, losses = zip(*result.loss_curve, strict=True)
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    assert result.learned.keys() == ({"log_temperature"} if loss == "supcon" else set())
    assert all(value != pytest.approx(np.log(0.05), abs=1e-4) for value in result.learned.values())
    assert result.instances == len(trainer.rows(loss, **settings)) and result.best_step == result.steps


def test_where_the_library_mines_too_little_the_stage_is_skipped(trainer: Trainer) -> None:
    result = trainer.run("mnr_baseline", negatives_per_positive=40)  # of 36 products
    assert result.skipped and result.skipped.startswith("0 instances are fewer than min_instances = 4")
    assert same(trainer.weights(), weights(trainer.start))


def test_shuffled_batches_hold_what_conflict_free_ones_keep_apart_and_each_epoch_has_its_own(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[list[int]] = []
    build = stages.build_loss

    def watched(*args: Any) -> torch.nn.Module:
        loss = build(*args)
        loss.register_forward_pre_hook(lambda _, inputs: batches.append(inputs[1][:, 0].tolist()))
        return loss

    monkeypatch.setattr(stages, "build_loss", watched)
    assert trainer.run("mnr", batches="shuffled", epochs=2).steps == 6
    assert [len(batch) for batch in batches] == [6] * 6
    assert all(sorted(query for batch in epoch for query in batch) == list(range(18)) for epoch in (batches[:3], batches[3:]))
    assert batches[:3] != batches[3:]
    assert trainer.run("mnr", epochs=2).steps > 6  # one query's negative is another's positive


def test_frozen_layers_stay_bit_for_bit_and_the_rest_learns(trainer: Trainer) -> None:
    trainer.run("bce", frozen_layers=1)
    start, end = weights(trainer.start), trainer.weights()
    frozen = {name for name in start if np.array_equal(start[name], end[name])}
    low = {name for name in start if ".embeddings." in name or ".layer.0." in name}
    assert low and low <= frozen
    learning = {name for name in start if ".layer.1." in name and name.endswith("weight")}
    assert learning and not learning & frozen
    trainer.run("bce", name="all")
    assert sum(np.array_equal(start[name], value) for name, value in trainer.weights("all").items()) < len(low) / 2


@pytest.mark.parametrize("kind", ["shared", "heads", "asymmetric"])
def test_more_frozen_layers_than_there_are_is_an_error(kind: Kind, trainer: Trainer) -> None:
    with pytest.raises(WhetstoneError, match="frozen_layers: 3 is more than the encoder's 2 transformer layers"):
        trainer.run("bce", frozen_layers=3, towers=Towers(kind=kind))


def test_layers_are_not_frozen_where_the_token_embeddings_would_learn() -> None:
    layers = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)])
    model: Any = torch.nn.Sequential(torch.nn.ModuleDict({"shared": torch.nn.Embedding(3, 2), "block": layers}))
    freeze(model, 0)
    with pytest.raises(WhetstoneError, match="frozen_layers: 1 needs a module named embeddings"):
        freeze(model, 1)
    assert all(weight.requires_grad for weight in model.parameters())


def test_rows_are_counted_after_the_librarys_miner(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = stages.training_rows

    def fewer(*told: Any) -> tuple[pd.DataFrame, torch.Tensor | None]:
        rows, relevant = mine(*told)
        return rows.iloc[:7], relevant

    monkeypatch.setattr(stages, "training_rows", fewer)
    assert trainer.run("mnr_baseline", epochs=1).instances == 7 < len(trainer.rows("mnr_baseline"))


def test_the_pull_holds_the_weights_near_their_start(trainer: Trainer) -> None:
    start = weights(trainer.start)

    def distance(**settings: Any) -> float:
        trainer.run("bce", **settings)
        return float(sum(np.square(value - start[name]).sum() for name, value in trainer.weights().items()))

    free, held, tight = distance(), distance(pull_to_start=30.0), distance(pull_to_start=200.0)
    assert 0 < tight < held < free
    assert distance(pull_to_start=1e9) == 0  # a share of the way, never beyond


@pytest.mark.parametrize("loss", ["bce", "mnr", "triplet", "mnr_baseline", "supcon"])
def test_misspelt_queries_reach_the_rows(loss: str, trainer: Trainer) -> None:
    plain = trainer.rows(loss)
    added, replaced = (trainer.rows(loss, spelling=mode, spelling_share=1.0) for mode in ("additive", "in_place"))
    pd.testing.assert_frame_equal(added.head(len(plain)), plain)
    assert len(replaced) == len(plain) and len(added) > len(plain)
    texts = set(plain["query"])
    changed = added.tail(len(added) - len(plain))
    assert not texts & set(changed["query"])
    assert set(changed["query"]) == set(replaced["query"]) - texts
    assert len(trainer.rows(loss, spelling="additive", spelling_share=0.3)) < len(added)


def test_misspelt_queries_train_and_are_counted(trainer: Trainer, material: Material) -> None:
    told: dict[str, Any] = {"spelling": "additive", "spelling_share": 1.0}
    counts = stage_instances(stage("mnr", **told), material, seed=1).counts
    assert counts["query_misspelt"] > 0 and counts["row_misspelt"] > 0
    assert trainer.run("mnr", **told).instances == 18 + counts["row_misspelt"]


@pytest.mark.parametrize("kind", ["heads", "asymmetric"])
def test_both_sides_learn_and_the_next_stage_starts_from_what_was_saved(kind: Kind, trainer: Trainer) -> None:
    towers = Towers(kind=kind, dimensions=8)
    trainer.run("mnr", name="first", towers=towers, learning_rate=1e-3)
    first = load(trainer.folder / "first")
    assert kind_of(first) == kind and first.get_embedding_dimension() == 8
    (router,) = (module for module in first if isinstance(module, Router))
    sides = [router.sub_modules[side].state_dict() for side in ("query", "document")]
    assert not any(torch.equal(sides[0][name], sides[1][name]) for name in sides[0] if name.endswith("linear.weight"))
    trainer.run("supcon", name="second", start=trainer.folder / "first", towers=towers, learning_rate=1e-3)
    second = load(trainer.folder / "second")
    before, after = first.state_dict(), second.state_dict()
    assert before.keys() == after.keys()
    heads = [name for name in before if name.endswith("linear.weight")]
    assert len(heads) == 2 and not any(torch.equal(before[name], after[name]) for name in heads)
    trainer.run("bce", name="third", start=trainer.folder / "second", towers=towers, min_instances=1000)  # skipped
    assert same(trainer.weights("third"), trainer.weights("second"))
    texts = trainer.material.products["text"].tolist()
    for side in ("query", "product"):
        assert not np.allclose(encode(first, texts, side), encode(second, texts, side), atol=1e-3)


def test_layers_of_both_towers_are_frozen(trainer: Trainer) -> None:
    trainer.run("bce", frozen_layers=2, towers=Towers(kind="asymmetric", dimensions=8))
    start, ends = weights(trainer.start), trainer.weights()
    layers = [name for name in ends if ".layer." in name]
    assert len(layers) == 2 * sum(".layer." in name for name in start)
    assert all(any(np.array_equal(ends[name], value) for value in start.values()) for name in layers)


def test_a_static_base_trains(trainer: Trainer) -> None:
    torch.manual_seed(0)
    static = trainer.folder / "static"
    embedding = StaticEmbedding(load(trainer.start).tokenizer, embedding_dim=16)
    SentenceTransformer(modules=[embedding], device="cpu").save_pretrained(str(static), create_model_card=False)
    result = trainer.run("mnr", start=static, learning_rate=1e-2, epochs=4)
    _, losses = zip(*result.loss_curve, strict=True)
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    assert not same(trainer.weights(), weights(static))
    with pytest.raises(WhetstoneError, match="frozen_layers: 1 is more than the encoder's 0"):
        trainer.run("mnr", name="frozen", start=static, frozen_layers=1)
