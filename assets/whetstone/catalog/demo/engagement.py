"""Engagement of the demo shop: what shoppers did with rankings of an imperfect engine.

Each query is shown in a few variants of a noisy ranking (so that a product is seen at different ranks). A shopper looks
at rank r with probability 1 / r^eta and clicks what was looked at with a probability that depends on relevance only
(the position-based click model: Richardson et al. 2007; Craswell et al. 2008).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

EXAMINATION_ETA = 0.9
VARIANTS = 3
SHOWN = 24
ENGINE_NOISE = 2.0
CLICK_CHANCE = {4: 0.55, 2: 0.25, 1: 0.12, 0: 0.04}
CART_CHANCE = {4: 0.30, 2: 0.18, 1: 0.10, 0: 0.05}
BUY_CHANCE = 0.5


def simulate(
    query: npt.NDArray[np.int64],
    product: npt.NDArray[np.int64],
    grade: npt.NDArray[np.int64],
    frequency: npt.NDArray[np.int64],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Simulate what the log says of candidate pairs.

    Args:
        query: Query number of each pair, shape (n,).
        product: Product number of each pair, shape (n,).
        grade: True grade of each pair, shape (n,).
        frequency: How often each query is asked, shape (queries,).
        rng: Source of the rankings and of the behaviour.

    Returns:
        One row per pair that was shown at least once, ordered by query and product: query, product, impressions,
        clicks, add_to_carts, purchases, mean_rank.
    """
    attraction = grade + rng.normal(0, ENGINE_NOISE / 2, len(grade))
    shares = rng.multinomial(frequency, np.full(VARIANTS, 1 / VARIANTS))
    shown = []
    for variant in range(VARIANTS):
        score = attraction + rng.normal(0, ENGINE_NOISE / 2, len(grade))
        order = np.lexsort((product, -score, query))
        first = np.searchsorted(query[order], query[order], side="left")
        rank = np.arange(1, len(order) + 1) - first
        keep = (rank <= SHOWN) & (shares[query[order], variant] > 0)
        rows, rank = order[keep], rank[keep]
        impressions = shares[query[rows], variant]
        click = _by_grade(CLICK_CHANCE, grade[rows]) / rank**EXAMINATION_ETA
        clicks = rng.binomial(impressions, click)
        carts = rng.binomial(clicks, _by_grade(CART_CHANCE, grade[rows]))
        shown.append(
            pd.DataFrame(
                {
                    "query": query[rows],
                    "product": product[rows],
                    "impressions": impressions,
                    "clicks": clicks,
                    "add_to_carts": carts,
                    "purchases": rng.binomial(carts, BUY_CHANCE),
                    "mean_rank": impressions * rank.astype(np.float64),
                }
            )
        )
    log = pd.concat(shown).groupby(["query", "product"], as_index=False, sort=True).sum()
    return log.assign(mean_rank=log["mean_rank"] / log["impressions"])


def _by_grade(chance: dict[int, float], grade: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    table = np.zeros(max(chance) + 1)
    table[list(chance)] = list(chance.values())
    return table[grade]
