"""The losses that recipes name: the library's triplet is the paper's formula, and a learned scale reaches the optimizer."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments

from whetstone.encoder.losses import LOSSES, build_loss
from whetstone.encoder.recipes import Stage

EXTRA = {"bce": {"negatives": ["random"]}, "mnr": {"negatives": ["hard_negative"]}, "triplet": {"negatives": ["hard_negative"]}}


def stage(loss: str, **settings: object) -> Stage:
    tiers = {} if loss in ("supcon", "circle") else {"positives": ["easy_positive"], **EXTRA.get(loss, {})}
    return Stage(name="encoder_s", loss=loss, **tiers, **settings)


def test_every_loss_that_a_recipe_may_name_is_there(tiny_encoder: Path) -> None:
    model = SentenceTransformer(str(tiny_encoder), device="cpu")
    assert set(LOSSES) == set(Stage.model_fields["loss"].annotation.__args__)  # type: ignore[union-attr]
    for name in LOSSES:
        loss = build_loss(model, stage(name))
        assert callable(loss.compute_loss_from_embeddings)


def test_triplet_is_a_hinge_on_the_difference_of_cosine_distances(tiny_encoder: Path) -> None:
    loss = build_loss(SentenceTransformer(str(tiny_encoder), device="cpu"), stage("triplet", margin=0.3))
    query = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    positive = torch.tensor([[3.0, 4.0], [1.0, 0.0]], dtype=torch.float64)  # cosines 0.6 and 1
    negative = torch.tensor([[4.0, 3.0], [0.0, 5.0]], dtype=torch.float64)  # cosines 0.8 and 0
    expected = (max(0, (1 - 0.6) - (1 - 0.8) + 0.3) + max(0, 0 - 1 + 0.3)) / 2
    value = loss.compute_loss_from_embeddings([query, positive, negative], torch.empty(0))
    assert value.item() == pytest.approx(expected, abs=1e-9)


def test_mnr_takes_other_rows_products_and_negatives_as_negatives(tiny_encoder: Path) -> None:
    loss = build_loss(SentenceTransformer(str(tiny_encoder), device="cpu"), stage("mnr", scale=2.0))
    query = torch.eye(2, dtype=torch.float64)
    value = loss.compute_loss_from_embeddings([query, query, query.flip(0)], torch.tensor([[0, 0, 2], [1, 1, 3]]))
    # each query sees cosine 1 twice (its product, the other row's negative) and 0 twice
    expected = -math.log(math.exp(2) / (2 * math.exp(2) + 2 * math.exp(0)))
    assert value.item() == pytest.approx(expected, abs=1e-9)


def test_the_learned_scale_is_optimised_with_its_own_rate(tiny_encoder: Path, tmp_path: Path) -> None:
    model = SentenceTransformer(str(tiny_encoder), device="cpu")
    loss = build_loss(model, stage("bce"))
    before = loss.log_scale.item()
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        max_steps=1,
        learning_rate=1e-5,
        learning_rate_mapping={"^log_scale$": 0.5},
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    data = Dataset.from_dict({"query": ["red mug"] * 4, "product": ["mug red"] * 4, "label": [0.0] * 4})
    SentenceTransformerTrainer(model=model, args=arguments, train_dataset=data, loss=loss).train()
    assert abs(loss.log_scale.item() - before) == pytest.approx(0.5, rel=1e-3)  # Adam's first step is the rate
