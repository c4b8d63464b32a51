"""The rows of the quality table: a recipe each, changed in one thing, and perhaps the material changed in one thing.

Every row gets the same number of optimiser steps, whatever its number of stages; batches of listwise losses hold about as many texts as
those of the in-batch softmax.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pandas as pd

from whetstone.curriculum.material import Material
from whetstone.encoder.recipes import Recipe, load_recipe

from quality_world import World  # isort: skip

EASY, HARD, NEGATIVE, SIMILAR = "easy_positive", "hard_positive", "hard_negative", "token_similar_negative"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    recipe: Callable[[], Recipe]
    material: Callable[[World], Material] = lambda world: world.material
    synthetic: bool | None = None  # restricted, unrestricted, or none


def hard_alone() -> Recipe:
    """The curriculum whose second stage has hard positives alone, as in [A]."""
    recipe = load_recipe("curriculum")
    stages = tuple(each.model_copy(update={"positives": (HARD,)}) if each.loss == "mnr" else each for each in recipe.stages)
    return recipe.model_copy(update={"stages": stages})


def curriculum(without: str | None = None, then: str | None = None, positives: tuple[str, ...] = ()) -> Recipe:
    """The curriculum without a tier (a stage that has nothing left is left out), with one more stage, or with other positives."""
    recipe = load_recipe("curriculum")
    stages = []
    for stage in recipe.stages:
        kept = positives or tuple(tier for tier in stage.positives if tier != without)
        negatives = tuple(tier for tier in stage.negatives if tier != without)
        if kept and (negatives or not stage.negatives):
            stages.append(stage.model_copy(update={"positives": kept, "negatives": negatives}))
    if then:
        last = next(stage for stage in recipe.stages if stage.loss == then)
        stages.append(last.model_copy(update={"name": f"encoder_last_{then}"}))
    return recipe.model_copy(update={"stages": tuple(stages)})


def paper(stages: str = "supcon,circle", **changes: Any) -> Recipe:
    """supcon_circle ([B] to the letter) with some of its stages; changes go to the last of them."""
    recipe = load_recipe("supcon_circle")
    kept = [stage for stage in recipe.stages if stage.loss in stages.split(",")]
    return recipe.model_copy(update={"stages": (*kept[:-1], kept[-1].model_copy(update=changes))})


def refine(positives: tuple[str, ...] = (), negatives: tuple[str, ...] = (), then: str | None = None, **changes: Any) -> Recipe:
    """mine_and_refine whose second stage learns from other tiers; changes go to both stages; `then` is the loss of [B]'s last stage."""
    recipe = load_recipe("mine_and_refine")
    first, second = recipe.stages
    tiers = {"positives": positives or second.positives, "negatives": negatives or second.negatives}
    last = [stage.model_copy(update={"max_steps": 100}) for stage in load_recipe("supcon_circle").stages if stage.loss == then]
    return recipe.model_copy(update={"stages": (first.model_copy(update=changes), second.model_copy(update=changes | tiers), *last)})


def more_negatives() -> Recipe:
    """mnr_baseline with two mined negatives a row: as many texts a batch as the recipes that have two."""
    recipe = load_recipe("mnr_baseline")
    return recipe.model_copy(update={"stages": (recipe.stages[0].model_copy(update={"negatives_per_positive": 2}),)})


def single_channel(name: str) -> Callable[[World], Material]:
    """Tiers as one channel alone could mine them: what it found, relevant or not; nobody to disagree with."""

    def change(world: World) -> Material:
        run = world.warehouse.read(f"select distinct query_id, product_id, rank from marts.{name}_run")
        graded = world.material.graded.merge(run, on=["query_id", "product_id"]).drop_duplicates(["query_id", "product_id"])
        negative = graded[(graded["grade"] <= world.guideline.irrelevant_grade) & (graded["rank"] <= world.settings.hard_negative_rank)]
        positive = graded[graded["grade"] >= world.guideline.relevant_grade]
        tiers = pd.concat([positive.assign(tier=EASY), negative.assign(tier=NEGATIVE)]).assign(split="train")
        return replace(world.material, tiers=tiers)

    return change


