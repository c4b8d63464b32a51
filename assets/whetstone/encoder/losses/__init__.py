"""Losses by the name that recipes give them: sentence-transformers' own where it has the loss, one file here where it has not.

A further loss is one file and one line in `LOSSES`.
"""

from __future__ import annotations

from collections.abc import Callable

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss, TripletLoss
from sentence_transformers.sentence_transformer.losses.triplet import TripletDistanceMetric
from torch import nn

from whetstone.encoder.losses.scaled_bce import ScaledBCELoss
from whetstone.encoder.recipes import Stage

LOSSES: dict[str, Callable[[SentenceTransformer, Stage], nn.Module]] = {
    "bce": lambda model, stage: ScaledBCELoss(model, scale=stage.scale),
    "mnr": lambda model, stage: MultipleNegativesRankingLoss(model, scale=stage.scale),
    # [A] stage 3: max(0, (1 - cos(q, p)) - (1 - cos(q, n)) + margin); the library's class computes just that
    "triplet": lambda model, stage: TripletLoss(model, distance_metric=TripletDistanceMetric.COSINE, triplet_margin=stage.margin),
}


def build_loss(model: SentenceTransformer, stage: Stage) -> nn.Module:
    """The loss that a stage declares, around the model that it trains."""
    return LOSSES[stage.loss](model, stage)
