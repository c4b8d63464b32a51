"""The trainer's companion: judges the weights on dev, keeps the best, holds them near their start, and makes a killed training resumable.

A checkpoint of the trainer has its weights, optimiser, schedule and random states. Beside them lie what the trainer doesn't know: the best
weights so far, both curves and what the loss itself learned. Its last file says that it is complete; one without is ignored. A training
that is taken up from it ends with the same weights, bit for bit, as one that nobody disturbed (on one thread).
"""

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Router
from torch import nn
from tqdm import tqdm
from transformers import TrainerCallback

from whetstone.encoder.dev_evaluator import DevSet
from whetstone.encoder.recipes import Stage
from whetstone.platform.errors import WhetstoneError

COMPLETE = "whetstone.json"


@dataclass
class StageResult:
    """What a stage did; curves are (step, value), `learned` are the parameters of the loss itself."""

    instances: int
    loss_curve: list[tuple[int, float]] = field(default_factory=list)
    dev_curve: list[tuple[int, float]] = field(default_factory=list)
    best_step: int = 0
    dev_metric: float = -1.0  # under any NDCG: nothing was measured
    steps: int = 0
    skipped: str | None = None
    learned: dict[str, float] = field(default_factory=dict)


class BestOnDev(TrainerCallback):
    """Judges the weights on dev at evenly spread steps, keeps the best in `folder`, collects both curves and shows progress."""

    def __init__(self, model: SentenceTransformer, dev: DevSet, stage: Stage, folder: Path, result: StageResult, progress: bool) -> None:
        self.model, self.dev, self.stage, self.folder, self.result, self.progress = model, dev, stage, folder, result, progress
        self.loss: nn.Module | None = None
        is_held = stage.weight_averaging or stage.pull_to_start
        self.start = {name: weight.detach().clone() for name, weight in model.named_parameters()} if is_held else {}

    def judge(self, step: int) -> None:
        """Evaluate and, if better than everything before, save. Equally good later weights are not better."""
        training = self.model.training
        with averaged(self.model, self.start, self.stage.weight_averaging):
            value = self.dev.ndcg(self.model)
            self.result.dev_curve.append((step, value))
            self.result.steps = step
            if value > self.result.dev_metric:
                self.result.dev_metric, self.result.best_step = value, step
                self.model.save_pretrained(str(self.folder), create_model_card=False)
        self.model.train(training)

    def resume(self, checkpoint: Path) -> None:
        """Take up what `on_save` left."""
        for name, value in json.loads((checkpoint / COMPLETE).read_text()).items():
            setattr(self.result, name, [tuple(point) for point in value] if name.endswith("curve") else value)
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(checkpoint / "best", self.folder)
        if self.loss is not None:
            self.loss.load_state_dict(torch.load(checkpoint / "loss.pt", map_location="cpu"), strict=False)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Plan the evaluations, now that the number of steps is known."""
        count = self.stage.evaluations
        self.when = {math.ceil(state.max_steps * (part + 1) / count) for part in range(count)}
        self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc=self.stage.name, unit="step", disable=not self.progress)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Pull the weights towards the start, by this step's learning rate."""
        if self.stage.pull_to_start:
            share = min(1.0, kwargs["optimizer"].param_groups[0]["lr"] * self.stage.pull_to_start)
            for name, weight in self.model.named_parameters():
                weight.data.lerp_(self.start[name], share)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Judge the weights where it is time, and ask for a checkpoint then."""
        self.bar.update()
        if state.global_step in self.when:
            control.should_log = True  # the trainer's sum of losses is not in its checkpoint, so it is emptied before one
            self.judge(state.global_step)
            self.bar.set_postfix({"ndcg@10": f"{self.result.dev_curve[-1][1]:.4f}", "best": f"{self.result.dev_metric:.4f}"})
            control.should_save = bool(args.save_total_limit) and state.global_step < state.max_steps

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Complete the trainer's checkpoint with what it doesn't know."""
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        shutil.copytree(self.folder, checkpoint / "best", dirs_exist_ok=True)  # one that was cut off may lie there
        torch.save(own_parameters(self.loss), checkpoint / "loss.pt")
        (checkpoint / "partial.json").write_text(json.dumps(asdict(self.result)))
        (checkpoint / "partial.json").replace(checkpoint / COMPLETE)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        """Collect the loss; WhetstoneError: it is not finite, and would spoil the weights in silence."""
        if "loss" in logs:
            if not math.isfinite(logs["loss"]):
                problem = f"the loss is {logs['loss']} at step {state.global_step}; lower its learning_rate"
                raise WhetstoneError(f"stage {self.stage.name}: {problem}")
            self.result.loss_curve.append((state.global_step, logs["loss"]))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the progress bar."""
        self.bar.close()


def own_parameters(loss: nn.Module | None) -> dict[str, torch.Tensor]:
    """What the loss learns besides the model's weights."""
    found = {} if loss is None else dict(loss.named_parameters())
    return {name: parameter.detach() for name, parameter in found.items() if not name.startswith("model.")}


def last_complete(folder: Path) -> Path | None:
    """The latest complete checkpoint under a training folder."""
    found = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(found, key=lambda path: int(path.name.split("-")[1]), default=None)


def freeze(model: SentenceTransformer, layers: int) -> None:
    """Keep the token embeddings and the lowest transformer layers as they are; WhetstoneError: it lacks them."""
    for tower in model[0].sub_modules.values() if isinstance(model[0], Router) else [model]:
        stack = next((module for module in tower.modules() if isinstance(module, nn.ModuleList)), ())
        if layers > len(stack):
            raise WhetstoneError(f"frozen_layers: {layers} is more than the encoder's {len(stack)} transformer layers; lower it")
        embeddings = [module for name, module in tower.named_modules() if name.split(".")[-1] == "embeddings"]
        if layers and not embeddings:
            raise WhetstoneError(f"frozen_layers: {layers} needs a module named embeddings, and the encoder has none; set it to 0")
        for module in [*embeddings, *stack[:layers]] if layers else []:
            module.requires_grad_(False)


@contextmanager
def averaged(model: SentenceTransformer, start: dict[str, torch.Tensor], share: float) -> Iterator[None]:
    """Within the block the weights named in `start` are (1 - share) * own + share * start; afterwards exactly the model's own again."""
    weights = {name: weight.data for name, weight in model.named_parameters() if name in start} if share else {}
    own = {name: weight.clone() for name, weight in weights.items()}
    for name, weight in weights.items():
        weight.lerp_(start[name], share)
    try:
        yield
    finally:
        for name, weight in weights.items():
            weight.copy_(own[name])
