"""Gathers the report of a source from the warehouse: systems, comparisons, overlap, and who graded what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from whetstone.evaluation.contestants import HYBRIDS, LABEL_NDCG, encoders_of
from whetstone.evaluation.metrics import metric_names
from whetstone.evaluation.report import SPLITS, Report, build_report
from whetstone.evaluation.separability import separability
from whetstone.evaluation.systems import LAST, compare, summarise
from whetstone.grading import summary as grading
from whetstone.platform.settings import Settings

COMPARED = ("ndcg@10", "recall@100", "mrr", "embarrassing@10")
COUNTS = """
select
    (select count(*) from staging.products) as products,
    (select count(distinct category) from staging.products) as categories,
    (select count(*) from raw.judgments) as judgments,
    (select count(*) from raw.queries where split = 'train') as train,
    (select count(*) from raw.queries where split = 'dev') as dev,
    (select count(*) from raw.queries where split = 'test') as test
"""
JUDGED = "select * from meta.judged_scores where split = 'test' order by rowid"  # evaluation writes them
FURTHER = {
    "tiers": """
        select tier, count(*) as pairs, count(distinct query_id) as queries from marts.curriculum_tiers group by 1 order by 1
    """,
    "overlap": """
        select
            "left", "right",
            sum(overlap * count_queries) / sum(count_queries) as overlap,
            sum(jaccard * count_queries) / sum(count_queries) as jaccard,
            sum(count_queries) as count_queries
        from marts.channel_overlap where count_queries > 0 group by 1, 2 order by 1, 2
    """,
}


def gather(
    read: Callable[[str], pd.DataFrame], settings: Settings, decision: Mapping[str, Any], calibrated: Mapping[str, Any], created_at: str
) -> Report:
    """The report on the test queries, without systems where none of them is judged.

    `read` is the warehouse's, `decision` the gate's (promoted, champion, before, reason), `calibrated` what `grading.calibrate` found.
    """
    table = read("select * from marts.evaluation where split = 'test' order by place, query_id")
    champion, before = decision["champion"], decision["before"]
    versions = encoders_of(table)
    checkpoints = [name for name in versions if name != "base"]
    shown = table[~table["system"].isin([kind + name for name in checkpoints for kind in HYBRIDS])]
    own = [table[table["system"] == kind + champion].assign(system=name) for kind, name in zip(HYBRIDS, LAST, strict=True)]
    table = pd.concat([shown, *own])
    pairs = [(name, "base") for name in checkpoints]
    pairs += [(name, before) for name in checkpoints if before not in (name, "base")]
    pairs += [(champion, other) for other in ("bm25", "hybrid_base")]
    pairs += [("hybrid_champion", other) for other in ("bm25", "base", "hybrid_base", "rrf_champion")]
    pairs = [] if table.empty else pairs
    counts = {str(name): int(count) for name, count in read(COUNTS).iloc[0].items()}
    return build_report(
        source=settings.source,
        created_at=created_at,
        catalog={**counts, "queries": {split: counts[split] for split in SPLITS}},
        systems=summarise(table, [*metric_names(), LABEL_NDCG], settings.seed),
        comparisons=[row for system, against in dict.fromkeys(pairs) for row in compare(table, system, against, COMPARED, settings.seed)],
        champion=champion,
        promoted=bool(decision["promoted"]),
        reason=decision["reason"],
        further={
            "separability": separability(read(JUDGED), settings.seed),
            **grading.sections(read, calibrated),
            **{key: read(query).to_dict(orient="records") for key, query in FURTHER.items()},
            "versions": versions,
        },
    )
