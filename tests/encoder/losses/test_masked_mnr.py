"""MaskedMNRLoss against a brute-force scalar version and sentence-transformers' loss, by gradcheck, and at the extremes."""

from __future__ import annotations

import doctest
import math

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import Tensor, nn

from whetstone.encoder.losses import masked_mnr
from whetstone.encoder.losses.masked_mnr import MaskedMNRLoss

Rows = list[list[float]]


def by_hand(sides: list[Rows], labels: list[list[int]], relevant: set[tuple[int, int]], scale: float) -> float:
    """The formula with nothing but math: every candidate is asked for whether it is relevant to the row's query."""
    relevant = relevant | {(row[0], row[1]) for row in labels}
    total = 0.0
    for own, (query, *_) in enumerate(labels):
        shares = []
        for column, side in enumerate(sides[1:], start=1):
            for place, product in enumerate(side):
                is_own = column == 1 and place == own
                if is_own or (query, labels[place][column]) not in relevant:
                    dot = sum(a * b for a, b in zip(sides[0][own], product, strict=True))
                    shares.append(math.exp(scale * dot / math.hypot(*sides[0][own]) / math.hypot(*product)))
                if is_own:
                    mine = shares[-1]
        total -= math.log(mine / sum(shares))
    return total / len(labels)


def embeddings(columns: int, n: int = 6, d: int = 5, seed: int = 0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, d, generator=generator, dtype=dtype) for _ in range(columns)]


# Query 0 has three rows, two of them of the same product; 7 is a positive of query 0, a negative of query 1 and relevant to query 2.
LABELS = [[0, 7, 20, 21], [0, 8, 22, 9], [0, 7, 23, 24], [1, 9, 7, 8], [2, 3, 10, 7], [3, 11, 12, 13]]
RELEVANT = [[0, 9], [2, 7], [3, 20], [3, 22], [1, 500], [9, 9]]


@pytest.mark.parametrize("relevant", [[], RELEVANT])
@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_equals_the_scalar_formula(relevant: list[list[int]], scale: float) -> None:
    sides = embeddings(4)
    known = torch.tensor(relevant, dtype=torch.int64).reshape(-1, 2)
    value = MaskedMNRLoss(None, scale=scale, relevant=known).compute_loss_from_embeddings(sides, torch.tensor(LABELS)).item()
    expected = by_hand([side.tolist() for side in sides], LABELS, {(query, product) for query, product in relevant}, scale)
    assert value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("columns", [2, 3, 5])
def test_equals_multiple_negatives_ranking_where_nothing_is_masked(columns: int) -> None:
    sides = embeddings(columns, n=16, d=24, dtype=torch.float32)
    numbers = torch.arange(16 * columns).reshape(16, columns)
    known = torch.tensor([[0, 0], [500, 3]])
    value = MaskedMNRLoss(None, scale=20.0, relevant=known).compute_loss_from_embeddings(sides, numbers)
    torch.testing.assert_close(value, MultipleNegativesRankingLoss(None, scale=20.0).compute_loss_from_embeddings(sides, None))


@pytest.mark.parametrize("known", [None, [[0, 5]]])
def test_worked_example(known: list[list[int]] | None) -> None:
    """Two queries, candidates at cosine 1 or 0. Row 0 has its own (1), the other's (0) and two negatives (0, 0), of which 5 is relevant."""
    query = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    own, other = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    labels = torch.tensor([[0, 1, 5], [4, 2, 6]])
    loss = MaskedMNRLoss(None, scale=1.0, relevant=None if known is None else torch.tensor(known))
    first = math.log((math.e + (2 if known else 3)) / math.e)
    second = math.log(math.e + 3)
    assert loss.compute_loss_from_embeddings([query, own, other], labels).item() == pytest.approx((first + second) / 2, abs=1e-6)


