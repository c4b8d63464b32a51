"""CircleLoss against a brute-force scalar version and pytorch-metric-learning, by finite differences, and at the extremes."""

from __future__ import annotations

import doctest
import math

import pytest
import torch
from pytorch_metric_learning.losses import CircleLoss as ClassCircleLoss
from torch import Tensor

from whetstone.encoder.losses import circle
from whetstone.encoder.losses.circle import BORDERS, Borders, CircleLoss
from whetstone.platform.errors import WhetstoneError

# Every shape of instance, with gaps in all places; a single level, one item and none at all add nothing.
LABELS = [[2, 1, 0, 0, 1], [2, -1, 0, 2, -1], [1, 0, -1, -1, 0], [-1, 2, 1, 1, -1], [1, 1, -1, 1, 1], [-1, -1, 0, -1, -1], [-1] * 5]
FOUR: Borders = {
    7: {"positive": (0.8, 1.2)},
    4: {"positive": (0.5, 0.7), "negative": (0.7, 0.4)},
    3: {"positive": (0.3, 0.4), "negative": (0.4, 0.1)},
    1: {"negative": (0.1, -0.3)},
}

Sides = list[list[list[float]]]


def cosines(embeddings: Sides, row: int) -> list[float]:
    query = embeddings[0][row]
    return [
        sum(a * b for a, b in zip(query, side[row], strict=True)) / math.hypot(*query) / math.hypot(*side[row]) for side in embeddings[1:]
    ]


def by_hand(embeddings: Sides, labels: list[list[int]], gamma: float, borders: Borders, fixed: Sides | None = None) -> float:
    """The formula with nothing but math; `fixed` are the embeddings that the weights come from, which gradients don't see."""
    total = 0.0
    for row, levels in enumerate(labels):
        now, weighing = cosines(embeddings, row), cosines(fixed or embeddings, row)
        present = sorted({level for level in levels if level >= 0})
        for high in present:
            for low in (level for level in present if level < high):
                (border_p, optimum_p), (border_n, optimum_n) = borders[high]["positive"], borders[low]["negative"]
                ups = sum(
                    math.exp(-gamma * max(optimum_p - weighing[i], 0) * (now[i] - border_p))
                    for i, is_in in enumerate(levels)
                    if is_in == high
                )
                downs = [
                    math.exp(gamma * max(weighing[j] - optimum_n, 0) * (now[j] - border_n))
                    for j, is_in in enumerate(levels)
                    if is_in == low
                ]
                total += math.log(1 + ups * sum(downs) / len(downs))
    return total


def embeddings(n: int = 7, items: int = 5, d: int = 4, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, d, generator=generator, dtype=dtype) for _ in range(1 + items)]


@pytest.mark.parametrize("gamma", [1.0, 32.0])
def test_equals_the_scalar_formula(gamma: float) -> None:
    sides = embeddings()
    value = CircleLoss(None, gamma=gamma).compute_loss_from_embeddings(sides, torch.tensor(LABELS)).item()
    # softplus is the identity above 20, 2e-9 off; gamma 1 stays below
    expected = by_hand([side.tolist() for side in sides], LABELS, gamma, BORDERS)
    assert value == pytest.approx(expected, rel=1e-12 if gamma == 1 else 1e-9)


def test_any_number_of_levels() -> None:
    sides = embeddings(n=3)
    labels = [[7, 4, 3, 1, 1], [1, 3, 4, 4, -1], [7, 7, -1, 3, 3]]
    value = CircleLoss(None, gamma=8.0, borders=FOUR).compute_loss_from_embeddings(sides, torch.tensor(labels)).item()
    assert value == pytest.approx(by_hand([side.tolist() for side in sides], labels, 8.0, FOUR), abs=1e-8)


