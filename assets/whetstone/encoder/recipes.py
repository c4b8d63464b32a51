"""A recipe: the declaration of a training run as a chain of stages, one YAML file a recipe.

A stage names its loss, the pairs or lists that it learns from, and every hyper-parameter. It starts from the best checkpoint of the stage
before, the first one from the incumbent encoder. Adding a recipe is adding a file to the folder: nothing else lists them. A fingerprint is
a hash of what changes the weights: rewording a description makes nothing stale.

Losses on tiers ([A] arXiv 2606.23911): bce, mnr, triplet. Losses on lists of a query's graded products ([B] arXiv 2602.17654): supcon,
circle. `mnr_baseline` is what one would write with sentence-transformers alone, to compare with.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from whetstone.platform.artifacts import fingerprint
from whetstone.platform.declared import Declared, load_named
from whetstone.platform.errors import WhetstoneError

FOLDER = Path(__file__).resolve().parent.parent / "recipes"

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
StageName = Annotated[str, StringConstraints(pattern=r"^encoder_[a-z0-9_]+$", max_length=64)]
PositiveTier = Literal["easy_positive", "hard_positive", "graded", "mined_positive"]
NegativeTier = Literal["random", "hard_negative", "near_miss", "token_similar_negative", "mined_negative"]

_PAIRS, _LISTS = ("bce", "mnr", "mnr_baseline", "triplet"), ("supcon", "circle")
ONLY_FOR = {
    "positives": _PAIRS,
    "positive_grade": _PAIRS,
    "negatives": ("bce", "mnr", "triplet"),
    "negatives_per_positive": _PAIRS,
    "batches": ("mnr",),
    "scale": ("bce", "mnr", "mnr_baseline"),
    "margin": ("triplet",),
    "lists": _LISTS,
    "list_size": _LISTS,
    "lists_per_query": _LISTS,
    "temperature": ("supcon",),
    "gamma": ("circle",),
    "learned_rate": ("bce", "supcon"),
}
"""Settings that only some losses read; given to another loss they would silently do nothing, so they are refused."""


class Stage(Declared):
    """One stage: what it learns from, which loss, and how it is optimised."""

    name: StageName = Field(description="Name of the stage's asset and of its checkpoint in reports.")
    loss: Literal["bce", "mnr", "mnr_baseline", "triplet", "supcon", "circle"]
    positives: tuple[PositiveTier, ...] = Field((), description="Tiers of the positives; `graded` is every pair graded relevant.")
    positive_grade: int = Field(3, ge=0, le=4, description="Lowest grade of a positive.")
    negatives: tuple[NegativeTier, ...] = Field(
        (), description="Tiers of the negatives; `near_miss` is every pair of label 1, `random` fills in where a query has no mined one."
    )
    negatives_per_positive: int = Field(1, ge=0, le=64)
    batches: Literal["conflict_free", "shuffled"] = Field(
        "conflict_free", description="Batches without a row's hidden positives ([A] stage 2), or any rows: the loss masks them anyway."
    )
    lists: Literal["graded", "mined", "union"] = Field("graded", description="A query's graded products, the hard samples, or both.")
    list_size: int = Field(8, ge=3, le=64, description="Products of an instance, shared between the labels that it has.")
    lists_per_query: int = Field(4, ge=1, description="Most instances of a query.")
    scale: float = Field(20.0, gt=0, description="Factor on the cosine (bce: the initial value of a learned one).")
    temperature: float = Field(0.05, gt=0, description="Initial temperature of supcon, which learns it.")
    gamma: float = Field(32.0, gt=0, description="Sharpness of the circle loss.")
    learned_rate: float = Field(1e-2, ge=0, description="Learning rate of what the loss learns itself: log of the scale or temperature.")
    margin: float = Field(0.3, gt=0, le=2, description="Margin between the two cosine distances of a triplet.")
    spelling: Literal["none", "additive", "in_place"] = Field("none", description="Misspelt copies of train queries ([B]: additive).")
    spelling_share: float = Field(0.4, gt=0, le=1, description="Share of the queries that get one ([B]: 0.3 to 0.5).")
    epochs: int = Field(1, ge=1)
    max_steps: int | None = Field(None, ge=1, description="Most optimiser steps, whatever the epochs; the schedule ends there.")
    batch_size: int = Field(48, ge=2)
    learning_rate: float = Field(2e-5, gt=0, le=1, description="Peak rate; linear decay to zero after the warm-up.")
    warmup_ratio: float = Field(0.1, ge=0, lt=1, description="Share of the steps over which the rate rises.")
    max_length: int = Field(128, ge=8, description="Tokens of a text seen in training; the saved model keeps its own limit.")
    frozen_layers: int = Field(0, ge=0, description="Lowest transformer layers that stay as they are, the token embeddings with them.")
    pull_to_start: float = Field(0.0, ge=0, description="Decoupled decay towards the stage's start instead of zero (L2-SP).")
    weight_averaging: float = Field(0.0, ge=0, le=1, description="Share of the stage's start in the weights that are judged and kept.")
    evaluations: int = Field(4, ge=1, description="Dev evaluations, evenly spread, besides the one before the first step.")
    min_instances: int = Field(32, ge=1, description="With fewer rows the stage is skipped and the weights pass through.")

    @model_validator(mode="after")
    def _check_loss(self) -> Self:
        for setting, losses in ONLY_FOR.items():
            if setting in self.model_fields_set and self.loss not in losses:
                raise ValueError(f"{setting}: loss '{self.loss}' does not read it (only {', '.join(losses)}); remove it")
        if self.loss in _PAIRS and not self.positives:
            raise ValueError(f"positives: loss '{self.loss}' needs at least one tier of positives")
        if self.loss in ONLY_FOR["negatives"] and bool(self.negatives) != bool(self.negatives_per_positive):
            raise ValueError("negatives: name tiers if and only if negatives_per_positive is above 0")
        if self.loss == "mnr_baseline" and not self.negatives_per_positive:
            raise ValueError("negatives_per_positive: sentence-transformers' miner finds at least 1")
        if self.loss in ("bce", "triplet") and not self.negatives:
            raise ValueError(f"negatives: loss '{self.loss}' needs at least one tier of negatives")
        if self.spelling == "none" and "spelling_share" in self.model_fields_set:
            raise ValueError("spelling_share: spelling 'none' does not read it (only additive, in_place); remove it")
        return self

    @property
    def reads_synthetic(self) -> bool:
        """Whether it learns from graded pairs as they are: synthetic queries have those alone, and no tiers."""
        return self.lists != "mined" if self.loss in _LISTS else "graded" in self.positives

    @property
    def needs_hard_samples(self) -> bool:
        """Whether it learns from what the stage before it is found to get wrong."""
        is_mined = "mined_positive" in self.positives or "mined_negative" in self.negatives
        return is_mined or (self.loss in _LISTS and self.lists != "graded")

    @property
    def fingerprint(self) -> str:
        """Hash of everything that the stage declares and its loss reads."""
        unread = {setting for setting, losses in ONLY_FOR.items() if self.loss not in losses}
        return fingerprint(self.model_dump(mode="json", exclude=unread))


class Towers(Declared):
    """How the first stage shapes the encoder ([B] section 6)."""

    kind: Literal["shared", "heads", "asymmetric"] = Field("shared", description="One encoder, a projection a side, or a tower a side.")
    dimensions: int | None = Field(None, ge=2, description="Length of the vectors; null: the encoder's own.")


class Synthetic(Declared):
    """Queries made from product features, as further train queries ([B]: only for products without a positive)."""

    share: float = Field(0.2, gt=0, le=1, description="Share of the eligible products that get one.")
    restricted: bool = Field(True, description="Only products without a relevant graded query; without that, margins collapse in [B].")


class Recipe(Declared):
    """A chain of stages with one seed."""

    name: Name
    description: str = Field(min_length=1)
    seed: int = Field(ge=0, lt=2**31)
    towers: Towers = Towers()
    synthetic: Synthetic | None = None
    mining_depth: int = Field(100, ge=2, description="Top k of the hard-sample search; its border is at k / 2 ([B]: 100 to 200).")
    stages: tuple[Stage, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_stages(self) -> Self:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"stages: names must differ, got {names}")
        if self.stages[0].needs_hard_samples:
            raise ValueError("stages[0]: hard samples are mined with the stage before, and there is none; use `graded`")
        if self.synthetic and not any(stage.reads_synthetic for stage in self.stages):
            raise ValueError("synthetic: no stage reads it (only `graded` positives, and lists `graded` or `union`); remove it")
        if "mining_depth" in self.model_fields_set and self.miner is None:
            raise ValueError("mining_depth: no stage reads it (only lists `mined` and `union`, and mined tiers); remove it")
        return self

    @property
    def miner(self) -> str | None:
        """The stage whose encoder the hard samples are mined with: the one before the first that learns from them."""
        pairs = zip(self.stages, self.stages[1:], strict=False)
        return next((before.name for before, stage in pairs if stage.needs_hard_samples), None)


def load_recipe(name: str, folder: Path = FOLDER) -> Recipe:
    """The recipe in the file `name`.yml of a folder, by default of those that are shipped; WhetstoneError: as in `load_named`."""
    return load_named(Recipe, "recipe", name, folder)


def load_recipes(names: str, folder: Path = FOLDER) -> list[Recipe]:
    """The recipes of a comma-separated list, to be trained side by side; WhetstoneError: two stages share a name, or as `load_recipe`."""
    recipes = [load_recipe(name.strip(), folder) for name in names.split(",")]
    stages = [stage.name for recipe in recipes for stage in recipe.stages]
    if twice := sorted({name for name in stages if stages.count(name) > 1}):
        raise WhetstoneError(f"WHETSTONE_RECIPE={names}: the stage {twice[0]} is in it twice; rename it in one of the recipes")
    for what in ("miner", "synthetic"):  # they make a table each
        if len(makers := [recipe.name for recipe in recipes if getattr(recipe, what)]) > 1:
            raise WhetstoneError(f"WHETSTONE_RECIPE={names}: {' and '.join(makers)} both have a {what}; build them one after the other")
    return recipes