def test_a_masked_candidate_has_no_gradient_and_the_own_positive_always_one() -> None:
    query, product = torch.eye(2).requires_grad_(), torch.tensor([[0.6, 0.8], [0.8, 0.6]], requires_grad=True)
    loss = MaskedMNRLoss(None, relevant=torch.tensor([[0, 1], [0, 0], [1, 1]]))
    loss.compute_loss_from_embeddings([query, product], torch.tensor([[0, 0], [1, 1]])).backward()
    assert query.grad is not None and not query.grad[0].any() and query.grad[1].any()


def test_products_beyond_all_known_pairs_are_not_taken_for_another_query() -> None:
    """With a code of query * (1 + the greatest known product) + product, (0, 6) would read as (1, 1)."""
    sides = embeddings(2, n=2)
    labels = torch.tensor([[0, 6], [1, 2]])
    plain = MaskedMNRLoss(None).compute_loss_from_embeddings(sides, labels)
    for pair in ([1, 1], [0, 4], [2, 0], [1, 7]):
        assert MaskedMNRLoss(None, relevant=torch.tensor([pair, [9, 4]])).compute_loss_from_embeddings(sides, labels) == plain


def test_gradients() -> None:
    sides = [side.requires_grad_() for side in embeddings(4, d=3)]
    loss = MaskedMNRLoss(None, scale=5.0, relevant=torch.tensor(RELEVANT))
    assert torch.autograd.gradcheck(lambda *args: loss.compute_loss_from_embeddings(list(args), torch.tensor(LABELS)), sides)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_stays_finite_at_the_extremes(sign: float) -> None:
    query = torch.tensor([[3.0, 4.0], [-3.0, -4.0]], requires_grad=True)
    product = (sign * query).detach().requires_grad_()
    for labels in ([[0, 1], [1, 2]], [[0, 1], [0, 2]], [[0, 1], [0, 1]]):
        value = MaskedMNRLoss(None, scale=256.0).compute_loss_from_embeddings([query, product], torch.tensor(labels))
        value.backward()
        assert torch.isfinite(value)
        assert all(side.grad is not None and torch.isfinite(side.grad).all() for side in (query, product))


def test_order_of_rows_and_of_known_pairs_and_lengths_do_not_matter() -> None:
    sides, labels = embeddings(4), torch.tensor(LABELS)
    value = MaskedMNRLoss(None, relevant=torch.tensor(RELEVANT)).compute_loss_from_embeddings(sides, labels)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    loss = MaskedMNRLoss(None, relevant=torch.tensor(RELEVANT[::-1]))
    torch.testing.assert_close(loss.compute_loss_from_embeddings([3 * side[order] for side in sides], labels[order]), value)


def test_bf16_embeddings_are_computed_in_float32() -> None:
    sides = embeddings(4, d=16, dtype=torch.bfloat16)
    loss = MaskedMNRLoss(None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss.compute_loss_from_embeddings(sides, torch.tensor(LABELS))
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss.compute_loss_from_embeddings([side.float() for side in sides], torch.tensor(LABELS)))


def test_known_pairs_follow_the_device_and_stay_out_of_the_weights() -> None:
    loss = MaskedMNRLoss(None, relevant=torch.tensor(RELEVANT))
    assert not loss.state_dict() and not list(loss.parameters())
    assert loss.to(torch.float64).known.dtype == torch.int64
    assert loss.to("meta").known.device.type == "meta"


def test_forward_embeds_every_column() -> None:
    class Model(nn.Module):
        def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"sentence_embedding": features["x"]}

    sides = embeddings(4)
    value = MaskedMNRLoss(Model())([{"x": side} for side in sides], torch.tensor(LABELS))
    assert value == MaskedMNRLoss(None).compute_loss_from_embeddings(sides, torch.tensor(LABELS))


def test_describes_itself() -> None:
    loss = MaskedMNRLoss(None, scale=12.0, relevant=torch.tensor(RELEVANT))
    assert loss.get_config_dict() == {"scale": 12.0, "relevant_pairs": 6}
    assert "2606.23911" in loss.citation


def test_the_example_in_the_docstring_runs() -> None:
    outcome = doctest.testmod(masked_mnr, extraglobs={"torch": torch})
    assert outcome.attempted and not outcome.failed
