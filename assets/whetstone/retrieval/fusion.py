"""Several runs into one: by ranks alone (reciprocal rank fusion), or a blend of a lexical and a dense run by their scores.

    rrf(q, d)   = sum over the runs that found d for q of 1 / (k + rank)
    blend(q, d) = w * max(0, (cos - cut_1) / (cut_2 - cut_1)) + (1 - w) * lexical / best lexical score of q

Cormack, Clarke, Buettcher 2009, "Reciprocal rank fusion outperforms Condorcet and individual rank learning methods"; k = 60 is theirs.
The blend is the convex combination of Bruch, Gai, Ingber 2023, "An Analysis of Fusion Functions for Hybrid Retrieval", with the encoder's
own cuts as the scale: 0 is where products begin to be moderately relevant, 1 where they begin to be relevant (index/thresholds.py).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from whetstone.platform.errors import WhetstoneError

K = 60
DECIMALS = 12  # sums that differ only by the order of addition are the same score
PAIR = ["query_id", "product_id"]


def rrf(runs: Sequence[pd.DataFrame], depth: int = 500) -> pd.DataFrame:
    """Fuse runs (query_id, product_id, rank; in any order, perhaps empty) into one of `depth` a query; WhetstoneError: there are none."""
    if not runs:
        raise WhetstoneError("reciprocal rank fusion needs at least one run")
    found = pd.concat([run[[*PAIR, "rank"]] for run in runs])
    found["score"] = 1.0 / (K + found["rank"].astype("float64"))
    return _ranked(found.groupby(PAIR)["score"].sum().reset_index(), depth)


def blend(lexical_run: pd.DataFrame, dense_run: pd.DataFrame, cuts: tuple[float, float], weight: float, depth: int = 500) -> pd.DataFrame:
    """Blend a lexical run (scores above 0) and a dense one (cosines), as `scaled` and `weighted` do, to a run of at most `depth` each."""
    return weighted(scaled(lexical_run, dense_run, cuts), weight, depth)


def scaled(lexical_run: pd.DataFrame, dense_run: pd.DataFrame, cuts: tuple[float, float]) -> pd.DataFrame:
    """What `weighted` needs: query_id, product_id, lexical, dense, ordered by the ids; what a run didn't find has 0 from it.

    A cosine below cut_1 gets no credit. Where cut_2 isn't above cut_1 (the encoder cannot tell the two labels apart), 1 is the cosine 1.
    """
    low = cuts[0]
    width = (cuts[1] if cuts[1] > low else 1.0) - low
    best = lexical_run.groupby("query_id")["score"].transform("max")
    lexical = lexical_run[PAIR].assign(lexical=lexical_run["score"] / best)
    dense = dense_run[PAIR].assign(dense=((dense_run["score"] - low) / (width if width > 0 else 1.0)).clip(lower=0.0))
    return lexical.merge(dense, on=PAIR, how="outer").fillna({"lexical": 0.0, "dense": 0.0}).sort_values(PAIR, ignore_index=True)


def weighted(found: pd.DataFrame, weight: float, depth: int) -> pd.DataFrame:
    """The run of what `scaled` gave, at this weight of the dense side; equal scores by product_id."""
    return _ranked(found[PAIR].assign(score=weight * found["dense"] + (1 - weight) * found["lexical"]), depth)


def _ranked(found: pd.DataFrame, depth: int) -> pd.DataFrame:
    """Scored pairs, ordered by their ids, as a run."""
    scores = found["score"].round(DECIMALS)
    order = np.lexsort((-scores, found.groupby("query_id").ngroup()))  # stable, so equal scores keep the order of the products
    run = found.assign(score=scores).iloc[order].groupby("query_id").head(depth).reset_index(drop=True)
    run.insert(2, "rank", run.groupby("query_id").cumcount() + 1)
    return run
