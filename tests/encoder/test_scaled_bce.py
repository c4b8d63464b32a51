"""ScaledBCELoss against a brute-force scalar version, by gradcheck, at the extremes, and inside the trainer's optimizer."""

from __future__ import annotations

import doctest
import math
import random

import pytest
import torch

from whetstone.encoder.losses import scaled_bce
from whetstone.encoder.losses.scaled_bce import ScaledBCELoss


def by_hand(queries: list[list[float]], products: list[list[float]], labels: list[float], scale: float) -> float:
    """The formula with nothing but math."""
    total = 0.0
    for query, product, label in zip(queries, products, labels, strict=True):
        dot = sum(a * b for a, b in zip(query, product, strict=True))
        cosine = dot / math.sqrt(sum(a * a for a in query)) / math.sqrt(sum(b * b for b in product))
        chance = 1 / (1 + math.exp(-scale * cosine))
        total -= label * math.log(chance) + (1 - label) * math.log(1 - chance)
    return total / len(labels)


def double(loss: ScaledBCELoss) -> ScaledBCELoss:
    return loss.to(torch.float64)


@pytest.mark.parametrize("scale", [1.0, 7.5, 20.0])
def test_equals_the_scalar_formula(scale: float) -> None:
    rng = random.Random(3)
    queries, products = ([[rng.uniform(-1, 1) for _ in range(5)] for _ in range(9)] for _ in range(2))
    labels = [float(row % 2) for row in range(9)]
    embeddings = [torch.tensor(side, dtype=torch.float64) for side in (queries, products)]
    loss = double(ScaledBCELoss(None, scale=scale))
    # the parameter is made in float32, so the scale is exact to its seven digits only
    value = loss.compute_loss_from_embeddings(embeddings, torch.tensor(labels, dtype=torch.float64)).item()
    assert value == pytest.approx(by_hand(queries, products, labels, loss.log_scale.exp().item()), abs=1e-12)


def test_gradients_of_both_sides_and_of_the_scale() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, products = (torch.randn(4, 3, dtype=torch.float64, generator=generator, requires_grad=True) for _ in range(2))
    labels = torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    loss = double(ScaledBCELoss(None))

    def value(queries: torch.Tensor, products: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(loss, {"log_scale": log_scale}, ([queries, products], labels))

    loss.forward = loss.compute_loss_from_embeddings  # type: ignore[method-assign]  # functional_call goes through forward
    log_scale = loss.log_scale.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(value, (queries, products, log_scale))


@pytest.mark.parametrize("cosine", [1.0, -1.0])
@pytest.mark.parametrize("label", [1.0, 0.0])
def test_stays_finite_at_the_extremes(cosine: float, label: float) -> None:
    query = torch.tensor([[3.0, 4.0]], requires_grad=True)
    loss = ScaledBCELoss(None, scale=1000.0)
    value = loss.compute_loss_from_embeddings([query, cosine * query.detach()], torch.tensor([label]))
    value.backward()
    assert torch.isfinite(value)
    assert query.grad is not None and torch.isfinite(query.grad).all()


def test_lengths_of_embeddings_and_order_of_rows_do_not_matter() -> None:
    generator = torch.Generator().manual_seed(1)
    queries, products = (torch.randn(6, 4, generator=generator) for _ in range(2))
    labels = torch.tensor([1.0, 0, 1, 0, 0, 1])
    loss = ScaledBCELoss(None)
    value = loss.compute_loss_from_embeddings([queries, products], labels)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    other = loss.compute_loss_from_embeddings([7 * queries[order], 0.1 * products[order]], labels[order])
    torch.testing.assert_close(value, other)


def test_bf16_embeddings_are_computed_in_float32() -> None:
    generator = torch.Generator().manual_seed(2)
    queries, products = (torch.randn(32, 16, generator=generator).bfloat16() for _ in range(2))
    labels = torch.ones(32)
    loss = ScaledBCELoss(None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss.compute_loss_from_embeddings([queries, products], labels)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss.compute_loss_from_embeddings([queries.float(), products.float()], labels))


def test_describes_itself() -> None:
    loss = ScaledBCELoss(None, scale=12.0)
    assert loss.get_config_dict()["scale"] == pytest.approx(12.0)
    assert "2606.23911" in loss.citation


def test_the_example_in_the_docstring_runs() -> None:
    outcome = doctest.testmod(scaled_bce, extraglobs={"torch": torch})
    assert outcome.attempted and not outcome.failed
