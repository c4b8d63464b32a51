"""One stage of a recipe: warm start, training with sentence-transformers' trainer, best checkpoint on dev queries.

Notable:
- The start itself is judged first (step 0). If no checkpoint beats it, its weights are what the stage returns: with a few thousand labels
  training often makes a good base encoder worse, and a stage must not be able to do harm on dev.
- With `weight_averaging` = a the weights that are judged and kept are (1 - a) * trained + a * start (Wortsman et al., WiSE-FT, arXiv
  2109.01903); training itself goes on from the trained ones.
- Too few rows: the stage is skipped, the weights pass through, and the result says why.
- The result folder holds an ordinary sentence-transformers model and nothing else; it is rewritten whenever a checkpoint is better, so no
  second copy of the weights is held in memory.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from tqdm import tqdm
from transformers import PrinterCallback, ProgressCallback, TrainerCallback

from whetstone.curriculum.instances import Instances, Material, bce_instances, mnr_instances, text_columns, triplet_instances
from whetstone.encoder.dev_evaluator import DevSet
from whetstone.encoder.losses import build_loss
from whetstone.encoder.recipes import Stage
from whetstone.encoder.samplers import conflict_free
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.precision import has_bf16, pick_device
from whetstone.platform.weights import encoder_folder

BUILDERS = {"bce": bce_instances, "mnr": mnr_instances, "triplet": triplet_instances}


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


def stage_instances(stage: Stage, material: Material, seed: int) -> Instances:
    """The training rows that a stage declares."""
    return BUILDERS[stage.loss](
        material,
        seed=seed,
        positives=stage.positives,
        positive_grade=stage.positive_grade,
        negatives=stage.negatives,
        negatives_per_positive=stage.negatives_per_positive,
    )


def train_stage(
    folder: Path,
    start: str | Path,
    stage: Stage,
    instances: pd.DataFrame,
    dev: DevSet | None,
    *,
    seed: int,
    device: str = "auto",
    progress: bool = False,
) -> StageResult:
    """Train the model in `start` on rows of `stage_instances` and leave the weights that are best on `dev` in `folder`.

    `seed` is that of shuffling and dropout: same seed, same weights (on one thread and the same machine).
    WhetstoneError: there is no such start, or the loss became infinite or not a number.
    """
    # a model of its own: `load_encoder` shares what it loads, and training changes the weights in place
    model = SentenceTransformer(str(encoder_folder(str(start))), device=pick_device(device))
    result = StageResult(len(instances))
    if dev is None:
        result.skipped = "no dev query has a graded product, so no checkpoint can be chosen: the weights of the start pass through"
        model.save_pretrained(str(folder), create_model_card=False)
        return result
    choice = _BestOnDev(model, dev, stage, folder, result, progress)
    choice.judge(0)
    if len(instances) < stage.min_instances:
        few = f"{len(instances)} instances are fewer than min_instances = {stage.min_instances}"
        result.skipped = f"{few}: the weights of the start pass through"
    else:
        result.learned = _train(model, stage, instances, choice, seed)
    return result


def _train(model: SentenceTransformer, stage: Stage, instances: pd.DataFrame, choice: _BestOnDev, seed: int) -> dict[str, float]:
    """Run the trainer; the parameters that the loss itself learned."""
    loss = build_loss(model, stage)
    own = {name: parameter for name, parameter in loss.named_parameters() if not name.startswith("model.")}
    is_cpu = model.device.type == "cpu"
    with tempfile.TemporaryDirectory() as scratch, torch.random.fork_rng(devices=[]):
        arguments = SentenceTransformerTrainingArguments(
            output_dir=scratch,
            seed=seed,
            use_cpu=is_cpu,
            bf16=has_bf16(model.device.type),
            num_train_epochs=stage.epochs,
            per_device_train_batch_size=stage.batch_size,
            learning_rate=stage.learning_rate,
            learning_rate_mapping={f"^{name}$": stage.scale_learning_rate for name in own},
            warmup_steps=stage.warmup_ratio,
            lr_scheduler_type="linear",
            batch_sampler=conflict_free(instances) if stage.loss == "mnr" else "batch_sampler",
            dataloader_pin_memory=not is_cpu,
            logging_steps=0.02,
            logging_nan_inf_filter=False,
            save_strategy="no",
            eval_strategy="no",
            report_to="none",
        )
        columns = [*text_columns(instances), *(["label"] if "label" in instances else [])]
        dataset = Dataset.from_pandas(instances[columns], preserve_index=False)
        trainer = _Trainer(model=model, args=arguments, train_dataset=dataset, loss=loss, callbacks=[choice])
        trainer.data_collator.max_length = min(stage.max_length, model.max_seq_length or stage.max_length)
        for callback in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(callback)
        steps = stage.epochs * len(trainer.get_train_dataloader())
        arguments.max_steps = min(steps, stage.max_steps or steps)
        trainer.train()
    return {name: parameter.item() for name, parameter in own.items()}


class _Trainer(SentenceTransformerTrainer):
    """The library's trainer, without its model card."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """None: the card looks up data sets and base models on the hub."""


class _BestOnDev(TrainerCallback):
    """Judges the weights on dev at evenly spread steps, keeps the best in `folder`, collects both curves and shows progress."""

    def __init__(self, model: SentenceTransformer, dev: DevSet, stage: Stage, folder: Path, result: StageResult, progress: bool) -> None:
        self.model, self.dev, self.stage, self.folder, self.result, self.progress = model, dev, stage, folder, result, progress
        self.start = {name: weight.detach().clone() for name, weight in model.named_parameters()} if stage.weight_averaging else {}

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

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Plan the evaluations, now that the number of steps is known."""
        count = self.stage.evaluations_per_epoch * self.stage.epochs
        self.when = {math.ceil(state.max_steps * (part + 1) / count) for part in range(count)}
        self.bar = tqdm(total=state.max_steps, desc=self.stage.name, unit="step", disable=not self.progress)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar.update()
        if state.global_step in self.when:
            self.judge(state.global_step)
            self.bar.set_postfix({"ndcg@10": f"{self.result.dev_curve[-1][1]:.4f}", "best": f"{self.result.dev_metric:.4f}"})

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        """Collect the loss; a broken one ends the training instead of spoiling the weights in silence."""
        if "loss" in logs:
            if not math.isfinite(logs["loss"]):
                problem = f"the loss is {logs['loss']} at step {state.global_step}; lower its learning_rate"
                raise WhetstoneError(f"stage {self.stage.name}: {problem}")
            self.result.loss_curve.append((state.global_step, logs["loss"]))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar.close()


@contextmanager
def averaged(model: SentenceTransformer, start: dict[str, torch.Tensor], share: float) -> Iterator[None]:
    """Within the block the weights named in `start` are (1 - share) * own + share * start; afterwards exactly the model's own again."""
    weights = {name: weight.data for name, weight in model.named_parameters() if name in start}
    own = {name: weight.clone() for name, weight in weights.items()}
    for name, weight in weights.items():
        weight.lerp_(start[name], share)
    try:
        yield
    finally:
        for name, weight in weights.items():
            weight.copy_(own[name])
