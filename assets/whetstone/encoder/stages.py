"""One stage of a recipe: warm start, training with sentence-transformers' trainer, best checkpoint on dev queries.

Notable:
- The start itself is judged first (step 0). If no checkpoint beats it, its weights are what the stage returns: with a few thousand labels
  training often makes a good base encoder worse, and a stage must not be able to do harm on dev.
- With `weight_averaging` = a the weights that are judged and kept are (1 - a) * trained + a * start (Wortsman et al., WiSE-FT, arXiv
  2109.01903); training itself goes on from the trained ones. `pull_to_start` is L2-SP (Li et al. 2018, arXiv 1802.01483), decoupled from
  the gradient as AdamW's decay is.
- Too few rows: the stage is skipped, the weights pass through, and the result says why.
- The result folder holds an ordinary sentence-transformers model and nothing else; it is rewritten whenever a checkpoint is better, so no
  second copy of the weights is held in memory.
"""

import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from transformers import PrinterCallback, ProgressCallback

from whetstone.curriculum.instances import Instances, bce_instances, mnr_instances, text_columns, triplet_instances
from whetstone.curriculum.lists import list_instances
from whetstone.curriculum.material import Material
from whetstone.curriculum.spelling import with_spelling
from whetstone.encoder.best import BestOnDev, StageResult, freeze, last_complete, own_parameters
from whetstone.encoder.dev_evaluator import DevSet
from whetstone.encoder.losses import build_loss
from whetstone.encoder.recipes import Stage, Towers
from whetstone.encoder.rows import training_rows
from whetstone.encoder.samplers import conflict_free
from whetstone.encoder.towers import column_prompts, router_mapping, shape_towers
from whetstone.platform.precision import has_bf16, pick_device
from whetstone.platform.weights import encoder_folder

BUILDERS = {"bce": bce_instances, "mnr": mnr_instances, "mnr_baseline": mnr_instances, "triplet": triplet_instances}
SHAPES = Towers()


def stage_instances(stage: Stage, material: Material, seed: int) -> Instances:
    """The training rows that a stage declares."""
    if stage.loss in BUILDERS:
        made = BUILDERS[stage.loss](
            material,
            seed=seed,
            positives=stage.positives,
            positive_grade=stage.positive_grade,
            negatives=stage.negatives,
            negatives_per_positive=stage.negatives_per_positive if stage.negatives else 0,
        )
    else:
        made = list_instances(material, seed=seed, lists=stage.lists, list_size=stage.list_size, lists_per_query=stage.lists_per_query)
    frame, misspelt = with_spelling(made.frame, stage.spelling, seed, stage.spelling_share)
    return Instances(frame, {**made.counts, **misspelt})


def train_stage(
    folder: Path,
    start: str | Path,
    stage: Stage,
    instances: pd.DataFrame,
    dev: DevSet | None,
    *,
    seed: int,
    towers: Towers = SHAPES,
    catalog: Sequence[str] = (),
    resume: Path | None = None,
    device: str = "auto",
    progress: bool = False,
) -> StageResult:
    """Train the model in `start` on rows of `stage_instances` and leave the weights that are best on `dev` in `folder`.

    `seed` is that of shuffling and dropout: same seed, same weights (on one thread and the same machine). `towers` shape the start,
    `catalog` are product texts (for projections, and for sentence-transformers' miner in `mnr_baseline`). In the folder `resume`
    checkpoints are kept, and a training that was killed goes on from the last.
    WhetstoneError: there is no such start, it doesn't fit the towers or the stage, or the loss became infinite or not a number.
    """
    # a model of its own: `load_encoder` shares what it loads, and training changes the weights in place
    model = SentenceTransformer(str(encoder_folder(str(start))), device=pick_device(device)).float()
    model = shape_towers(model, towers.kind, towers.dimensions, catalog)
    result = StageResult(len(instances))
    if dev is None:
        result.skipped = "no dev query has a graded product, so no checkpoint can be chosen: the weights of the start pass through"
        model.save_pretrained(str(folder), create_model_card=False)
        return result
    choice = BestOnDev(model, dev, stage, folder, result, progress)
    checkpoint = last_complete(resume) if resume else None
    if checkpoint is None:
        choice.judge(0)
    # the library's miner drops rows, so they are counted after it too
    rows, relevant = training_rows(stage, instances, model, catalog) if len(instances) >= stage.min_instances else (instances, None)
    result.instances = len(rows)
    if len(rows) < stage.min_instances:
        few = f"{len(rows)} instances are fewer than min_instances = {stage.min_instances}"
        result.skipped = f"{few}: the weights of the start pass through"
        return result
    freeze(model, stage.frozen_layers)
    choice.loss = loss = build_loss(model, stage, relevant)
    if checkpoint:
        choice.resume(checkpoint)
    with nullcontext(str(resume)) if resume else tempfile.TemporaryDirectory() as scratch, torch.random.fork_rng(devices=[]):
        trainer = _trainer(model, stage, rows, choice, seed, scratch, 2 if resume else None)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    result.learned = {name: parameter.item() for name, parameter in own_parameters(loss).items()}
    return result


def _trainer(
    model: SentenceTransformer, stage: Stage, rows: pd.DataFrame, choice: BestOnDev, seed: int, scratch: str, checkpoints: int | None
) -> SentenceTransformerTrainer:
    """The library's trainer, set up as the stage declares; `checkpoints` are kept in `scratch`."""
    is_cpu = model.device.type == "cpu"
    columns = text_columns(rows)
    batches = conflict_free(rows) if stage.loss == "mnr" and stage.batches == "conflict_free" else "batch_sampler"
    arguments = SentenceTransformerTrainingArguments(
        output_dir=scratch,
        seed=seed,
        use_cpu=is_cpu,
        bf16=has_bf16(model.device.type),
        num_train_epochs=stage.epochs,
        per_device_train_batch_size=stage.batch_size,
        learning_rate=stage.learning_rate,
        learning_rate_mapping={f"^{name}$": stage.learned_rate for name in own_parameters(choice.loss)},
        warmup_steps=stage.warmup_ratio,
        lr_scheduler_type="linear",
        batch_sampler="no_duplicates" if stage.loss == "mnr_baseline" else batches,
        router_mapping=router_mapping(model, columns),
        prompts=column_prompts(model, columns) or None,
        dataloader_pin_memory=not is_cpu,
        logging_steps=0.02,
        logging_nan_inf_filter=False,
        save_strategy="no",  # `BestOnDev` says when
        save_total_limit=checkpoints,
        eval_strategy="no",
        report_to="none",
    )
    dataset = Dataset.from_pandas(rows[[*columns, *(["label"] if "label" in rows else [])]], preserve_index=False)
    trainer = _Trainer(model=model, args=arguments, train_dataset=dataset, loss=choice.loss, callbacks=[choice])
    trainer.data_collator.max_length = min(stage.max_length, model.max_seq_length or stage.max_length)
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    steps = stage.epochs * len(trainer.get_train_dataloader())
    arguments.max_steps = min(steps, stage.max_steps or steps)
    return trainer


class _Trainer(SentenceTransformerTrainer):
    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """None: the card looks up data sets and base models on the hub."""
