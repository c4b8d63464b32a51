"""Label-aware supervised contrast: a softmax over the judged items of one query, each positive weighted by its label.

    L = -sum_q (1 / sum_{i in P} r_i) * sum_{i in P} r_i * log( exp(cos(q, d_i) / tau) / sum_{j in instance} exp(cos(q, d_j) / tau) )

P = items with a label above the lowest of the instance, r_i = the label, tau = exp(log_temperature), initially 0.05. Stage 1 of
[B] arXiv 2602.17654; it sums over instances, which was better than the mean there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.losses.merged_forward import embed_columns
from torch import Tensor, nn


class SupConLoss(nn.Module):
    """Within one query's items, probability goes to the better ones; a label of 2 pulls twice as strongly as a label of 1.

    Args:
        model: The encoder to train.
        temperature: Initial temperature. Its logarithm is the parameter, so that it stays positive and a step is a relative change.

    References:
        - [B] arXiv 2602.17654, stage 1; unweighted and between classes: Khosla et al., arXiv 2004.11362.

    Inputs:
        +-------------------------------+-------------------------------------------------------+
        | Texts                         | Labels                                                |
        +===============================+=======================================================+
        | (query, item_1, .., item_m)   | level of each item, int64 (n, m); -1: no such item    |
        +-------------------------------+-------------------------------------------------------+

    Recommendations:
        - Use it first, on judged lists, and `CircleLoss` after it: in [B] circle without SupCon was worse than no training.
        - Don't use it alone on few judged lists: without in-batch negatives it orders the lists at the price of the whole catalog.
        - Give `log_temperature` a learning rate of its own, as `ScaledBCELoss` says. The loss is a sum: a larger batch is a larger step.

    Relations:
        - `MaskedMNRLoss` has the whole batch as negatives and one positive per row; here an instance brings all its items.
        - `CircleLoss` sets absolute borders on the cosine; here only differences within the query count.

    Example:
        >>> loss = SupConLoss(model=None)
        >>> query, better, worse = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, -1.0]])
        >>> round(loss.compute_loss_from_embeddings([query, better, worse], torch.tensor([[2, 0]])).item(), 4)  # a draw: ln 2
        0.6931
    """

    def __init__(self, model: SentenceTransformer, temperature: float = 0.05) -> None:
        super().__init__()
        self.model = model
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """Embed all columns and compute the loss."""
        return self.compute_loss_from_embeddings(embed_columns(self.model, sentence_features), labels)

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor) -> Tensor:
        """The scalar loss of n instances: queries and m items, each (n, d) of any length; labels (n, m), -1 where there is no item.

        It is computed in float32 at least. An instance of a single level has no positive and adds 0.
        """
        scores = item_cosines(embeddings) / self.log_temperature.exp()
        is_absent = labels < 0
        lowest = labels.masked_fill(is_absent, torch.iinfo(labels.dtype).max).amin(1, keepdim=True)
        weights = labels * (labels > lowest)  # (n, m): r_i of the positives, else 0
        # not -inf, which times a weight of 0 would be NaN
        log_shares = scores.masked_fill(is_absent, torch.finfo(scores.dtype).min).log_softmax(1)
        return -(weights * log_shares / weights.sum(1, keepdim=True).clamp(min=1)).sum()

    def get_config_dict(self) -> dict[str, Any]:
        """What the loss is set to, the learned temperature included."""
        return {"temperature": self.log_temperature.exp().item()}

    @property
    def citation(self) -> str:
        """BibTeX of the source."""
        return "@misc{arxiv-2602-17654, eprint={2602.17654}, archivePrefix={arXiv}}"


def item_cosines(embeddings: list[Tensor]) -> Tensor:
    """Cosines (n, m) of n queries with their m items each, of embeddings [queries, item_1, .., item_m], (n, d) each; float32 at least."""
    queries, *items = (F.normalize(side if side.dtype == torch.float64 else side.float(), dim=-1) for side in embeddings)
    # a sum of products, not a matrix product, so that autocast leaves the precision alone
    return (queries[:, None] * torch.stack(items, 1)).sum(-1)
