"""Losses by the name that recipes give them: sentence-transformers' own where it has the loss, one file here where it has not.

A further loss is one file and one line in `LOSSES`.
"""

from __future__ import annotations

from collections.abc import Callable

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss, TripletLoss
from sentence_transformers.sentence_transformer.losses.triplet import TripletDistanceMetric
from torch import Tensor, nn

from whetstone.encoder.losses.circle import CircleLoss
from whetstone.encoder.losses.masked_mnr import MaskedMNRLoss
from whetstone.encoder.losses.scaled_bce import ScaledBCELoss
from whetstone.encoder.losses.supcon import SupConLoss
from whetstone.encoder.recipes import Stage

LOSSES: dict[str, Callable[[SentenceTransformer, Stage, Tensor | None], nn.Module]] = {
    "bce": lambda model, stage, _: ScaledBCELoss(model, scale=stage.scale),
    "mnr": lambda model, stage, relevant: MaskedMNRLoss(model, scale=stage.scale, relevant=relevant),
    "mnr_baseline": lambda model, stage, _: MultipleNegativesRankingLoss(model, scale=stage.scale),
    # [A] stage 3: max(0, (1 - cos(q, p)) - (1 - cos(q, n)) + margin); the library's class computes just that
    "triplet": lambda model, stage, _: TripletLoss(model, distance_metric=TripletDistanceMetric.COSINE, triplet_margin=stage.margin),
    "supcon": lambda model, stage, _: SupConLoss(model, temperature=stage.temperature),
    "circle": lambda model, stage, _: CircleLoss(model, gamma=stage.gamma),
}


def build_loss(model: SentenceTransformer, stage: Stage, relevant: Tensor | None = None) -> nn.Module:
    """The loss that a stage declares, around the model that it trains; mnr reads the known relevant pairs in its labels' numbers."""
    return LOSSES[stage.loss](model, stage, relevant)