def test_worked_example() -> None:
    """Gamma 4. The 2 at 0.6: 4 * 0.65 * 0.15 = 0.39. The 0s at 0.8 and 0: 4 * 1.05 * 0.55 = 2.31 and 4 * 0.25 * -0.25 = -0.25."""
    query = torch.tensor([[1.0, 0.0]])
    items = [torch.tensor([[0.6, 0.8]]), torch.tensor([[0.8, 0.6]]), torch.tensor([[0.0, 1.0]])]
    value = CircleLoss(None, gamma=4.0).compute_loss_from_embeddings([query, *items], torch.tensor([[2, 0, 0]]))
    expected = math.log(1 + math.exp(0.39) * (math.exp(2.31) + math.exp(-0.25)) / 2)
    assert value.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("positive", "margin"), [(1, 0.25), (2, 0.4)])
def test_equals_the_class_label_loss_for_two_levels_up_to_the_number_of_negatives(positive: int, margin: float) -> None:
    """Per instance, the query as anchor, its items as references, borders D = 1 - m / m and optima O = 1 + m / -m.

    By design theirs lacks the mean over the negatives: exp(ours) - 1 = (exp(theirs) - 1) / |I_b|, which is equality for one negative.
    It also has no third level, and averages over anchors that aren't at zero.
    """
    sides, gamma = embeddings(n=3), 4.0
    labels = torch.tensor([[positive, 0, 0, positive, 0], [positive, positive, positive, positive, 0], [0, 0, 0, 0, positive]])
    borders: Borders = {positive: {"positive": (1 - margin, 1 + margin)}, 0: {"negative": (margin, -margin)}}
    ours, theirs = CircleLoss(None, gamma=gamma, borders=borders), ClassCircleLoss(m=margin, gamma=gamma)
    for row, negatives in enumerate([3, 1, 4]):
        items = torch.stack([side[row] for side in sides[1:]])
        other = theirs(sides[0][[row]], torch.tensor([positive]), ref_emb=items, ref_labels=labels[row])
        value = ours.compute_loss_from_embeddings([side[[row]] for side in sides], labels[[row]])
        torch.testing.assert_close(value.expm1(), other.expm1() / negatives)
        assert (negatives != 1) or value.item() == pytest.approx(other.item(), abs=1e-12)


@pytest.mark.parametrize("gamma", [1.0, 32.0])
def test_gradients_are_those_of_the_formula_with_its_weights_held(gamma: float) -> None:
    """`gradcheck` sees the whole derivative, so the weights' part is left out by central differences of the scalar version."""
    sides = [side.requires_grad_() for side in embeddings(d=3)]
    CircleLoss(None, gamma=gamma).compute_loss_from_embeddings(sides, torch.tensor(LABELS)).backward()
    base = [side.tolist() for side in sides]
    step = 1e-6
    for number, side in enumerate(sides):
        assert side.grad is not None
        for row in range(len(LABELS)):
            for axis in range(3):
                ends = []
                for change in (step, -step):
                    moved = [[list(vector) for vector in one] for one in base]
                    moved[number][row][axis] += change
                    ends.append(by_hand(moved, LABELS, gamma, BORDERS, fixed=base))
                assert side.grad[row, axis].item() == pytest.approx((ends[0] - ends[1]) / 2 / step, rel=1e-5, abs=1e-6)


def test_gradcheck_where_the_weights_stay_at_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = [side.requires_grad_() for side in embeddings(d=3)]
    loss = CircleLoss(None, gamma=4.0)
    held = circle.item_cosines(sides).detach()
    monkeypatch.setattr(Tensor, "detach", lambda self: held if self.shape == held.shape else self)

    def value(*args: Tensor) -> Tensor:
        return loss.compute_loss_from_embeddings(list(args), torch.tensor(LABELS))

    assert torch.autograd.gradcheck(value, sides)


