"""What tests of training share: a small stage of each loss, and weights to compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

from whetstone.encoder.recipes import Stage

MINED = {"positives": ["hard_positive"], "negatives": ["hard_negative"]}
READS: dict[str, dict[str, Any]] = {
    "bce": {"positives": ["hard_positive"], "negatives": ["random"]},
    "mnr": MINED,
    "triplet": MINED,
    "mnr_baseline": {"positives": ["graded"]},
    "supcon": {"list_size": 4},
    "circle": {"list_size": 4, "lists": "union"},
}
"""Where each loss finds its rows."""


def stage(loss: str = "mnr", **settings: Any) -> Stage:
    defaults: dict[str, Any] = {"batch_size": 6, "learning_rate": 3e-3, "epochs": 2, "evaluations": 2, "min_instances": 4}
    return Stage(name="encoder_s", loss=loss, **{**READS[loss], **defaults, **settings})


def load(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu")


def weights(folder: Path) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in load(folder).state_dict().items()}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
