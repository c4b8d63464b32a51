"""From per-query results to the figures of the report: every system's means, its segments, and paired comparisons.

The long frame `per_query` is the evaluation room's own table: system, query_id, split, segment, and one column per metric. All systems
answer the same queries of one split; anything else would compare figures of different things and is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from whetstone.evaluation.significance import bootstrap_means, paired
from whetstone.platform.errors import WhetstoneError
from whetstone.retrieval.ranking import top_k

BASELINES = ("random", "dictionary", "bm25", "base", "rrf_base", "hybrid_base")
LAST = ("rrf_champion", "hybrid_champion")
SEGMENTS = ("head", "torso", "tail")


def in_order(systems: Iterable[str]) -> list[str]:
    """Distinct names in the report's order: baselines, encoders as they came, last the hybrids of the champion."""
    order = {name: place for place, name in enumerate((*BASELINES, "", *LAST))}
    return sorted(dict.fromkeys(systems), key=lambda name: order.get(name, len(BASELINES)))


def random_run(query_ids: Sequence[str], product_ids: Sequence[str], depth: int, seed: int) -> pd.DataFrame:
    """The baseline that knows nothing: a run of `depth` products per query, drawn without replacement (score falling to 1.0).

    A query's draw depends on the seed, the query and the set of products alone, not on other queries or any order.
    """
    products = sorted(set(product_ids))
    size = min(depth, len(products))
    scores = np.arange(size, 0.0, -1.0)
    draws = ((_query_rng(query, seed).choice(len(products), size, replace=False), scores) for query in query_ids)
    return top_k(draws, products, query_ids, size)


def summarise(per_query: pd.DataFrame, metrics: Sequence[str], seed: int = 0) -> dict[str, dict[str, object]]:
    """Means and intervals of every system, over all queries and by segment; systems share their resamples (`check_per_query` first).

    Returns {system: {metric: {"mean", "low", "high"}, ..., "queries": n, "counted": {metric: queries where it is defined}, "segments":
    {segment: {the same without "segments"}}}}, systems in the report's order.
    """
    check_per_query(per_query)
    summary: dict[str, dict[str, object]] = {}
    for system in in_order(per_query["system"]):
        frame = per_query[per_query["system"] == system].sort_values("query_id")  # the resamples pick the same queries in every system
        parts = {segment: frame[frame["segment"] == segment] for segment in SEGMENTS}
        segments = {segment: _figures(part, metrics, seed) for segment, part in parts.items() if len(part)}
        summary[system] = {**_figures(frame, metrics, seed), "segments": segments}
    return summary


def compare(per_query: pd.DataFrame, system: str, against: str, metrics: Sequence[str], seed: int = 0) -> list[dict[str, object]]:
    """Paired comparison of two systems, one row per metric: system, against, metric, difference (system - against), low, high, p."""
    check_per_query(per_query)
    rows: list[dict[str, object]] = []
    for metric in metrics:
        result = paired(values_of(per_query, system, metric), values_of(per_query, against, metric), seed)
        rows.append({"system": system, "against": against, "metric": metric, **result.figures})
    return rows


def values_of(per_query: pd.DataFrame, system: str, metric: str) -> npt.NDArray[np.float64]:
    """A system's metric in the order of query_id, (n_queries,): what pairs with any other system's."""
    rows = per_query[per_query["system"] == system]
    if rows.empty:
        known = ", ".join(in_order(per_query["system"]))
        raise WhetstoneError(f"system {system!r} has no results; evaluated are: {known or 'none'}")
    return rows.sort_values("query_id")[metric].to_numpy(dtype=float)


def check_per_query(per_query: pd.DataFrame) -> None:
    """Raise WhetstoneError unless every system answers the same queries of one split, each once, in a known segment."""
    splits = sorted(per_query["split"].unique())
    if len(splits) > 1:
        raise WhetstoneError(f"per-query results mix the splits {', '.join(splits)}; pass the rows of one split")
    strange = per_query[~per_query["segment"].isin(SEGMENTS)]
    if not strange.empty:
        query, segment = strange.iloc[0][["query_id", "segment"]]
        raise WhetstoneError(f"query {query!r} is in segment {segment!r}; segments are {', '.join(SEGMENTS)}")
    for system, times in pd.crosstab(per_query["query_id"], per_query["system"]).items():
        if (times > 1).any():
            raise WhetstoneError(f"system {system!r} has query {times.idxmax()!r} twice; keep one row per system and query")
        if len(missing := times.index[times == 0]):
            lacking = f"{len(missing)} of {len(times)} queries, {missing[0]!r} among them"
            raise WhetstoneError(f"system {system!r} lacks {lacking}; evaluate every system on the same queries")


def _figures(frame: pd.DataFrame, metrics: Sequence[str], seed: int) -> dict[str, object]:
    intervals = dict(zip(metrics, bootstrap_means(frame[list(metrics)].to_numpy(dtype=float), seed), strict=True))
    return {
        **{name: {"mean": each.mean, "low": each.low, "high": each.high} for name, each in intervals.items()},
        "queries": len(frame),
        "counted": {name: each.count for name, each in intervals.items()},
    }


def _query_rng(query_id: str, seed: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}\n{query_id}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8]))