@pytest.mark.parametrize("gamma", [32.0, 256.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_stays_finite_at_the_extremes(sign: float, gamma: float) -> None:
    query = torch.tensor([[3.0, 4.0]] * 5, requires_grad=True)
    items = [(one * query).detach().requires_grad_() for one in (sign, -sign, sign)]
    labels = torch.tensor([[2, 0, 1], [0, 2, 1], [1, 0, -1], [-1, -1, 2], [-1, -1, -1]])
    value = CircleLoss(None, gamma=gamma).compute_loss_from_embeddings([query, *items], labels)
    value.backward()
    assert torch.isfinite(value) and value > 0
    assert all(side.grad is not None and torch.isfinite(side.grad).all() for side in (query, *items))


def test_an_instance_of_one_level_adds_nothing_and_pulls_nothing() -> None:
    sides = [side.requires_grad_() for side in embeddings(n=3, items=2)]
    for labels in ([[2, 2], [0, -1], [-1, -1]], [[2, 2], [2, 2], [-1, 2]], [[-1, -1]] * 3):
        value = CircleLoss(None).compute_loss_from_embeddings(sides, torch.tensor(labels))
        value.backward()
        assert value.item() == 0 and not any(side.grad is not None and side.grad.any() for side in sides)


def test_absent_items_change_nothing() -> None:
    sides, labels, loss = embeddings(), torch.tensor(LABELS), CircleLoss(None)
    value = loss.compute_loss_from_embeddings(sides, labels)
    for place in range(5):
        sides[1 + place][labels[:, place] < 0] = sides[0][labels[:, place] < 0] * 1000  # the best match of all, were it there
    extra = torch.full((len(labels), 1), -1)
    empty = torch.zeros_like(sides[0])
    torch.testing.assert_close(loss.compute_loss_from_embeddings([*sides, empty], torch.cat([labels, extra], 1)), value)


def test_order_of_instances_and_items_and_lengths_do_not_matter_and_instances_are_summed() -> None:
    sides, labels, loss = embeddings(), torch.tensor(LABELS), CircleLoss(None)
    value = loss.compute_loss_from_embeddings(sides, labels)
    rows, columns = torch.tensor([3, 1, 5, 0, 6, 2, 4]), [4, 2, 0, 3, 1]
    moved = [7 * sides[0][rows], *(0.1 * sides[1 + column][rows] for column in columns)]
    torch.testing.assert_close(loss.compute_loss_from_embeddings(moved, labels[rows][:, columns]), value)
    parts = [loss.compute_loss_from_embeddings([side[[row]] for side in sides], labels[[row]]) for row in range(len(labels))]
    torch.testing.assert_close(torch.stack(parts).sum(), value)


def test_bf16_embeddings_are_computed_in_float32() -> None:
    sides, labels, loss = embeddings(d=16, dtype=torch.bfloat16), torch.tensor(LABELS), CircleLoss(None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss.compute_loss_from_embeddings(sides, labels)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss.compute_loss_from_embeddings([side.float() for side in sides], labels))


def test_a_level_without_borders_is_an_error() -> None:
    with pytest.raises(WhetstoneError, match="level 3 "):
        CircleLoss(None).compute_loss_from_embeddings(embeddings(n=1, items=2), torch.tensor([[3, 0]]))
    with pytest.raises(WhetstoneError, match="1 over 0"):
        CircleLoss(None, borders={1: {"negative": (0.6, 0.3)}, 0: {"negative": (0.25, -0.25)}})
    with pytest.raises(WhetstoneError, match="2 over 1"):
        CircleLoss(None, borders={2: {"positive": (0.75, 1.25)}, 1: {"positive": (0.6, 0.3)}})


def test_describes_itself() -> None:
    loss = CircleLoss(None, gamma=16.0)
    assert loss.get_config_dict() == {"gamma": 16.0, "borders": BORDERS}
    assert "2602.17654" in loss.citation


def test_the_example_in_the_docstring_runs() -> None:
    outcome = doctest.testmod(circle, extraglobs={"torch": torch})
    assert outcome.attempted and not outcome.failed
