"""A training that was killed, again and again, ends bit for bit as one that nobody disturbed."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from tests.encoder.training import same, stage, weights

from whetstone.curriculum.material import Material
from whetstone.encoder.best import COMPLETE, BestOnDev, StageResult, last_complete
from whetstone.encoder.dev_evaluator import DevSet
from whetstone.encoder.recipes import Stage, Towers
from whetstone.encoder.stages import stage_instances, train_stage

pytestmark = pytest.mark.usefixtures("one_thread")


class Killed(BaseException):
    """Nobody catches it, and nothing is tidied up after it."""


def die() -> None:
    raise Killed


class Kill:
    """Counts dev evaluations, and dies in the one that is told, or before a checkpoint is completed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, die: Callable[[], None]) -> None:
        self.evaluation: int | None = None
        self.save: str | None = None
        self.seen = 0
        ndcg, save = DevSet.ndcg, torch.save

        def counted(dev: DevSet, model: Any) -> float:
            if self.seen == self.evaluation:
                die()
            self.seen += 1
            return ndcg(dev, model)

        def cut_off(content: Any, path: Any, *args: Any, **kwargs: Any) -> None:
            if self.save and str(path).endswith(self.save):
                die()
            save(content, path, *args, **kwargs)

        monkeypatch.setattr(DevSet, "ndcg", counted)
        monkeypatch.setattr(torch, "save", cut_off)


class Training:
    """One stage over the shop, trained as often as asked for."""

    def __init__(self, stage: Stage, towers: Towers, start: Path, material: Material, dev: DevSet) -> None:
        self.stage, self.towers, self.start, self.dev = stage, towers, start, dev
        self.catalog = material.products["text"].tolist()
        self.rows: pd.DataFrame = stage_instances(stage, material, seed=1).frame

    def run(self, folder: Path, resume: Path | None = None) -> StageResult:
        settings: dict[str, Any] = {"seed": 1, "device": "cpu", "resume": resume, "towers": self.towers, "catalog": self.catalog}
        return train_stage(folder, self.start, self.stage, self.rows, self.dev, **settings)


# checkpoints in the first epoch and in later ones; with bce a loss is logged every 2 steps, and a checkpoint lies between two
CASES: dict[str, tuple[dict[str, Any], Towers]] = {
    "mnr": ({"max_steps": 17}, Towers()),
    "bce": ({"max_steps": 54, "weight_averaging": 0.5, "pull_to_start": 20.0, "frozen_layers": 1}, Towers()),
    "supcon": ({"max_steps": 13, "learning_rate": 1e-3}, Towers(kind="heads", dimensions=8)),
}


@pytest.mark.parametrize("loss", CASES)
def test_kills_change_nothing(
    loss: str, tiny_encoder: Path, material: Material, dev: DevSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, towers = CASES[loss]
    training = Training(stage(loss, epochs=30, evaluations=4, **settings), towers, tiny_encoder, material, dev)
    undisturbed = training.run(tmp_path / "undisturbed")
    start, first, second, third, last = (step for step, _ in undisturbed.dev_curve)
    assert (start, last) == (0, training.stage.max_steps)
    points = [step for step, _ in undisturbed.loss_curve]
    assert {first, second, third, last} <= set(points) and (len(points) < last) == (loss == "bce")
    folder, resume = tmp_path / "killed", tmp_path / "resume"
    kill = Kill(monkeypatch, die)

    def killed(evaluation: int | None = None, save: str | None = None) -> int:
        """How many evaluations it came through until then."""
        kill.evaluation, kill.save, kill.seen = evaluation, save, 0
        with pytest.raises(Killed):
            training.run(folder, resume)
        return kill.seen

    assert killed(evaluation=1) == 1 and last_complete(resume) is None  # before the first checkpoint: from the beginning
    assert killed(evaluation=2) == 2 and last_complete(resume) == resume / f"checkpoint-{first}"
    assert killed(save="loss.pt") == 1  # half-way through writing the second: the one before it counts
    assert (resume / f"checkpoint-{second}/best").exists() and last_complete(resume) == resume / f"checkpoint-{first}"
    shutil.rmtree(folder)  # whoever asked for it begins in an empty folder
    assert killed(evaluation=2) == 2 and last_complete(resume) == resume / f"checkpoint-{third}"
    assert len(list(resume.glob("checkpoint-*"))) == 2  # older ones went
    kill.evaluation, kill.save, kill.seen = None, None, 0
    result = training.run(folder, resume)
    assert kill.seen == 1
    assert result == undisturbed
    assert result.learned.keys() == {"mnr": set(), "bce": {"log_scale"}, "supcon": {"log_temperature"}}[loss]
    assert same(weights(folder), weights(tmp_path / "undisturbed"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a process that used a GPU can't be forked")
def test_a_process_that_was_really_killed_is_taken_up(
    tiny_encoder: Path, material: Material, dev: DevSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training(stage(max_steps=9, evaluations=3, epochs=4), Towers(), tiny_encoder, material, dev)
    undisturbed = training.run(tmp_path / "undisturbed")
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(60)
            Kill(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGKILL)).evaluation = 2
            training.run(tmp_path / "killed", tmp_path / "resume")
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert last_complete(tmp_path / "resume") == tmp_path / "resume/checkpoint-3"
    assert training.run(tmp_path / "killed", tmp_path / "resume") == undisturbed
    assert same(weights(tmp_path / "killed"), weights(tmp_path / "undisturbed"))


def test_what_the_loss_learned_on_a_gpu_is_taken_up_without_one(dev: DevSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoint/best").mkdir(parents=True)
    (tmp_path / "checkpoint" / COMPLETE).write_text("{}")
    nothing: Any = SimpleNamespace()
    load, choice = torch.load, BestOnDev(nothing, dev, stage(), tmp_path / "out", StageResult(0), False)
    learned = torch.nn.Linear(1, 1).state_dict()
    torch.save(learned, tmp_path / "checkpoint/loss.pt")
    choice.loss = torch.nn.Linear(1, 1)

    def without_gpu(path: Path, map_location: str | None = None) -> Any:
        if map_location != "cpu":
            raise RuntimeError("attempting to deserialize an object on a CUDA device")
        return load(path, map_location=map_location)

    monkeypatch.setattr(torch, "load", without_gpu)
    choice.resume(tmp_path / "checkpoint")
    assert all(torch.equal(value, learned[name]) for name, value in choice.loss.state_dict().items())


def test_the_latest_complete_checkpoint_is_the_one_with_the_highest_step(tmp_path: Path) -> None:
    assert last_complete(tmp_path / "nowhere") is None
    for step in (9, 100, 20):
        (tmp_path / f"checkpoint-{step}").mkdir()
    assert last_complete(tmp_path) is None
    for step in (9, 20):
        (tmp_path / f"checkpoint-{step}" / COMPLETE).touch()
    assert last_complete(tmp_path) == tmp_path / "checkpoint-20"
