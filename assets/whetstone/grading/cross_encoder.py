"""The local annotator: a cross-encoder that reads query and product together and emits a probability per level of the guideline.

It starts from the base encoder's weights (the cascade's first, cheap stage in [A2], arXiv 2606.25871), gets a fresh head with one
class a level (best first) and is fine-tuned on human judgments of *train* queries. A seventh of these queries is set aside to stop the
training and to choose its checkpoint, by cross entropy. Rare levels weigh more (the root of their rarity), or they would hardly ever be
answered; that bends the confidence, and the calibration bends it back. Several runs of other seeds answer together, by their mean
probability (Lakshminarayanan et al. 2017, arXiv 1612.01474); the runs' spread says how much of a result is luck.

Pairs are cut at 128 tokens: a query and a product text of title and category need 40 on average. Answers are a function of the pair up to
rounding: batches are padded to their longest pair, which moves a bf16 probability in the third decimal.
"""

import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.cross_encoder import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers.cross_encoder.losses import CrossEntropyLoss
from sklearn.metrics import f1_score
from transformers import EarlyStoppingCallback, PrinterCallback, ProgressCallback, set_seed

from whetstone.grading.annotator import Local, make_answers
from whetstone.grading.guideline import Guideline
from whetstone.platform.compute import map_batches
from whetstone.platform.precision import half_precision, has_bf16

MAX_TOKENS = 128
SCORE_BATCH = 64
SORTED_PAIRS = 8192  # `predict` batches pairs of similar length among so many, so that little is padded
BATCH_SIZE = 32
LEARNING_RATE = 5e-5
ASIDE = 7  # one query in so many stops the training
CHECKS_PER_EPOCH = 2  # looks at them
PATIENCE = 3  # looks without a lower loss before training stops


