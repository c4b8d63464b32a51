"""Engagement of the demo shop: what shoppers did with rankings of an imperfect engine.

Each query is shown in a few variants of a noisy ranking (so that a product is seen at different ranks). A shopper looks at rank r with
probability 1 / r^eta and clicks what was looked at with a probability that depends on relevance only (the position-based click model:
Richardson et al. 2007; Craswell et al. 2008).
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

EXAMINATION_ETA = 0.9
VARIANTS = 3
SHOWN = 24
ENGINE_NOISE = 1.0  # twice: once for a query's every ranking, once for each variant
CLICK_CHANCE = np.array([0.04, 0.12, 0.25, np.nan, 0.55])  # by grade
CART_CHANCE = np.array([0.05, 0.10, 0.18, np.nan, 0.30])
BUY_CHANCE = 0.5


def simulate(pairs: pd.DataFrame, frequency: NDArray[np.int64], rng: np.random.Generator) -> pd.DataFrame:
    """What the log says of candidate pairs (query: a number, row of the product, truth: its grade).

    `frequency` (queries,) is how often each query is asked. One row per pair that was shown at least once, ordered by query and row: query,
    row, impressions, clicks, add_to_carts, purchases, mean_rank.
    """
    attraction = pairs["truth"] + rng.normal(0, ENGINE_NOISE, len(pairs))
    times = rng.multinomial(frequency, np.full(VARIANTS, 1 / VARIANTS))
    shown = []
    for variant in range(VARIANTS):
        ranked = pairs.assign(score=-(attraction + rng.normal(0, ENGINE_NOISE, len(pairs)))).sort_values(["query", "score", "row"])
        ranked["rank"] = ranked.groupby("query").cumcount() + 1
        ranked["impressions"] = times[ranked["query"], variant]
        log = ranked[(ranked["rank"] <= SHOWN) & (ranked["impressions"] > 0)]
        clicks = rng.binomial(log["impressions"], CLICK_CHANCE[log["truth"]] / log["rank"] ** EXAMINATION_ETA)
        carts = rng.binomial(clicks, CART_CHANCE[log["truth"]])
        behaviour = {"clicks": clicks, "add_to_carts": carts, "purchases": rng.binomial(carts, BUY_CHANCE)}
        shown.append(log[["query", "row", "impressions"]].assign(**behaviour, mean_rank=log["impressions"] * log["rank"]))
    total = pd.concat(shown).groupby(["query", "row"], as_index=False).sum()
    return total.assign(mean_rank=total["mean_rank"] / total["impressions"])
