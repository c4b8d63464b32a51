"""Training throughput: `train_stage` (mnr) against sentence-transformers' own trainer with its own loss, on the same rows and batch size.

    python tests/bench/bench_training.py [--steps 20] [--batch 32] [--rounds 3]

Every contender loads the base encoder, trains the same number of steps on the same rows, and saves. Rounds are interleaved, because the
machine is shared; the figure is the ratio of the medians. Peers: `plain bf16` (the trainer as a careful user sets it up, with
NO_DUPLICATES) and `plain` (its defaults, fp32).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
import transformers
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from whetstone.encoder.dev_evaluator import DevSet
from whetstone.encoder.recipes import Stage
from whetstone.encoder.stages import train_stage
from whetstone.platform.precision import has_bf16
from whetstone.platform.weights import encoder_folder

ENCODER = "all-MiniLM-L6-v2"
WORDS = [
    "wireless",
    "charger",
    "steel",
    "bottle",
    "kids",
    "running",
    "shoes",
    "black",
    "pack",
    "of",
    "6",
    "large",
    "cotton",
    "kitchen",
    "knife",
    "set",
    "lamp",
    "usb",
    "cable",
    "men",
    "women",
]


def rows(count: int) -> pd.DataFrame:
    """Queries of 2-4 words, titles of 10-30, as in a shop."""
    rng = np.random.default_rng(0)

    def text(low: int, high: int) -> str:
        return " ".join(rng.choice(WORDS, rng.integers(low, high)))

    return pd.DataFrame(
        {
            "product_id": [f"p{number}" for number in range(count)],
            "negative_id_1": [f"n{number}" for number in range(count)],
            "relevant_ids": [[f"p{number}"] for number in range(count)],
            "query": [f"{text(2, 5)} {number}" for number in range(count)],
            "product": [text(10, 30) for _ in range(count)],
            "negative_1": [text(10, 30) for _ in range(count)],
        }
    )


def plain(frame: pd.DataFrame, steps: int, batch: int, bf16: bool) -> None:
    """What a user would write."""
    with tempfile.TemporaryDirectory() as folder:
        model = SentenceTransformer(str(encoder_folder(ENCODER)), device="cpu")
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder,
            use_cpu=True,
            bf16=bf16,
            max_steps=steps,
            per_device_train_batch_size=batch,
            learning_rate=2e-5,
            warmup_steps=0.1,
            batch_sampler="no_duplicates",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
        )
        data = Dataset.from_pandas(frame[["query", "product", "negative_1"]])
        SentenceTransformerTrainer(model=model, args=arguments, train_dataset=data, loss=MultipleNegativesRankingLoss(model)).train()
        model.save_pretrained(folder, create_model_card=False)


def ours(frame: pd.DataFrame, steps: int, batch: int) -> None:
    """One stage; the dev set is so small that judging costs nothing."""
    dev = DevSet(("lamp",), ("lamp", "cable"), np.array([[1.0, 0.0]]))
    stage = Stage(
        name="encoder_bench",
        loss="mnr",
        positives=["hard_positive"],
        negatives=["hard_negative"],
        batch_size=batch,
        max_steps=steps,
        evaluations=1,
    )
    with tempfile.TemporaryDirectory() as folder:
        train_stage(Path(folder) / "model", str(encoder_folder(ENCODER)), stage, frame, dev, seed=0, device="cpu")


def main() -> None:
    """Print examples per second and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    frame = rows(options.steps * options.batch)
    contenders: dict[str, Callable[[], None]] = {
        "whetstone": lambda: ours(frame, options.steps, options.batch),
        "plain bf16": lambda: plain(frame, options.steps, options.batch, bf16=has_bf16("cpu")),
        "plain": lambda: plain(frame, options.steps, options.batch, bf16=False),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(options.rounds):
        for name, run in contenders.items():
            began = perf_counter()
            run()
            seconds[name].append(perf_counter() - began)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        print(f"{name:<12} {len(frame) / median:7.1f} examples/s   whetstone / this: {median / medians['whetstone']:.2f}")


if __name__ == "__main__":
    main()
