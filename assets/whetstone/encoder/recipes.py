"""A recipe: the declaration of a training run as a chain of stages, one YAML file a recipe.

A stage names its loss, the tiers that its positives and negatives come from, and every hyper-parameter. It starts from the best checkpoint
of the stage before, the first one from the incumbent encoder ([A] arXiv 2606.23911). Adding a recipe is adding a file to the folder:
nothing else lists them. A fingerprint is a hash of what changes the weights: rewording a description makes nothing stale.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from whetstone.platform.artifacts import fingerprint
from whetstone.platform.declared import Declared, load_named

FOLDER = Path(__file__).resolve().parent.parent / "recipes"

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
StageName = Annotated[str, StringConstraints(pattern=r"^encoder_[a-z0-9_]+$", max_length=64)]
PositiveTier = Literal["easy_positive", "hard_positive"]
NegativeTier = Literal["random", "hard_negative", "token_similar_negative"]

ONLY_FOR = {"scale": ("bce", "mnr"), "scale_learning_rate": ("bce",), "margin": ("triplet",)}
"""Settings that only some losses read; given to another loss they would silently do nothing, so they are refused."""


class Stage(Declared):
    """One stage: which pairs, which loss, and how it is optimised."""

    name: StageName = Field(description="Name of the stage's asset and of its checkpoint in reports.")
    loss: Literal["bce", "mnr", "triplet"]
    positives: tuple[PositiveTier, ...] = Field(min_length=1, description="Tiers of the positives.")
    positive_grade: int = Field(3, ge=0, le=4, description="Lowest grade of a positive.")
    negatives: tuple[NegativeTier, ...] = Field((), description="Tiers of the negatives; `random` fills in where a query has no mined one.")
    negatives_per_positive: int = Field(1, ge=0, le=64)
    scale: float = Field(20.0, gt=0, description="Factor on the cosine (bce: the initial value of a learned one).")
    scale_learning_rate: float = Field(1e-2, ge=0, description="Learning rate of the logarithm of the scale (bce).")
    margin: float = Field(0.3, gt=0, le=2, description="Margin between the two cosine distances of a triplet.")
    epochs: int = Field(1, ge=1)
    max_steps: int | None = Field(None, ge=1, description="Most optimiser steps, whatever the epochs; the schedule ends there.")
    batch_size: int = Field(48, ge=2)
    learning_rate: float = Field(2e-5, gt=0, le=1e-2, description="Peak rate; linear decay to zero after the warm-up.")
    warmup_ratio: float = Field(0.1, ge=0, lt=1, description="Share of the steps over which the rate rises.")
    max_length: int = Field(128, ge=8, description="Tokens of a text seen in training; the saved model keeps its own limit.")
    evaluations_per_epoch: int = Field(2, ge=1, description="Dev evaluations an epoch, besides the one before the first step.")
    weight_averaging: float = Field(0.0, ge=0, le=1, description="Share of the stage's start in the weights that are judged and kept.")
    min_instances: int = Field(32, ge=1, description="With fewer rows the stage is skipped and the weights pass through.")

    @model_validator(mode="after")
    def _check_loss(self) -> Self:
        for setting, losses in ONLY_FOR.items():
            if setting in self.model_fields_set and self.loss not in losses:
                raise ValueError(f"{setting}: loss '{self.loss}' does not read it (only {', '.join(losses)}); remove it")
        if bool(self.negatives) != bool(self.negatives_per_positive):
            raise ValueError("negatives: name tiers if and only if negatives_per_positive is above 0")
        if self.loss != "mnr" and not self.negatives:
            raise ValueError(f"negatives: loss '{self.loss}' needs at least one tier of negatives")
        return self

    @property
    def fingerprint(self) -> str:
        """Hash of everything that the stage declares and its loss reads."""
        unread = {setting for setting, losses in ONLY_FOR.items() if self.loss not in losses}
        return fingerprint(self.model_dump(mode="json", exclude=unread))


class Recipe(Declared):
    """A chain of stages with one seed."""

    name: Name
    description: str = Field(min_length=1)
    seed: int = Field(ge=0, lt=2**31)
    stages: tuple[Stage, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"stages: names must differ, got {names}")
        return self


def load_recipe(name: str, folder: Path = FOLDER) -> Recipe:
    """The recipe in the file `name`.yml of a folder, by default of those that are shipped; WhetstoneError: as in `load_named`."""
    return load_named(Recipe, "recipe", name, folder)