def train_cross_encoder(
    folder: Path, base: str | Path, judged: pd.DataFrame, guideline: Guideline, *, seed: int, epochs: int, runs: int, device: str
) -> dict[str, Any]:
    """Fine-tune the encoder in folder `base` on judged pairs (query_id, query, text, grade), `runs` times, into folders below `folder`.

    Weighted cross entropy, AdamW, 10 % warm-up to `LEARNING_RATE`, linear decay, bf16 autocast where the hardware has it. Run i has the
    seed `seed` + i and sets its own queries aside.

    Returns `runs` (of each seed, held_out, loss, curve), the `spread` of their accuracy and macro F1 (least, greatest), `pairs`; without
    judgments nothing is trained, and `absent` says so. WhetstoneError: a grade that the guideline doesn't have.
    """
    queries = np.sort(judged["query_id"].unique())
    if len(queries) < 2:
        return {"absent": "there are no human judgments of two train queries to train it on; add some to the source's judgments"}
    judged = judged.assign(place=guideline.places(judged["grade"], "cross-encoder: train judgments"))
    done = []
    for run in range(runs):
        aside = np.random.default_rng(seed + run).permutation(queries)[: max(1, len(queries) // ASIDE)]
        is_aside = judged["query_id"].isin(aside)
        sides = judged[~is_aside], judged[is_aside]
        done.append(_train_one(folder / str(run), base, *sides, len(guideline.levels), seed=seed + run, epochs=epochs, device=device))
    spread = {name: [f(each["held_out"][name] for each in done) for f in (min, max)] for name in ("accuracy", "macro_f1")}
    return {"runs": done, "spread": spread, "pairs": len(judged)}


def _train_one(
    folder: Path, base: str | Path, train: pd.DataFrame, held_out: pd.DataFrame, levels: int, *, seed: int, epochs: int, device: str
) -> dict[str, Any]:
    """A run, saved to `folder`: how it agrees with humans on the `held_out` pairs, at the end and by epoch; `place` is a level's number."""
    places = train["place"].to_numpy()
    rarity = len(train) / (levels * np.maximum(np.bincount(places, minlength=levels), 1))
    set_seed(seed)
    model = CrossEncoder(str(base), num_labels=levels, device=device, local_files_only=True)
    model.max_seq_length = min(MAX_TOKENS, model.max_seq_length or MAX_TOKENS)  # a base may have fewer positions
    check = _Check(held_out, device)
    steps = max(1, -(-len(train) // BATCH_SIZE) // CHECKS_PER_EPOCH)
    each_check = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": steps, "save_steps": steps, "logging_steps": steps}
    with tempfile.TemporaryDirectory(prefix="whetstone-") as scratch:
        trainer = CrossEncoderTrainer(
            model=model,
            args=CrossEncoderTrainingArguments(
                output_dir=scratch,
                num_train_epochs=epochs,
                per_device_train_batch_size=BATCH_SIZE,
                learning_rate=LEARNING_RATE,
                warmup_steps=0.1,
                bf16=has_bf16(device),
                use_cpu=device == "cpu",
                seed=seed,
                data_seed=seed,
                save_total_limit=1,
                save_only_model=True,
                load_best_model_at_end=True,
                metric_for_best_model="loss",
                greater_is_better=False,
                **each_check,
                report_to="none",
            ),
            train_dataset=Dataset.from_dict({"query": train["query"].tolist(), "text": train["text"].tolist(), "label": places.tolist()}),
            loss=CrossEntropyLoss(model, weight=torch.tensor(np.sqrt(rarity), dtype=torch.float32, device=model.device)),
            evaluator=check,
            callbacks=[EarlyStoppingCallback(PATIENCE)],
        )
        for callback in (PrinterCallback, ProgressCallback):  # the figures are in the facts
            trainer.remove_callback(callback)
        trainer.train()
    model.save_pretrained(str(folder), create_model_card=False)
    log, curve = trainer.state.log_history, ("loss", "accuracy", "macro_f1")
    most = held_out["place"].value_counts(normalize=True).max()
    return {
        "seed": seed,
        "held_out": {"pairs": len(held_out), "majority_accuracy": float(most), **check(model)},
        "loss": [{"epoch": row["epoch"], "loss": row["loss"]} for row in log if "loss" in row],
        "curve": [{"epoch": r["epoch"], **{name: r[f"eval_{name}"] for name in curve}} for r in log if "eval_accuracy" in r],
    }


class CrossEncoderAnnotator(Local):
    """Answers with the likeliest level of a trained cross-encoder; costs no money."""

    name = "cross_encoder"

    def __init__(self, folder: Path, guideline: Guideline, version: str, device: str = "cpu") -> None:
        """Open what `train_cross_encoder` wrote to `folder` with the same guideline; `version` is the folder's content hash."""
        self._folder, self._device, self._guideline, self.version = folder, device, guideline, version

    @cached_property
    def _models(self) -> list[CrossEncoder]:
        """Loaded when somebody asks: most of the time the ledger knows all the answers."""
        runs = sorted(run for run in self._folder.iterdir() if run.is_dir())
        return [CrossEncoder(str(run), device=self._device, local_files_only=True) for run in runs]

    def annotate(self, pairs: pd.DataFrame) -> pd.DataFrame:
        """Answer n pairs (`PAIR_COLUMNS`) with n rows (`ANSWER`)."""
        probabilities = np.mean([_probabilities(model, pairs, self._device) for model in self._models], axis=0)
        return make_answers(pairs, np.array(self._guideline.grades)[probabilities.argmax(axis=1)], probabilities.max(axis=1))


class _Check(BaseEvaluator):
    """Cross entropy, accuracy and macro F1 on the queries set aside, while training."""

    def __init__(self, rows: pd.DataFrame, device: str) -> None:
        super().__init__()
        self._rows, self._device = rows, device

    def __call__(self, model: CrossEncoder, *_: Any, **__: Any) -> dict[str, float]:
        probabilities, places = _probabilities(model, self._rows, self._device), self._rows["place"].to_numpy()
        answers = probabilities.argmax(axis=1)
        loss = -np.log(np.maximum(probabilities[np.arange(len(places)), places], 1e-12)).mean()
        macro_f1 = f1_score(places, answers, average="macro", zero_division=0)
        return {"loss": float(loss), "accuracy": float((answers == places).mean()), "macro_f1": float(macro_f1)}


def _probabilities(model: CrossEncoder, rows: pd.DataFrame, device: str) -> np.ndarray:
    """(pairs, levels) of rows with query and text."""

    def score(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        return np.asarray(model.predict(list(pairs), batch_size=SCORE_BATCH, apply_softmax=True, show_progress_bar=False))

    with half_precision(device):
        scored = map_batches(score, list(zip(rows["query"], rows["text"], strict=True)), SORTED_PAIRS)
    return np.array(scored, dtype=float).reshape(-1, model.num_labels)
