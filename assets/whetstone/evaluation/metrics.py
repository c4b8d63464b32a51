"""Ranking metrics of one run against graded judgments, one row per query (methods.md section 9).

For a query with ranked products p_1, p_2, ... of grade g(p) and gain G(g) (linear; an unjudged product gains nothing):

    DCG@k       = sum_{r<=k} G(g(p_r)) / log2(r + 1)         (Järvelin & Kekäläinen 2002; linear gains, as trec_eval)
    NDCG@k      = DCG@k / DCG@k of all judged products in the best order            (`retrieval.ranking.ndcg`)
    recall@k    = relevant products in the top k / relevant judged products
    precision@k = relevant products in the top k / k
    AP          = sum over relevant p_r of precision@r / relevant judged products   (over the whole run; mean: `map`)
    RR          = 1 / rank of the first relevant product, 0 if there is none       (mean: `mrr`)
    embarrassing@10 = share of grade 0 among the *judged* products of the top 10
    judged@10   = share of judged products among those shown in the top 10

**Undefined is NaN, not 0.** A query on which no ranking can score says nothing about a ranking: NDCG is NaN where no judged product has
a gain, recall, precision, AP and RR where none is relevant, embarrassing@10 where none of the top 10 is judged. Means skip NaN and say
how many queries they count (`significance.Interval.count`). A query that the run left out scores 0 in what is defined for it.

Ranks decide, not scores: a run brings its ties resolved (by -score, product_id). The figures agree with trec_eval's (tests).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from whetstone.platform.errors import WhetstoneError
from whetstone.retrieval.ranking import ndcg

CUTOFFS = (10, 50, 100)
TOP = 10  # depth of embarrassing@10 and judged@10: a results page


def metric_names(cutoffs: Sequence[int] = CUTOFFS) -> list[str]:
    """Columns of `evaluate_run` after query_id, in order."""
    at_cutoffs = [f"{metric}@{k}" for metric in ("ndcg", "recall", "precision") for k in cutoffs]
    return [*at_cutoffs, "map", "mrr", f"embarrassing@{TOP}", f"judged@{TOP}"]


def evaluate_run(
    run: pd.DataFrame,
    judgments: pd.DataFrame,
    query_ids: Sequence[str],
    *,
    gains: Mapping[int, float],
    relevant_grade: int = 3,
    cutoffs: Sequence[int] = CUTOFFS,
) -> pd.DataFrame:
    """Score one run (query_id, product_id, rank from 1, in any row order) on the given queries, each named once.

    Rows of other queries are ignored, in the run and in `judgments` (query_id, product_id, grade). `gains` maps every judged grade to its
    gain (>= 0), products of `relevant_grade` or better are relevant, and `cutoffs` are the depths k of NDCG, recall and precision.

    Returns a row per query, in their order: query_id and `metric_names(cutoffs)`. WhetstoneError: no gain. ValueError: a repeated pair.
    """
    query_ids = list(query_ids)
    judged = judgments.loc[judgments["query_id"].isin(query_ids), ["query_id", "product_id", "grade"]]
    judged = judged.assign(gain=judged["grade"].map(dict(gains)).astype(float))
    if judged["gain"].isna().any():
        row = judged[judged["gain"].isna()].iloc[0]
        pair = f"product {row['product_id']!r} for query {row['query_id']!r}"
        raise WhetstoneError(f"judgments: grade {row['grade']} of {pair} has no gain; the guideline knows {sorted(gains)}")
    ranked = run[["query_id", "product_id", "rank"]].merge(judged, on=["query_id", "product_id"], how="left", validate="one_to_one")
    ranked = ranked.sort_values(["query_id", "rank"], ignore_index=True)

    def total(values: pd.Series, frame: pd.DataFrame = ranked) -> pd.Series:
        """Sum of `values` (aligned to the frame's rows) for each query."""
        return values.groupby(frame["query_id"]).sum().reindex(query_ids, fill_value=0)

    rank, is_relevant = ranked["rank"], ranked["grade"] >= relevant_grade
    hits = is_relevant.groupby(ranked["query_id"]).cumsum()
    count_relevant = total(judged["grade"] >= relevant_grade, judged).replace(0, np.nan)
    columns: dict[str, pd.Series] = {}
    for k in cutoffs:
        columns[f"ndcg@{k}"] = ndcg(ranked, judged, k).reindex(query_ids)
        found = total(is_relevant & (rank <= k))
        columns[f"recall@{k}"] = found / count_relevant
        columns[f"precision@{k}"] = (found / k).where(count_relevant.notna())
    columns["map"] = total(is_relevant * hits / rank) / count_relevant
    columns["mrr"] = total((is_relevant & (hits == 1)) / rank).where(count_relevant.notna())
    is_top, is_judged = rank <= TOP, ranked["grade"].notna()
    count_judged = total(is_top & is_judged)
    columns[f"embarrassing@{TOP}"] = total(is_top & (ranked["grade"] == 0)) / count_judged.replace(0, np.nan)
    columns[f"judged@{TOP}"] = count_judged / total(is_top).clip(lower=1)
    return pd.DataFrame(columns)[metric_names(cutoffs)].rename_axis("query_id").reset_index()
