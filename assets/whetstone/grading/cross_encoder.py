"""The local annotator: a cross-encoder that reads query and product together and emits a probability per level of the guideline.

It starts from the base encoder's weights (the cascade's first, cheap stage in [A2], arXiv 2606.25871), gets a fresh head with one
class a level (best first) and is fine-tuned on human judgments of *train* queries; the checkpoint with the least cross entropy on
*dev* queries is kept, because what is built on it trusts its confidence: the largest probability. (Macro F1 was tried: on 19 dev
queries it chose noise, and class weights made the confidence worthless.)

Pairs are cut at 128 tokens (fewer if the base reads fewer): a query and a product text of title and category need 40 on average.
Answers are a function of the pair up to rounding: batches are padded to their longest pair, which moves a bf16 probability in the
third decimal.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.cross_encoder import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers.cross_encoder.losses import CrossEntropyLoss
from transformers import EarlyStoppingCallback, set_seed

from whetstone.grading.agreement import accuracy, agreement, macro_f1
from whetstone.grading.annotator import make_answers
from whetstone.grading.guideline import Guideline
from whetstone.platform.compute import map_batches
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.precision import half_precision, has_bf16

MAX_TOKENS = 128
SCORE_BATCH = 64
SORTED_PAIRS = 8192  # `predict` batches pairs of similar length among so many, so that little is padded
CHECKS_PER_EPOCH = 2  # looks at the dev queries
PATIENCE = 3  # looks without a lower loss before training stops


def train_cross_encoder(
    folder: Path,
    base: str | Path,
    train: pd.DataFrame,
    dev: pd.DataFrame,
    guideline: Guideline,
    *,
    seed: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    device: str,
) -> dict[str, Any]:
    """Fine-tune the encoder in folder `base` on judged pairs (query, text, grade) and save it so that it reloads from its folder.

    Cross entropy, AdamW, 10 % warm-up to `learning_rate`, linear decay, bf16 autocast where the hardware has it. Pairs of `dev`
    queries choose the checkpoint and may end the training before `epochs` are over.

    Returns:
        `loss` (list of epoch, loss), `dev_curve` (list of epoch, loss, accuracy, macro_f1), `dev` (agreement of the chosen
        checkpoint, see `agreement.agreement`), `train_pairs`.

    Raises:
        WhetstoneError: No pairs to train on or to choose by, or a grade that the guideline doesn't have.
    """
    train_classes, dev_classes = _classes(train, "train", guideline), _classes(dev, "dev", guideline)
    set_seed(seed)
    model = CrossEncoder(str(base), num_labels=len(guideline.levels), device=device, local_files_only=True)
    model.max_seq_length = min(MAX_TOKENS, model.max_seq_length or MAX_TOKENS)  # a base may have fewer positions
    check_dev = _DevCheck(dev, dev_classes, device)
    steps_per_epoch = -(-len(train) // batch_size)
    check_steps = max(1, steps_per_epoch // CHECKS_PER_EPOCH)
    with tempfile.TemporaryDirectory(prefix="whetstone-") as scratch:
        trainer = CrossEncoderTrainer(
            model=model,
            args=CrossEncoderTrainingArguments(
                output_dir=scratch,
                num_train_epochs=epochs,
                per_device_train_batch_size=batch_size,
                learning_rate=learning_rate,
                warmup_steps=int(0.1 * steps_per_epoch * epochs),
                bf16=has_bf16(device),
                use_cpu=device == "cpu",
                seed=seed,
                data_seed=seed,
                eval_strategy="steps",
                eval_steps=check_steps,
                save_strategy="steps",
                save_steps=check_steps,
                save_total_limit=1,
                save_only_model=True,
                load_best_model_at_end=True,
                metric_for_best_model=check_dev.primary_metric,
                greater_is_better=check_dev.greater_is_better,
                logging_steps=check_steps,
                report_to="none",
            ),
            train_dataset=Dataset.from_dict({"query": train["query"].tolist(), "text": train["text"].tolist(), "label": train_classes}),
            loss=CrossEntropyLoss(model),
            evaluator=check_dev,
            callbacks=[EarlyStoppingCallback(PATIENCE)],
        )
        trainer.train()
    model.save_pretrained(str(folder), create_model_card=False)
    probabilities = _probabilities(model, dev, device)
    grades, log = np.array(guideline.grades), trainer.state.log_history
    curve = {name: f"eval_{name}" for name in ("loss", "accuracy", "macro_f1")}
    return {
        "loss": [{"epoch": row["epoch"], "loss": row["loss"]} for row in log if "loss" in row],
        "dev_curve": [{"epoch": r["epoch"], **{name: r[key] for name, key in curve.items()}} for r in log if "eval_accuracy" in r],
        "dev": agreement(grades[dev_classes], grades[probabilities.argmax(axis=1)], probabilities.max(axis=1), guideline),
        "train_pairs": len(train),
    }


class CrossEncoderAnnotator:
    """Answers with the likeliest level of a trained cross-encoder; costs no money."""

    name = "cross_encoder"

    def __init__(self, folder: Path, guideline: Guideline, version: str, device: str = "cpu") -> None:
        """Load what `train_cross_encoder` wrote to `folder` with the same guideline; `version` is the folder's content hash.

        Raises:
            WhetstoneError: The model has another number of classes than the guideline has levels.
        """
        self._model = CrossEncoder(str(folder), device=device, local_files_only=True)
        self._device = device
        self._grades = np.array(guideline.grades)
        self.version = version
        if self._model.num_labels != len(self._grades):
            raise WhetstoneError(
                f"cross-encoder in {folder}: {self._model.num_labels} classes, but guideline '{guideline.name}' has "
                f"{len(self._grades)} levels; train it anew"
            )

    def annotate(self, pairs: pd.DataFrame) -> pd.DataFrame:
        """Answer n pairs (`PAIR_COLUMNS`) with n rows (`ANSWER_COLUMNS`)."""
        probabilities = _probabilities(self._model, pairs, self._device)
        return make_answers(pairs, self._grades[probabilities.argmax(axis=1)], probabilities.max(axis=1))


class _DevCheck(BaseEvaluator):
    """Cross entropy, accuracy and macro F1 on the dev queries, while training."""

    def __init__(self, dev: pd.DataFrame, classes: list[int], device: str) -> None:
        super().__init__()
        self.greater_is_better, self.primary_metric = False, "loss"
        self._dev, self._classes, self._device = dev, np.array(classes), device

    def __call__(self, model: CrossEncoder, *_: Any, **__: Any) -> dict[str, float]:
        probabilities = _probabilities(model, self._dev, self._device)
        answer, likelihood = probabilities.argmax(axis=1), probabilities[np.arange(len(self._classes)), self._classes]
        loss = float(-np.log(np.maximum(likelihood, 1e-12)).mean())
        return {"loss": loss, "accuracy": accuracy(self._classes, answer), "macro_f1": macro_f1(self._classes, answer)}


def _probabilities(model: CrossEncoder, rows: pd.DataFrame, device: str) -> np.ndarray:
    """(pairs, levels) probabilities of rows with query and text."""

    def score(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        return np.asarray(model.predict(list(pairs), batch_size=SCORE_BATCH, apply_softmax=True, show_progress_bar=False))

    with half_precision(device):
        scored = map_batches(score, list(zip(rows["query"], rows["text"], strict=True)), SORTED_PAIRS)
    return np.array(scored, dtype=float).reshape(-1, model.num_labels)


def _classes(rows: pd.DataFrame, part: str, guideline: Guideline) -> list[int]:
    """Grade -> class, 0 = best level."""
    if not len(rows):
        raise WhetstoneError(f"cross-encoder: no human judgments of {part} queries to train it; add some to the source's judgments")
    return guideline.places(rows["grade"], f"cross-encoder: {part} judgments")
