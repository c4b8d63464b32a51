"""Training speed and memory: `train_stage` against sentence-transformers' own trainer with its nearest loss, same rows and batch size.

    python tests/bench/bench_training.py [--steps 20] [--batch 32] [--rounds 3] [--device auto]

    ours       nearest of the library
    mnr        MultipleNegativesRankingLoss, with NO_DUPLICATES (as mnr keeps hidden positives out of a batch)
    triplet    TripletLoss, cosine distance
    bce        CosineSimilarityLoss
    supcon     MultipleNegativesRankingLoss on the same query with the same eight products (one positive, seven hard negatives)
    circle     the same

Every contender is a process of its own that loads the base encoder, trains the same number of steps on the same rows and saves. What is
timed is training and saving, from the trainer's `train()` on, ours with its look at dev; the peak memory is the process's. Rounds are
interleaved, because the machine is shared; the figures are ratios of medians. The library's trainer is set up as a careful user does, with
bf16 where the hardware has it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.sentence_transformer.losses.triplet import TripletDistanceMetric

from whetstone.curriculum.instances import text_columns
from whetstone.encoder.dev_evaluator import DevSet
from whetstone.encoder.recipes import Stage
from whetstone.encoder.stages import train_stage
from whetstone.platform.precision import has_bf16, pick_device
from whetstone.platform.weights import encoder_folder

ENCODER = "all-MiniLM-L6-v2"
WORDS = [
    *("wireless", "charger", "steel", "bottle", "kids", "running", "shoes", "black", "pack", "of", "6", "large"),
    *("cotton", "kitchen", "knife", "set", "lamp", "usb", "cable", "men", "women"),
]


def rows(loss: str, count: int) -> pd.DataFrame:
    """Queries of 2-4 words, titles of 10-30, as in a shop; columns as `stage_instances` makes them for a loss."""
    rng = np.random.default_rng(0)

    def text(low: int, high: int) -> str:
        return " ".join(rng.choice(WORDS, rng.integers(low, high)))

    queries = [f"{text(2, 5)} {number}" for number in range(count)]
    if loss in ("supcon", "circle"):
        items = {f"item_{place}": [text(10, 30) for _ in range(count)] for place in range(1, 9)}
        return pd.DataFrame({"query": queries, **items, "label": [[2, 2, 1, 1, 0, 0, 0, 0]] * count})
    frame = pd.DataFrame({"query": queries, "product": [text(10, 30) for _ in range(count)]})
    if loss == "bce":
        return frame.assign(label=rng.integers(0, 2, count).astype(float))
    frame = frame.assign(product_id=[f"p{n}" for n in range(count)], negative_id_1=[f"n{n}" for n in range(count)])
    return frame.assign(relevant_ids=[[f"p{n}"] for n in range(count)], negative_1=[text(10, 30) for _ in range(count)])


def library(loss: str, frame: pd.DataFrame, steps: int, batch: int, device: str) -> None:
    """What a user would write."""
    model = SentenceTransformer(str(encoder_folder(ENCODER)), device=device)
    nearest = {
        "triplet": lambda: losses.TripletLoss(model, TripletDistanceMetric.COSINE, 0.3),
        "bce": lambda: losses.CosineSimilarityLoss(model),
    }.get(loss, lambda: losses.MultipleNegativesRankingLoss(model))
    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder,
            use_cpu=device == "cpu",
            bf16=has_bf16(device),
            max_steps=steps,
            per_device_train_batch_size=batch,
            learning_rate=2e-5,
            warmup_steps=0.1,
            batch_sampler="no_duplicates" if loss == "mnr" else "batch_sampler",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
        )
        columns = [*text_columns(frame), *(["label"] if loss == "bce" else [])]
        data = Dataset.from_pandas(frame[columns])
        SentenceTransformerTrainer(model=model, args=arguments, train_dataset=data, loss=nearest()).train()
        model.save_pretrained(folder, create_model_card=False)


def ours(loss: str, frame: pd.DataFrame, steps: int, batch: int, device: str) -> None:
    """One stage; the dev set is so small that judging costs nothing."""
    dev = DevSet(("lamp",), ("lamp", "cable"), np.array([[1.0, 0.0]]))
    tiers = {"positives": ["hard_positive"], "negatives": ["hard_negative"]} if loss in ("mnr", "triplet", "bce") else {}
    stage = Stage(name="encoder_bench", loss=loss, batch_size=batch, max_steps=steps, evaluations=1, **tiers)
    with tempfile.TemporaryDirectory() as folder:
        train_stage(Path(folder) / "model", str(encoder_folder(ENCODER)), stage, frame, dev, seed=0, device=device)


def work(who: str, loss: str, steps: int, batch: int, device: str) -> None:
    """Be one contender: print examples per second of training, and the peak memory in MiB."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    size = max(2, batch // 4) if loss in ("supcon", "circle") else batch  # eight products a row
    frame = rows(loss, steps * size)
    train, began = SentenceTransformerTrainer.train, 0.0

    def timed(*args: Any, **kwargs: Any) -> Any:
        nonlocal began
        began = perf_counter()
        return train(*args, **kwargs)

    SentenceTransformerTrainer.train = timed
    (ours if who == "whetstone" else library)(loss, frame, steps, size, device)
    seconds = perf_counter() - began
    peak = torch.cuda.max_memory_allocated() / 2**20 if device.startswith("cuda") else getrusage(RUSAGE_SELF).ru_maxrss / 1024
    print(len(frame) / seconds, peak)


def main() -> None:
    """Print examples per second, peak memory and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--losses", default="mnr,triplet,bce,supcon,circle")
    parser.add_argument("--work", nargs=2, metavar=("WHO", "LOSS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    device = pick_device(options.device)
    if options.work:
        work(*options.work, options.steps, options.batch, device)
        return
    sizes = ["--steps", str(options.steps), "--batch", str(options.batch), "--device", device]
    print("loss      whetstone ex/s  library ex/s  speed ratio  whetstone MiB  library MiB  memory ratio")
    for loss in options.losses.split(","):
        found: dict[str, list[list[float]]] = {"whetstone": [], "library": []}
        for _ in range(options.rounds):
            for who, figures in found.items():
                done = subprocess.run([sys.executable, __file__, "--work", who, loss, *sizes], capture_output=True, text=True, check=True)
                figures.append([float(part) for part in done.stdout.split()[-2:]])
        (speed, memory), (their_speed, their_memory) = (np.median(figures, axis=0) for figures in found.values())
        ratios = f"{speed / their_speed:11.2f}  {memory:13.0f}  {their_memory:11.0f}  {memory / their_memory:12.2f}"
        print(f"{loss:<8}  {speed:14.1f}  {their_speed:12.1f}  {ratios}", flush=True)


if __name__ == "__main__":
    main()
