"""From per-query results to the figures of the report: every system's means, its segments, and paired comparisons.

The long frame `per_query` is the evaluation room's own table: system, query_id, segment, and one column per metric. It holds one split;
every system has one row for each of the same queries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from whetstone.evaluation.significance import bootstrap_means, paired
from whetstone.retrieval.ranking import top_k

SEGMENTS = ("head", "torso", "tail")


def random_run(query_ids: Sequence[str], product_ids: Sequence[str], depth: int, seed: int) -> pd.DataFrame:
    """The baseline that knows nothing: a run of `depth` products per query, drawn without replacement (score falling to 1.0).

    A query's draw depends on the seed, the query and the set of products alone, not on other queries or any order.
    """
    products = sorted(set(product_ids))
    size = min(depth, len(products))
    digests = (hashlib.sha256(f"{seed}\n{query}".encode()).digest() for query in query_ids)
    draws = (np.random.default_rng(int.from_bytes(digest[:8])).choice(len(products), size, replace=False) for digest in digests)
    return top_k(((drawn, np.arange(size, 0.0, -1.0)) for drawn in draws), products, query_ids, size)


def summarise(per_query: pd.DataFrame, metrics: Sequence[str], seed: int = 0) -> dict[str, dict[str, object]]:
    """Means and intervals of every system as they come, over all queries and by segment; systems share their resamples.

    Returns {system: {metric: {"mean", "low", "high"}, ..., "queries": n, "segments": {segment: {the same without "segments"}}}}.
    """
    summary: dict[str, dict[str, object]] = {}
    for system in per_query["system"].unique():
        frame = per_query[per_query["system"] == system].sort_values("query_id")  # the resamples pick the same queries in every system
        parts = {segment: frame[frame["segment"] == segment] for segment in SEGMENTS}
        segments = {segment: _figures(part, metrics, seed) for segment, part in parts.items() if len(part)}
        summary[system] = {**_figures(frame, metrics, seed), "segments": segments}
    return summary


def compare(per_query: pd.DataFrame, pairs: Iterable[tuple[str, str]], metrics: Sequence[str], seed: int = 0) -> list[dict[str, object]]:
    """Paired comparisons, one row per pair and metric: system, against, metric, difference (system - against), low, high, p."""
    values = {metric: per_query.pivot(index="query_id", columns="system", values=metric) for metric in metrics}
    rows: list[dict[str, object]] = []
    for system, against in pairs:
        for metric, each in values.items():
            found = paired(each[system].to_numpy(), each[against].to_numpy(), seed)
            names = {"system": system, "against": against, "metric": metric}
            rows.append({**names, "difference": found.mean, "low": found.low, "high": found.high, "p": found.p})
    return rows


def _figures(frame: pd.DataFrame, metrics: Sequence[str], seed: int) -> dict[str, object]:
    intervals = zip(metrics, bootstrap_means(frame[list(metrics)].to_numpy(dtype=float), seed), strict=True)
    return {**{name: {"mean": each.mean, "low": each.low, "high": each.high} for name, each in intervals}, "queries": len(frame)}
