"""Binary cross-entropy on the scaled cosine of a pair, with a learned scale.

    L = mean_i  BCE(sigmoid(s * cos(q_i, d_i)), y_i),    s = exp(log_scale), initially 20

Stage 1 of [A] arXiv 2606.23911: a coarse geometry, relevant pairs on the positive side of zero and random ones on the other.
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


class ScaledBCELoss(nn.Module):
    """Each pair is classified by the sign of its cosine; the learned scale sets how sharp the border is.

    Args:
        model: The encoder to train.
        scale: Initial factor on the cosine. Its logarithm is the parameter, so that it stays positive and a step is a relative change.

    References:
        - [A] arXiv 2606.23911, stage 1 of the progressive curriculum (learnable scale, initial 20).

    Inputs:
        +------------------+-------------------------------+
        | Texts            | Labels                        |
        +==================+===============================+
        | (query, product) | 1.0 relevant, 0.0 irrelevant  |
        +------------------+-------------------------------+

    Recommendations:
        - Give `log_scale` a learning rate of its own (`learning_rate_mapping={"^log_scale$": 1e-2}`): at the 2e-5 of a transformer's
          weights Adam would move it by a thousandth in fifty steps.
        - Use it first, never last: in [A] ending with BCE destroys the fine structure that ranking losses made.

    Relations:
        - `CosineSimilarityLoss` regresses the cosine itself on the label; here cosines only have to lie on the right side of zero.
        - `OnlineContrastiveLoss` also takes labelled pairs, with a margin instead of a soft border.

    Example:
        >>> loss = ScaledBCELoss(model=None)
        >>> query, product = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> round(loss.compute_loss_from_embeddings([query, product], torch.tensor([1.0])).item(), 4)  # cosine 0: undecided, ln 2
        0.6931
    """

    def __init__(self, model: SentenceTransformer, scale: float = 20.0) -> None:
        super().__init__()
        self.model = model
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """Embed both columns and compute the loss."""
        return self.compute_loss_from_embeddings(embed_columns(self.model, sentence_features), labels)

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor) -> Tensor:
        """The scalar loss of n pairs: queries and products, each (n, d) of any length; labels (n,), 1 or 0.

        It is computed in float32 at least: a bf16 logit of 20 has steps of 0.125.
        """
        queries, products = (F.normalize(side if side.dtype == torch.float64 else side.float(), dim=-1) for side in embeddings)
        # (n,): a sum of products, not a matrix product, so that autocast leaves the precision alone
        logits = self.log_scale.exp() * (queries * products).sum(-1)
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))

    def get_config_dict(self) -> dict[str, Any]:
        """What the loss is set to, the learned scale included."""
        return {"scale": self.log_scale.exp().item()}

    @property
    def citation(self) -> str:
        """BibTeX of the source."""
        return "@misc{arxiv-2606-23911, eprint={2606.23911}, archivePrefix={arXiv}}"
