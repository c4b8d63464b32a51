"""The rows of the quality table: a recipe each, changed in one thing, and perhaps the material changed in one thing.

Every row gets the same number of optimiser steps, whatever its number of stages; batches of listwise losses hold about as many texts as
those of the in-batch softmax.

Measured on 2026-11-28, on two cores without a GPU, by `bench_quality.py --world-seed 4409 --encoder static --rate-factor 100 --seeds 3`
(20,000 products, 250 test queries, 300 steps of 48, a static base; recipes were tuned on another world and with MiniLM). README has the
main rows with MiniLM.

                                      ndcg@10 spread rec@10 rec@100 judged misspelt blended margin  minus mnr_baseline, ndcg@10
random                                 0.0009        0.0005  0.0084                                 -0.2471 [-0.2808, -0.2174]
bm25                                   0.2732        0.2306  0.5609                                 +0.0251 [-0.0035, +0.0533]
base                                   0.1531        0.1345  0.4172 0.5446   0.1127  0.2617 0.1122  -0.0950 [-0.1160, -0.0743]
mnr_baseline                           0.2481 0.0020 0.2134  0.5916 0.6352   0.1971  0.3040 0.2219
mnr_baseline, two negatives            0.2536 0.0016 0.2152  0.5869 0.6330   0.2020  0.3070 0.2259  +0.0056 [-0.0022, +0.0137]
few_labels                             0.2826 0.0010 0.2436  0.6509 0.6426   0.2081  0.3075 0.1803  +0.0345 [+0.0130, +0.0558]
mixed                                  0.3955 0.0053 0.3320  0.7538 0.7142   0.3034  0.4038 0.2746  +0.1474 [+0.1192, +0.1747]
curriculum                             0.3946 0.0020 0.3351  0.7572 0.7166   0.3043  0.3988 0.2716  +0.1466 [+0.1178, +0.1739]
curriculum, hard positives alone       0.3283 0.0026 0.2695  0.6773 0.6783   0.2479  0.3614 0.2363  +0.0802 [+0.0547, +0.1061]
curriculum, then BCE                   0.3936 0.0034 0.3324  0.7559 0.7161   0.3027  0.4004 0.2676  +0.1455 [+0.1178, +0.1721]
curriculum, no easy positives          0.3212 0.0078 0.2660  0.6747 0.6735   0.2435  0.3542 0.2269  +0.0732 [+0.0484, +0.0987]
curriculum, no hard positives          0.3509 0.0085 0.2886  0.6987 0.6773   0.2787  0.3660 0.2573  +0.1029 [+0.0784, +0.1282]
curriculum, no hard negatives          0.3901 0.0022 0.3262  0.7473 0.7151   0.3012  0.3986 0.2678  +0.1421 [+0.1151, +0.1680]
curriculum, no near misses             0.3904 0.0024 0.3251  0.7629 0.7153   0.3035  0.3973 0.2764  +0.1423 [+0.1140, +0.1692]
curriculum, no token-similar           0.3867 0.0090 0.3279  0.7508 0.7137   0.2975  0.3925 0.2597  +0.1386 [+0.1114, +0.1647]
curriculum, no random                  0.3924 0.0052 0.3308  0.7554 0.7170   0.3023  0.4018 0.2685  +0.1444 [+0.1157, +0.1711]
curriculum, bm25 alone mines           0.3976 0.0062 0.3363  0.7463 0.7210   0.3070  0.4067 0.2676  +0.1496 [+0.1201, +0.1773]
curriculum, dense alone mines          0.4122 0.0008 0.3471  0.7728 0.7281   0.3248  0.4239 0.2703  +0.1641 [+0.1361, +0.1909]
mine_and_refine                        0.4028 0.0052 0.3422  0.7502 0.7303   0.3095  0.4112 0.2838  +0.1547 [+0.1262, +0.1818]
mine_and_refine, mines nothing         0.3911 0.0034 0.3315  0.7426 0.7224   0.3011  0.4029 0.2863  +0.1431 [+0.1148, +0.1698]
mine_and_refine, mined alone           0.3595 0.0027 0.2989  0.7287 0.6993   0.2735  0.3772 0.2357  +0.1115 [+0.0854, +0.1358]
mine_and_refine, mined positives too   0.4243 0.0045 0.3575  0.7721 0.7428   0.3225  0.4340 0.2846  +0.1762 [+0.1475, +0.2035]
mine_and_refine, circle last           0.4055 0.0021 0.3354  0.7536 0.7315   0.3148  0.4141 0.2881  +0.1574 [+0.1287, +0.1844]
mine_and_refine, misspelling added     0.4081 0.0019 0.3401  0.7535 0.7316   0.3218  0.4169 0.2854  +0.1600 [+0.1315, +0.1885]
mine_and_refine, misspelling in place  0.4035 0.0079 0.3402  0.7461 0.7337   0.3259  0.4127 0.2894  +0.1554 [+0.1276, +0.1817]
supcon_circle                          0.3368 0.0088 0.2848  0.6941 0.6907   0.2483  0.3524 0.1270  +0.0888 [+0.0641, +0.1126]
supcon_circle, no synthetic            0.3002 0.0061 0.2543  0.6783 0.6648   0.2249  0.3222 0.1187  +0.0521 [+0.0280, +0.0748]
supcon_circle, synthetic for all       0.3371 0.0023 0.2831  0.7020 0.6902   0.2446  0.3533 0.1290  +0.0890 [+0.0634, +0.1133]
supcon alone                           0.3711 0.0071 0.3100  0.7310 0.7136   0.2787  0.3827 0.1383  +0.1230 [+0.0959, +0.1478]
circle alone                           0.1775 0.0014 0.1558  0.4774 0.5703   0.1303  0.2529 0.1170  -0.0706 [-0.0908, -0.0508]
supcon, circle on the originals        0.3353 0.0083 0.2836  0.6936 0.6911   0.2461  0.3505 0.1312  +0.0872 [+0.0621, +0.1106]
supcon, circle on mined only           0.3357 0.0078 0.2844  0.6934 0.6918   0.2478  0.3537 0.1250  +0.0876 [+0.0631, +0.1107]

[A] stages in turn beat one mixed stage                  ndcg@10          -0.0009 [-0.0064, +0.0048]   -0.2%  not shown
[A] several channels mine better than BM25 alone         ndcg@10          -0.0030 [-0.0150, +0.0088]   -0.8%  not shown
[A] several channels mine better than dense search alone ndcg@10          -0.0175 [-0.0290, -0.0057]   -4.3%  reversed
[A] token-similar negatives help                         ndcg@10          +0.0080 [+0.0027, +0.0135]   +2.1%  reproduced
[A] BCE last spoils it                                   ndcg@10          +0.0011 [-0.0019, +0.0042]   +0.3%  not shown
[B] the union beats what was mined alone                 ndcg@10          +0.0432 [+0.0275, +0.0600]  +12.0%  reproduced
[B] the same with the paper's losses                     ndcg@10          +0.0012 [-0.0026, +0.0048]   +0.3%  not shown
[B] mining helps                                         ndcg@10          +0.0116 [+0.0011, +0.0227]   +3.0%  reproduced
[B] the same with the paper's losses                     ndcg@10          +0.0016 [-0.0013, +0.0044]   +0.5%  not shown
[B] circle after SupCon beats SupCon alone               ndcg@10          -0.0342 [-0.0437, -0.0248]   -9.2%  reversed
[B] circle without SupCon is worse than the baseline     ndcg@10          +0.0706 [+0.0508, +0.0908]  +39.8%  reproduced
[B] misspelt queries added help                          recall@10        -0.0021 [-0.0118, +0.0079]   -0.6%  not shown
[B] the same on misspelt queries                         misspelt:ndcg@10 +0.0123 [+0.0018, +0.0240]   +4.0%  reproduced
[B] misspelt queries in place harm                       recall@10        +0.0020 [-0.0079, +0.0117]   +0.6%  not shown
[B] synthetic queries help                               recall@10        +0.0305 [+0.0184, +0.0429]  +12.0%  reproduced
[B] synthetic queries for all products spoil the margin  margin           -0.0020 [-0.0032, -0.0006]   -1.6%  reversed
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
