"""In-batch softmax over cosines in which a product known to be relevant is never a negative.

    L = -mean_i log( exp(s * cos(q_i, d_i)) / sum_{c in C_i} exp(s * cos(q_i, c)) )

C_i = the row's own product and, of all products and hard negatives of the batch, those that aren't known to be relevant to its query.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.losses.merged_forward import embed_columns
from torch import Tensor, nn


class MaskedMNRLoss(nn.Module):
    """MultipleNegativesRanking for queries with many relevant products: what is relevant drops out of the denominator, not of the batch.

    Args:
        model: The encoder to train.
        scale: Factor on the cosine, the inverse of a temperature.
        relevant: Every known relevant pair, int64 (r, 2) of query number and product number; None: only the batch's own positives.

    References:
        - [A] arXiv 2606.23911, stage 2 of the progressive curriculum; the softmax is InfoNCE, arXiv 1807.03748.

    Inputs:
        +----------------------------------------------+----------------------------------------------------------------------------+
        | Texts                                        | Labels                                                                     |
        +==============================================+============================================================================+
        | (query, product, negative_1, .., negative_k) | numbers of the query and of each product, int64 (n, 2 + k), all under 2^31 |
        +----------------------------------------------+----------------------------------------------------------------------------+

    Recommendations:
        - Use it where the relevant products of a query are many and mostly known, so that a batch can't be kept clear of them.
        - Don't use it against relevant products that nobody graded: they can't be masked; mine and grade the negatives first.

    Relations:
        - `MultipleNegativesRankingLoss` is the same where nothing is masked; it needs a sampler that keeps a query's rows apart.
        - `SupConLoss` has no in-batch negatives at all; its instances bring their own.

    Example:
        >>> loss = MaskedMNRLoss(model=None, scale=1.0)
        >>> query, product = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> round(loss.compute_loss_from_embeddings([query, product], torch.tensor([[0, 0], [1, 1]])).item(), 4)
        0.8133
        >>> loss.compute_loss_from_embeddings([query, product], torch.tensor([[0, 0], [0, 1]])).item()  # one query: nothing to beat
        0.0
    """

    known: Tensor

    def __init__(self, model: SentenceTransformer, scale: float = 20.0, relevant: Tensor | None = None) -> None:
        super().__init__()
        self.model = model
        self.scale = scale
        pairs = torch.empty(0, 2, dtype=torch.int64) if relevant is None else relevant
        # sorted; the last entry lies behind every real code, so that a search never falls off the end
        last = torch.tensor([torch.iinfo(torch.int64).max], device=pairs.device)
        self.register_buffer("known", torch.cat([_codes(pairs[:, 0], pairs[:, 1]), last]).sort().values, persistent=False)

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """Embed all columns and compute the loss."""
        return self.compute_loss_from_embeddings(embed_columns(self.model, sentence_features), labels)

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor) -> Tensor:
        """The scalar loss of n rows: queries, products and k negatives, each (n, d) of any length; labels (n, 2 + k).

        It is computed in float32 at least, under autocast too.
        """
        sides = [F.normalize(side if side.dtype == torch.float64 else side.float(), dim=-1) for side in embeddings]
        with torch.autocast(sides[0].device.type, enabled=False):
            # (n, n * (1 + k)): candidates are all products, then all first negatives, and so on
            logits = self.scale * sides[0] @ torch.cat(sides[1:]).T
        codes = _codes(labels[:, :1], labels[:, 1:].T.reshape(1, -1))
        is_relevant = (self.known[torch.searchsorted(self.known, codes)] == codes) | torch.isin(codes, codes.diagonal())
        own = torch.arange(len(logits), device=logits.device)
        return F.cross_entropy(logits.masked_fill(is_relevant.fill_diagonal_(False), -torch.inf), own)

    def get_config_dict(self) -> dict[str, Any]:
        """What the loss is set to."""
        return {"scale": self.scale, "relevant_pairs": len(self.known) - 1}

    @property
    def citation(self) -> str:
        """BibTeX of the source."""
        return "@misc{arxiv-2606-23911, eprint={2606.23911}, archivePrefix={arXiv}}"


def _codes(queries: Tensor, products: Tensor) -> Tensor:
    """One number per pair. The factor is fixed, since a batch may hold products that no known pair has."""
    return queries * 2**31 + products
