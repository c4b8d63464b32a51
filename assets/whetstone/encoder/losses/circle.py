"""Multi-class circle loss: every pair of levels of a query is kept apart, each cosine pulled the harder the further it is from its optimum.

    L_ab = log[ 1 + (1/|I_b|) * sum_{i in I_a} exp(-gamma * max(O_ap - s_i, 0) * (s_i - D_ap))
                              * sum_{j in I_b} exp( gamma * max(s_j - O_bn, 0) * (s_j - D_bn)) ]

for levels a > b that an instance holds, s = cos(q, d), the max terms detached; sum over pairs and instances. Refining stage of
[B] arXiv 2602.17654. It is computed from logarithms: L_ab = softplus(logsumexp_a + logsumexp_b - log|I_b|).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.losses.merged_forward import embed_columns
from torch import Tensor, nn

from whetstone.encoder.losses.supcon import item_cosines
from whetstone.platform.errors import WhetstoneError

Borders = Mapping[int, Mapping[str, tuple[float, float]]]
# level -> its border D and optimum O (cosines) against lower levels and against higher ones; the table of [B]
BORDERS: Borders = {
    2: {"positive": (0.75, 1.25)},
    1: {"positive": (0.40, 0.60), "negative": (0.60, 0.30)},
    0: {"negative": (0.25, -0.25)},
}


class CircleLoss(nn.Module):
    """Cosines get absolute places by level, so that one threshold fits all queries; pairs that are right hardly pull any more.

    Args:
        model: The encoder to train.
        gamma: Sharpness of the borders.
        borders: (D, O) per level: `positive` for all but the lowest level, `negative` for all but the highest; WhetstoneError: one lacks.

    References:
        - [B] arXiv 2602.17654, refining stage; two classes: Sun et al., arXiv 2002.10857.

    Inputs:
        As for `SupConLoss`: texts (query, item_1, .., item_m), labels int64 (n, m), the level of each item; -1: no such item.

    Recommendations:
        - Use it last, on the union of mined and original instances, where score thresholds matter (hybrid blending).
        - Don't use it without `SupConLoss` first: in [B] that was worse than no training, by 11 to 15 %.

    Relations:
        - `SupConLoss` takes the same instances; only differences within a query count there, with one pull for all.
        - `TripletLoss` has one margin and one pull for all pairs, and no place on the scale.

    Example:
        >>> loss = CircleLoss(model=None, gamma=1.0)
        >>> query, good, bad = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> round(loss.compute_loss_from_embeddings([query, good, bad], torch.tensor([[2, 0]])).item(), 4)  # ln(1 + e^-0.0625 * e^-0.0625)
        0.6326
    """

    def __init__(self, model: SentenceTransformer, gamma: float = 32.0, borders: Borders = BORDERS) -> None:
        super().__init__()
        self.model = model
        self.gamma = gamma
        self.borders = borders
        pairs = combinations(sorted(borders), 2)
        if bad := [f"{high} over {low}" for low, high in pairs if "positive" not in borders[high] or "negative" not in borders[low]]:
            raise WhetstoneError(f"circle loss: no positive or no negative border for the levels {', '.join(bad)}; give each D and O")

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """Embed all columns and compute the loss."""
        return self.compute_loss_from_embeddings(embed_columns(self.model, sentence_features), labels)

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor) -> Tensor:
        """The scalar loss of n instances: queries and m items, each (n, d) of any length; labels (n, m), -1 where there is no item.

        It is computed in float32 at least. A level of the labels without borders is a WhetstoneError.
        """
        scores = item_cosines(embeddings)
        levels = [level for level in labels.unique().tolist() if level >= 0]
        if unknown := [level for level in levels if level not in self.borders]:
            raise WhetstoneError(f"circle loss: level {unknown[0]} of the labels has no borders, only {sorted(self.borders)} have; add it")
        total = 0 * scores.sum()  # where no instance has two levels; it keeps the graph
        for low, high in combinations(levels, 2):
            (border_p, optimum_p), (border_n, optimum_n) = self.borders[high]["positive"], self.borders[low]["negative"]
            ups = -self.gamma * (optimum_p - scores.detach()).relu() * (scores - border_p)
            downs = self.gamma * (scores.detach() - optimum_n).relu() * (scores - border_n)
            # (n,) each; an instance without the level has -inf here and adds softplus(-inf) = 0
            of_high = ups.masked_fill(labels != high, -torch.inf).logsumexp(1)
            of_low = downs.masked_fill(labels != low, -torch.inf).logsumexp(1)
            log_count = (labels == low).to(scores).sum(1).clamp(min=1).log()
            total = total + F.softplus(of_high + of_low - log_count).sum()
        return total

    def get_config_dict(self) -> dict[str, Any]:
        """What the loss is set to."""
        return {"gamma": self.gamma, "borders": {level: dict(sides) for level, sides in self.borders.items()}}

    @property
    def citation(self) -> str:
        """BibTeX of the source."""
        return "@misc{arxiv-2602-17654, eprint={2602.17654}, archivePrefix={arXiv}}"
