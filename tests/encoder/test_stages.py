"""Training a stage: it learns, never returns anything worse than its start, skips, averages, repeats itself and leaves nothing behind."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sentence_transformers import SentenceTransformer
from tests.encoder.training import same, stage, weights

from whetstone.curriculum.material import Material
from whetstone.encoder import stages
from whetstone.encoder.best import averaged
from whetstone.encoder.dev_evaluator import DevSet
from whetstone.encoder.recipes import Stage
from whetstone.encoder.stages import stage_instances, train_stage
from whetstone.platform.errors import WhetstoneError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("loss", ["bce", "mnr", "triplet"])
def test_the_kept_weights_are_the_best_that_dev_saw(
    loss: str, tiny_encoder: Path, material: Material, dev: DevSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = stage_instances(stage(loss), material, seed=1).frame
    result = train_stage(tmp_path / "out", tiny_encoder, stage(loss), rows, dev, seed=1, device="cpu")
    curve = dict(result.dev_curve)
    assert (min(curve), max(curve)) == (0, result.steps)
    assert result.dev_metric == curve[result.best_step] == max(curve.values())
    assert result.instances == len(rows) and result.skipped is None
    kept = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    assert dev.ndcg(kept) == pytest.approx(result.dev_metric, abs=1e-6)
    steps, losses = zip(*result.loss_curve, strict=True)
    assert steps[-1] == result.steps
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # nothing in the working directory
    assert not any(path.name in ("README.md", "training_args.bin") for path in (tmp_path / "out").rglob("*"))


def test_a_start_that_no_checkpoint_beats_is_returned_unchanged(
    tiny_encoder: Path, material: Material, dev: DevSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([0.5, 0.5, 0.4])
    monkeypatch.setattr(DevSet, "ndcg", lambda self, model: next(values))
    rows = stage_instances(stage(), material, seed=1).frame
    result = train_stage(tmp_path / "out", tiny_encoder, stage(), rows, dev, seed=1, device="cpu")
    assert (result.best_step, result.dev_metric) == (0, 0.5)
    assert same(weights(tmp_path / "out"), weights(tiny_encoder))


def test_too_few_instances_skip_the_stage_with_a_reason(tiny_encoder: Path, material: Material, dev: DevSet, tmp_path: Path) -> None:
    rows = stage_instances(stage(), material, seed=1).frame
    result = train_stage(tmp_path / "out", tiny_encoder, stage(min_instances=len(rows) + 1), rows, dev, seed=1, device="cpu")
    assert result.skipped and str(len(rows)) in result.skipped and "min_instances" in result.skipped
    assert (result.steps, result.best_step, result.loss_curve) == (0, 0, [])
    assert same(weights(tmp_path / "out"), weights(tiny_encoder))
    empty = train_stage(tmp_path / "none", tiny_encoder, stage(min_instances=1), rows.head(0), dev, seed=1, device="cpu")
    assert empty.skipped


def test_same_seed_same_weights(tiny_encoder: Path, material: Material, dev: DevSet, tmp_path: Path) -> None:
    rows = stage_instances(stage(), material, seed=1).frame
    state = torch.random.get_rng_state()
    results = [
        train_stage(tmp_path / name, tiny_encoder, stage(), rows, dev, seed=seed, device="cpu")
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert results[0] == results[1]
    assert results[0].loss_curve != results[2].loss_curve
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert torch.equal(state, torch.random.get_rng_state())


def test_max_steps_ends_the_schedule_and_evaluations_are_spread_over_it(
    tiny_encoder: Path, material: Material, dev: DevSet, tmp_path: Path
) -> None:
    rows = stage_instances(stage("bce"), material, seed=1).frame
    short = stage("bce", max_steps=4, epochs=3)
    result = train_stage(tmp_path / "out", tiny_encoder, short, rows, dev, seed=1, device="cpu")
    assert result.steps == 4
    assert [step for step, _ in result.dev_curve] == [0, 2, 4]
    assert result.learned["log_scale"] != pytest.approx(np.log(20), abs=1e-4)


def test_rows_of_one_query_never_share_a_batch_of_the_in_batch_softmax(
    tiny_encoder: Path, material: Material, dev: DevSet, tmp_path: Path
) -> None:
    rows = stage_instances(stage(), material, seed=1).frame.head(5).assign(query="red mug")
    result = train_stage(tmp_path / "out", tiny_encoder, stage(epochs=1), rows, dev, seed=1, device="cpu")
    assert result.steps == len(rows)  # and not one batch of five


def test_max_length_cuts_texts_in_training_and_not_in_the_saved_model(
    tiny_encoder: Path, material: Material, dev: DevSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: set[int] = set()
    build = stages.build_loss

    def watched(model: SentenceTransformer, stage: Stage, relevant: torch.Tensor | None) -> torch.nn.Module:
        loss = build(model, stage, relevant)
        loss.register_forward_pre_hook(lambda _, inputs: lengths.update(column["input_ids"].shape[1] for column in inputs[0]))
        return loss

    monkeypatch.setattr(stages, "build_loss", watched)
    rows = stage_instances(stage(), material, seed=1).frame
    rows["product"] = "red mug for women " * 5
    train_stage(tmp_path / "out", tiny_encoder, stage(max_length=10), rows, dev, seed=1, device="cpu")
    assert max(lengths) == 10
    limits = [SentenceTransformer(str(folder), device="cpu").max_seq_length for folder in (tmp_path / "out", tiny_encoder)]
    assert limits[0] == limits[1]


def test_averaging_is_judged_and_kept_while_training_goes_on_from_the_trained_weights(
    tiny_encoder: Path, material: Material, dev: DevSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = stage_instances(stage(), material, seed=1).frame
    rising = iter(range(100))
    monkeypatch.setattr(DevSet, "ndcg", lambda self, model: float(next(rising)))
    plain = train_stage(tmp_path / "plain", tiny_encoder, stage(), rows, dev, seed=1, device="cpu")
    half = train_stage(tmp_path / "half", tiny_encoder, stage(weight_averaging=0.25), rows, dev, seed=1, device="cpu")
    assert plain.loss_curve == half.loss_curve
    start, trained, kept = (weights(folder) for folder in (tiny_encoder, tmp_path / "plain", tmp_path / "half"))
    for name in start:
        np.testing.assert_allclose(kept[name], 0.75 * trained[name] + 0.25 * start[name], atol=1e-6)


def test_averaging_restores_the_weights_exactly_even_after_an_error(tiny_encoder: Path) -> None:
    model = SentenceTransformer(str(tiny_encoder), device="cpu")
    own = {name: value.clone() for name, value in model.state_dict().items()}
    zeros = {name: torch.zeros_like(value) for name, value in model.named_parameters()}
    with pytest.raises(RuntimeError), averaged(model, zeros, 0.3):
        name, weight = next(iter(model.named_parameters()))
        torch.testing.assert_close(weight, 0.7 * own[name])
        raise RuntimeError
    assert all(torch.equal(value, own[name]) for name, value in model.state_dict().items())


def test_a_broken_loss_is_an_error_and_leaves_no_scratch_folder(
    tiny_encoder: Path, material: Material, dev: DevSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setattr(stages, "build_loss", lambda model, stage, relevant: _NanLoss(model))
    rows = stage_instances(stage(), material, seed=1).frame
    with pytest.raises(WhetstoneError, match="stage encoder_s: the loss is nan at step 1"):
        train_stage(tmp_path / "out", tiny_encoder, stage(), rows, dev, seed=1, device="cpu")
    assert not list(scratch.iterdir())


def test_an_unknown_start_is_an_error(material: Material, dev: DevSet, tmp_path: Path) -> None:
    with pytest.raises(WhetstoneError, match="nowhere"):
        train_stage(tmp_path / "out", tmp_path / "nowhere", stage(), pd.DataFrame(), dev, seed=1)


class _NanLoss(torch.nn.Module):
    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Any, labels: Any) -> torch.Tensor:
        return self.model(features[0])["sentence_embedding"].sum() * float("nan")
