"""SupConLoss against a brute-force scalar version and pytorch-metric-learning, by gradcheck, and at the extremes."""

from __future__ import annotations

import doctest
import math

import pytest
import torch
from pytorch_metric_learning.losses import SupConLoss as ClassSupConLoss
from torch import Tensor

from whetstone.encoder.losses import supcon
from whetstone.encoder.losses.supcon import SupConLoss

# Every shape of instance, with gaps in all places; a single level, one item and none at all add nothing.
LABELS = [[2, 1, 0, 0, 1], [2, -1, 0, 2, -1], [1, 0, -1, -1, 0], [-1, 2, 1, 1, -1], [1, 1, -1, 1, 1], [-1, -1, 0, -1, -1], [-1] * 5]


def by_hand(embeddings: list[list[list[float]]], labels: list[list[int]], temperature: float) -> float:
    """The formula with nothing but math."""
    total = 0.0
    for row, levels in enumerate(labels):
        query = embeddings[0][row]
        items = [(level, embeddings[1 + place][row]) for place, level in enumerate(levels) if level >= 0]
        dots = [sum(a * b for a, b in zip(query, item, strict=True)) / math.hypot(*query) / math.hypot(*item) for _, item in items]
        whole = sum(math.exp(dot / temperature) for dot in dots)
        positives = [(level, dot) for (level, _), dot in zip(items, dots, strict=True) if level > min(levels for levels, _ in items)]
        if positives:
            weighted = sum(level * math.log(math.exp(dot / temperature) / whole) for level, dot in positives)
            total -= weighted / sum(level for level, _ in positives)
    return total


def embeddings(n: int = 7, items: int = 5, d: int = 4, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, d, generator=generator, dtype=dtype) for _ in range(1 + items)]


def double(temperature: float = 0.05) -> SupConLoss:
    return SupConLoss(None, temperature=temperature).to(torch.float64)


@pytest.mark.parametrize("temperature", [0.05, 0.3, 1.0])
def test_equals_the_scalar_formula(temperature: float) -> None:
    sides, loss = embeddings(), double(temperature)
    value = loss.compute_loss_from_embeddings(sides, torch.tensor(LABELS)).item()
    # the parameter is made in float32, so the temperature is exact to its seven digits only
    assert value == pytest.approx(by_hand([side.tolist() for side in sides], LABELS, loss.log_temperature.exp().item()), abs=1e-10)


def test_worked_example() -> None:
    """Cosines 1, 0, 0 with levels 2, 1, 0 at temperature 1: shares e, 1, 1 of e + 2; the first log counts twice."""
    query, near, far = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    value = SupConLoss(None, temperature=1.0).compute_loss_from_embeddings([query, near, far, far], torch.tensor([[2, 1, 0]]))
    share = math.log(math.e + 2)
    assert value.item() == pytest.approx((2 * (share - 1) + share) / 3, abs=1e-6)


@pytest.mark.parametrize("positive", [1, 2])
def test_equals_the_class_label_loss_for_two_levels(positive: int) -> None:
    """Per instance, the query as anchor and its items as references.

    By design theirs differs with three levels (no weights), in the batch (the mean over anchors, and every other class as negatives).
    """
    sides, loss = embeddings(n=3), double(0.1)
    labels = torch.tensor([[positive, 0, 0, positive, 0], [positive, positive, positive, positive, 0], [0, 0, 0, 0, positive]])
    theirs = ClassSupConLoss(temperature=loss.log_temperature.exp().item())
    total = sum(
        theirs(sides[0][[row]], torch.tensor([positive]), ref_emb=torch.stack([side[row] for side in sides[1:]]), ref_labels=labels[row])
        for row in range(3)
    )
    torch.testing.assert_close(loss.compute_loss_from_embeddings(sides, labels), total)


def test_gradients_of_all_sides_and_of_the_temperature() -> None:
    sides, loss = [side.requires_grad_() for side in embeddings(d=3)], double(0.2)
    loss.forward = loss.compute_loss_from_embeddings  # type: ignore[method-assign]  # functional_call goes through forward

    def value(log_temperature: Tensor, *sides: Tensor) -> Tensor:
        return torch.func.functional_call(loss, {"log_temperature": log_temperature}, (list(sides), torch.tensor(LABELS)))

    assert torch.autograd.gradcheck(value, (loss.log_temperature.detach().clone().requires_grad_(), *sides))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_stays_finite_at_the_extremes(sign: float) -> None:
    query = torch.tensor([[3.0, 4.0]] * 4, requires_grad=True)
    items = [(one * query).detach().requires_grad_() for one in (sign, -sign, sign)]
    loss = SupConLoss(None, temperature=1 / 256)
    value = loss.compute_loss_from_embeddings([query, *items], torch.tensor([[2, 0, 1], [1, 0, -1], [-1, -1, 2], [-1, -1, -1]]))
    value.backward()
    assert torch.isfinite(value)
    assert all(side.grad is not None and torch.isfinite(side.grad).all() for side in (query, *items, loss.log_temperature))


def test_an_instance_of_one_level_adds_nothing_and_pulls_nothing() -> None:
    sides = [side.requires_grad_() for side in embeddings(n=3, items=2)]
    value = double().compute_loss_from_embeddings(sides, torch.tensor([[2, 2], [0, -1], [-1, -1]]))
    value.backward()
    assert value.item() == 0 and not any(side.grad is not None and side.grad.any() for side in sides)


def test_absent_items_change_nothing() -> None:
    sides, labels = embeddings(), torch.tensor(LABELS)
    loss = double()
    value = loss.compute_loss_from_embeddings(sides, labels)
    for place in range(5):
        sides[1 + place][labels[:, place] < 0] = sides[0][labels[:, place] < 0] * 1000  # the best match of all, were it there
    extra = torch.full((len(labels), 1), -1)
    empty = torch.zeros_like(sides[0])
    torch.testing.assert_close(loss.compute_loss_from_embeddings([*sides, empty], torch.cat([labels, extra], 1)), value)


def test_order_of_instances_and_items_and_lengths_do_not_matter_and_instances_are_summed() -> None:
    sides, labels, loss = embeddings(), torch.tensor(LABELS), double()
    value = loss.compute_loss_from_embeddings(sides, labels)
    rows, columns = torch.tensor([3, 1, 5, 0, 6, 2, 4]), [4, 2, 0, 3, 1]
    moved = [7 * sides[0][rows], *(0.1 * sides[1 + column][rows] for column in columns)]
    torch.testing.assert_close(loss.compute_loss_from_embeddings(moved, labels[rows][:, columns]), value)
    parts = [loss.compute_loss_from_embeddings([side[[row]] for side in sides], labels[[row]]) for row in range(len(labels))]
    torch.testing.assert_close(torch.stack(parts).sum(), value)


def test_bf16_embeddings_are_computed_in_float32() -> None:
    sides, labels, loss = embeddings(d=16, dtype=torch.bfloat16), torch.tensor(LABELS), SupConLoss(None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss.compute_loss_from_embeddings(sides, labels)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss.compute_loss_from_embeddings([side.float() for side in sides], labels))


def test_describes_itself() -> None:
    loss = SupConLoss(None, temperature=0.07)
    assert loss.get_config_dict()["temperature"] == pytest.approx(0.07)
    assert "2602.17654" in loss.citation


def test_the_example_in_the_docstring_runs() -> None:
    outcome = doctest.testmod(supcon, extraglobs={"torch": torch})
    assert outcome.attempted and not outcome.failed
