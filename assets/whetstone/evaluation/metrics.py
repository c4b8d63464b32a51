"""Ranking metrics of one run against graded judgments, one row per query (methods.md section 9).

For a query with ranked products p_1, p_2, ... of grade g(p) and gain G(g) (linear; an unjudged product gains nothing):

    DCG@k       = sum_{r<=k} G(g(p_r)) / log2(r + 1)         (Järvelin & Kekäläinen 2002; linear gains, as trec_eval)
    NDCG@k      = DCG@k / DCG@k of all judged products in the best order
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

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from whetstone.platform.errors import WhetstoneError

CUTOFFS = (10, 50, 100)
TOP = 10  # depth of embarrassing@10 and judged@10: a results page
Floats = npt.NDArray[np.float64]


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
    """Score one run (query_id, product_id, rank from 1 without gaps, in any row order) on the given queries, each named once.

    `judgments` (query_id, product_id, grade) of other queries are ignored; `gains` maps every judged grade to its gain (>= 0), products of
    `relevant_grade` or better are relevant, and `cutoffs` are the depths k of NDCG, recall and precision.

    Returns one row per query, in their order: query_id and `metric_names(cutoffs)`, each in [0, 1] or NaN where undefined (see the module).
    WhetstoneError: a repeated query or pair, a query in the run that was not asked for, ranks with gaps, a grade without a gain, a negative
    gain, a cutoff below 1.
    """
    if min(cutoffs, default=1) < 1:
        raise WhetstoneError(f"cutoffs {list(cutoffs)}: a cutoff is a number of products, at least 1")
    queries = pd.Index(np.array(query_ids, dtype=object))
    if not queries.is_unique:
        raise WhetstoneError(f"query_ids: {queries[queries.duplicated()][0]!r} stands twice; name every query once")
    judged = _judged(judgments, queries, gains, relevant_grade)
    ranked = _ranked(run, queries, judged)

    def total(frame: pd.DataFrame, values: pd.Series) -> Floats:
        """Sum of `values` (aligned to the frame's rows) per query: (n_queries,)."""
        sums = np.bincount(frame["query"], weights=values.astype(float), minlength=len(queries))
        return sums.astype(float)  # without a row, bincount counts in integers

    count_relevant = _positive(total(judged, judged["relevant"]))
    ranked_dcg, ideal_dcg = (frame["gain"] / np.log2(frame["rank"] + 1) for frame in (ranked, judged))
    columns: dict[str, Floats] = {}
    for k in cutoffs:
        ideal = _positive(total(judged, ideal_dcg * (judged["rank"] <= k)))
        columns[f"ndcg@{k}"] = total(ranked, ranked_dcg * (ranked["rank"] <= k)) / ideal
        hits = total(ranked, ranked["relevant"] & (ranked["rank"] <= k))
        columns[f"recall@{k}"] = hits / count_relevant
        columns[f"precision@{k}"] = np.where(np.isnan(count_relevant), np.nan, hits / k)
    hits_so_far = ranked.groupby("query")["relevant"].cumsum()
    columns["map"] = total(ranked, ranked["relevant"] * hits_so_far / ranked["rank"]) / count_relevant
    is_first = ranked["relevant"] & (hits_so_far == 1)
    columns["mrr"] = np.where(np.isnan(count_relevant), np.nan, total(ranked, is_first / ranked["rank"]))
    top = ranked["rank"] <= TOP
    count_judged = total(ranked, top & ranked["grade"].notna())
    columns[f"embarrassing@{TOP}"] = total(ranked, top & (ranked["grade"] == 0)) / _positive(count_judged)
    columns[f"judged@{TOP}"] = count_judged / np.maximum(total(ranked, top), 1)
    return pd.DataFrame({"query_id": queries, **{name: columns[name] for name in metric_names(cutoffs)}})


def _positive(denominators: Floats) -> Floats:
    """Denominators with NaN for 0, so that a division by nothing is undefined rather than infinite."""
    return np.where(denominators > 0, denominators, np.nan)


def _judged(judgments: pd.DataFrame, queries: pd.Index, gains: Mapping[int, float], relevant_grade: int) -> pd.DataFrame:
    """Judgments in ideal order: query (its position), product_id, grade, gain, relevant, rank (1 = greatest gain)."""
    if negative := {grade: gain for grade, gain in gains.items() if not gain >= 0}:
        raise WhetstoneError(f"gains {negative}: a gain is 0 or more; mend the guideline")
    judged = judgments.loc[judgments["query_id"].isin(queries), ["query_id", "product_id", "grade"]]
    _refuse_repeated(judged, "judgments")
    gain = judged["grade"].map(dict(gains)).astype(float)
    if gain.isna().any():
        row = judged[gain.isna()].iloc[0]
        pair = f"product {row['product_id']!r} for query {row['query_id']!r}"
        raise WhetstoneError(f"judgments: grade {row['grade']} of {pair} has no gain; the guideline knows {sorted(gains)}")
    judged = judged.assign(query=queries.get_indexer(pd.Index(judged["query_id"])), gain=gain, relevant=judged["grade"] >= relevant_grade)
    judged = judged.sort_values(["query", "gain"], ascending=[True, False], kind="stable", ignore_index=True)
    return judged.assign(rank=judged.groupby("query").cumcount() + 1)


def _ranked(run: pd.DataFrame, queries: pd.Index, judged: pd.DataFrame) -> pd.DataFrame:
    """The run in rank order with its judgments: query (its position), rank, grade (NaN: unjudged), gain, relevant."""
    _refuse_repeated(run, "run")
    position = queries.get_indexer(pd.Index(run["query_id"]))
    if (position < 0).any():
        stranger = run["query_id"].to_numpy()[position < 0][0]
        raise WhetstoneError(f"run: query {stranger!r} was not asked for; evaluate a run on the queries it was made for")
    ranked = run[["product_id", "rank"]].assign(query=position)
    ranked = ranked.merge(judged[["query", "product_id", "grade", "gain", "relevant"]], on=["query", "product_id"], how="left")
    ranked = ranked.sort_values(["query", "rank"], kind="stable", ignore_index=True)
    gap = ranked["rank"] != ranked.groupby("query").cumcount() + 1
    if gap.any():
        query = queries[ranked.loc[gap, "query"].iloc[0]]
        raise WhetstoneError(f"run: the ranks of query {query!r} are not 1, 2, 3, ... without gaps; rank the run again")
    return ranked.assign(gain=ranked["gain"].fillna(0.0), relevant=ranked["relevant"].eq(True))


def _refuse_repeated(frame: pd.DataFrame, name: str) -> None:
    repeated = frame.duplicated(["query_id", "product_id"])
    if repeated.any():
        row = frame[repeated].iloc[0]
        raise WhetstoneError(f"{name}: product {row['product_id']!r} stands twice for query {row['query_id']!r}; keep one row per pair")
