"""`report.json`: what an evaluation found, gathered from the warehouse under a contract that others read.

    {"source", "created_at",
     "catalog": {"products", "categories", "queries": {"train", "dev", "test"}, "judgments"},
     "systems": {NAME: {METRIC: {"mean", "low", "high"}, ..., "segments": {SEGMENT: {METRIC: ...}}}},
     "comparisons": [{"system", "against", "metric", "difference", "low", "high", "p"}],
     "champion": NAME, "promotion": {"promoted": bool, "reason"}}

Further keys follow (separability, who graded how much, overlap, versions); the pages show them as they are. The JSON is strict: what is
undefined is null. Rows of random, bm25 and base always stand beside the rest: a figure without them can't be read.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from whetstone.evaluation.contestants import HYBRIDS, LABEL_NDCG, encoders_of
from whetstone.evaluation.metrics import metric_names
from whetstone.evaluation.separability import separability
from whetstone.evaluation.significance import bootstrap_means, paired
from whetstone.grading import summary as grading
from whetstone.platform.settings import Settings

CONTRACT = ("source", "created_at", "catalog", "systems", "comparisons", "champion", "promotion")
COMPARED = ("ndcg@10", "recall@100", "mrr", "embarrassing@10")
JUDGED = "select * from meta.judged_scores where split = 'test' order by rowid"  # evaluation writes them
CATALOG = """
    select
        (select count(*) from staging.products) as products,
        (select count(distinct category) from staging.products) as categories,
        (select {'train': count_if(split = 'train'), 'dev': count_if(split = 'dev'), 'test': count_if(split = 'test')} from raw.queries)
        as queries,
        (select count(*) from raw.judgments) as judgments
"""
TIERS = "select tier, count(*) as pairs, count(distinct query_id) as queries from marts.curriculum_tiers group by 1 order by 1"
OVERLAP = """
    select
        "left", "right",
        sum(overlap * count_queries) / sum(count_queries) as overlap,
        sum(jaccard * count_queries) / sum(count_queries) as jaccard,
        sum(count_queries) as count_queries
    from marts.channel_overlap where count_queries > 0 group by 1, 2 order by 1, 2
"""
SEGMENTS = ("head", "torso", "tail")
Report = dict[str, Any]


def gather(
    read: Callable[[str], pd.DataFrame], settings: Settings, decision: Mapping[str, Any], calibrated: Mapping[str, Any], created_at: str
) -> Report:
    """The report on the test queries, of JSON types alone; without systems where none of the queries is judged.

    `read` is the warehouse's, `decision` the gate's (promoted, champion, before, reason), `calibrated` what `grading.calibrate` found.
    """
    table = read("select * from marts.evaluation where split = 'test' order by place, query_id")
    champion, before = decision["champion"], decision["before"]
    versions = encoders_of(table)
    checkpoints = [name for name in versions if name != "base"]
    # Of the hybrids, the base's and the champion's, which is named so.
    shown = table[~table["system"].isin([kind + name for name in checkpoints for kind in HYBRIDS])]
    shown = pd.concat([shown, *(table[table["system"] == kind + champion].assign(system=f"{kind}champion") for kind in HYBRIDS)])
    pairs = [(name, "base") for name in checkpoints]
    pairs += [(name, before) for name in checkpoints if before not in (name, "base")]
    pairs += [(champion, other) for other in ("bm25", "hybrid_base")]
    pairs += [("hybrid_champion", other) for other in ("bm25", "base", "hybrid_base", "rrf_champion")]
    report = {
        "source": settings.source,
        "created_at": created_at,
        "catalog": read(CATALOG).to_dict(orient="records")[0],
        "systems": summarise(shown, [*metric_names(), LABEL_NDCG], settings.seed),
        "comparisons": compare(shown, pairs if len(table) else [], COMPARED, settings.seed),
        "champion": champion,
        "promotion": {key: decision[key] for key in ("promoted", "reason")},
        "separability": separability(read(JUDGED), settings.seed),
        **grading.sections(read, calibrated),
        "tiers": read(TIERS).to_dict(orient="records"),
        "overlap": read(OVERLAP).to_dict(orient="records"),
        "versions": versions,
    }
    return dict(plain(report))


def summarise(per_query: pd.DataFrame, metrics: Sequence[str], seed: int = 0) -> dict[str, dict[str, object]]:
    """Means and intervals of every system as they come, over all queries and by segment; systems share their resamples.

    `per_query` has system, query_id, segment and the metrics, for every system the same queries; returns `systems` of the contract above.
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
            found = paired(each[[system, against]].to_numpy(), seed)
            names = {"system": system, "against": against, "metric": metric}
            rows.append({**names, "difference": found.mean, "low": found.low, "high": found.high, "p": found.p})
    return rows


def _figures(frame: pd.DataFrame, metrics: Sequence[str], seed: int) -> dict[str, object]:
    intervals = zip(metrics, bootstrap_means(frame[list(metrics)].to_numpy(dtype=float), seed), strict=True)
    return {**{name: {"mean": each.mean, "low": each.low, "high": each.high} for name, each in intervals}, "queries": len(frame)}


def plain(value: Any) -> Any:
    """The same of JSON's own types: numpy scalars and tuples unpacked, what is not finite as None."""
    return json.loads(json.dumps(value, default=lambda scalar: scalar.item()), parse_constant=lambda _: None)


def report_json(report: Report) -> str:
    """A report as strict JSON text with a last newline; the same content gives the same bytes."""
    return json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