ROWS: dict[str, Row] = {
    "mnr_baseline": Row(lambda: load_recipe("mnr_baseline")),
    "mnr_baseline, two negatives": Row(more_negatives),
    "few_labels": Row(lambda: load_recipe("few_labels")),
    "mixed": Row(lambda: load_recipe("mixed")),
    "curriculum": Row(curriculum),
    "curriculum, hard positives alone": Row(hard_alone),
    "curriculum, then BCE": Row(lambda: curriculum(then="bce")),
    "curriculum, no easy positives": Row(lambda: curriculum(without=EASY)),
    "curriculum, no hard positives": Row(lambda: curriculum(without=HARD)),
    "curriculum, no hard negatives": Row(lambda: curriculum(without=NEGATIVE)),
    "curriculum, no near misses": Row(lambda: curriculum(without="near_miss")),
    "curriculum, no token-similar": Row(lambda: curriculum(without=SIMILAR)),
    "curriculum, no random": Row(lambda: curriculum(without="random")),
    "curriculum, bm25 alone mines": Row(lambda: curriculum(SIMILAR, positives=(EASY,)), single_channel("bm25")),
    "curriculum, dense alone mines": Row(lambda: curriculum(SIMILAR, positives=(EASY,)), single_channel("dense")),
    "mine_and_refine": Row(refine),
    "mine_and_refine, mines nothing": Row(lambda: refine(negatives=("hard_negative", "near_miss", "random"))),
    "mine_and_refine, mined alone": Row(lambda: refine(("mined_positive",), ("mined_negative", "random"))),
    "mine_and_refine, mined positives too": Row(lambda: refine((EASY, HARD, "mined_positive"))),
    "mine_and_refine, circle last": Row(lambda: refine(then="circle")),
    "mine_and_refine, misspelling added": Row(lambda: refine(spelling="additive")),
    "mine_and_refine, misspelling in place": Row(lambda: refine(spelling="in_place")),
    "supcon_circle": Row(paper, synthetic=True),
    "supcon_circle, no synthetic": Row(paper),
    "supcon_circle, synthetic for all": Row(paper, synthetic=False),
    "supcon alone": Row(lambda: paper("supcon"), synthetic=True),
    "circle alone": Row(lambda: paper("circle", lists="graded"), synthetic=True),
    "supcon, circle on the originals": Row(lambda: paper(lists="graded"), synthetic=True),
    "supcon, circle on mined only": Row(lambda: paper(lists="mined"), synthetic=True),
}


class Ordering(NamedTuple):
    """What a paper says: one row beats another in a metric."""

    paper: str
    claim: str
    better: str
    worse: str
    metric: str = "ndcg@10"


ORDERINGS = (
    Ordering("[A]", "stages in turn beat one mixed stage", "curriculum", "mixed"),
    Ordering("[A]", "several channels mine better than BM25 alone", "curriculum", "curriculum, bm25 alone mines"),
    Ordering("[A]", "several channels mine better than dense search alone", "curriculum", "curriculum, dense alone mines"),
    Ordering("[A]", "token-similar negatives help", "curriculum", "curriculum, no token-similar"),
    Ordering("[A]", "BCE last spoils it", "curriculum", "curriculum, then BCE"),
    Ordering("[B]", "the union beats what was mined alone", "mine_and_refine", "mine_and_refine, mined alone"),
    Ordering("[B]", "the same with the paper's losses", "supcon_circle", "supcon, circle on mined only"),
    Ordering("[B]", "mining helps", "mine_and_refine", "mine_and_refine, mines nothing"),
    Ordering("[B]", "the same with the paper's losses", "supcon_circle", "supcon, circle on the originals"),
    Ordering("[B]", "circle after SupCon beats SupCon alone", "supcon_circle", "supcon alone"),
    Ordering("[B]", "circle without SupCon is worse than the baseline", "mnr_baseline", "circle alone"),
    Ordering("[B]", "misspelt queries added help", "mine_and_refine, misspelling added", "mine_and_refine", "recall@10"),
    Ordering("[B]", "the same on misspelt queries", "mine_and_refine, misspelling added", "mine_and_refine", "misspelt:ndcg@10"),
    Ordering("[B]", "misspelt queries in place harm", "mine_and_refine", "mine_and_refine, misspelling in place", "recall@10"),
    Ordering("[B]", "synthetic queries help", "supcon_circle", "supcon_circle, no synthetic", "recall@10"),
    Ordering("[B]", "synthetic queries for all products spoil the margin", "supcon_circle", "supcon_circle, synthetic for all", "margin"),
)
KEY = ("mnr_baseline", "mixed", "curriculum", "mine_and_refine")
