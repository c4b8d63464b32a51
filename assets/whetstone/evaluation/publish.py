"""Gathers the report of a source from the warehouse: systems, comparisons, overlap, and who graded what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from whetstone.evaluation.contestants import LABEL_NDCG, encoders_of
from whetstone.evaluation.metrics import metric_names
from whetstone.evaluation.report import Report, build_report
from whetstone.evaluation.systems import compare, summarise
from whetstone.platform.settings import Settings

COMPARED = ("ndcg@10", "recall@100", "mrr", "embarrassing@10")
Read = Callable[[str], pd.DataFrame]


def gather(read: Read, settings: Settings, decision: Mapping[str, Any], created_at: str) -> Report:
    """The report on the test queries.

    Args:
        read: SELECT -> frame, of the source's warehouse.
        settings: source and seed.
        decision: of the champion gate: promoted, champion, before, reason.
        created_at: ISO time.
    """
    table = read("select * from marts.evaluation where split = 'test' order by place, query_id")
    champion, before = decision["champion"], decision["before"]
    encoders = list(encoders_of(table))
    table = pd.concat(
        [
            table[~table["system"].isin([f"hybrid_{name}" for name in encoders if name != "base"])],
            table[table["system"] == f"hybrid_{champion}"].assign(system="hybrid_champion"),
        ]
    )
    pairs = [(name, "base") for name in encoders if name != "base"]
    pairs += [(name, before) for name in encoders if name not in (before, "base") and before != "base"]
    pairs += [(champion, other) for other in ("bm25", "hybrid_base") if champion != other]
    pairs += [("hybrid_champion", other) for other in ("bm25", "base", "hybrid_base")]
    metrics = [*metric_names(), LABEL_NDCG]
    splits = dict(read("select split, count(*) from raw.queries group by split").itertuples(index=False, name=None))
    counts = read("select count(*) as products, count(distinct category) as categories from staging.products").iloc[0]
    return build_report(
        source=settings.source,
        created_at=created_at,
        catalog={
            "products": int(counts["products"]),
            "categories": int(counts["categories"]),
            "queries": {split: int(splits.get(split, 0)) for split in ("train", "dev", "test")},
            "judgments": int(read("select count(*) as n from raw.judgments").iloc[0]["n"]),
        },
        systems=summarise(table, metrics, settings.seed),
        comparisons=[row for system, against in dict.fromkeys(pairs) for row in compare(table, system, against, COMPARED, settings.seed)],
        champion=champion,
        promoted=bool(decision["promoted"]),
        reason=decision["reason"],
        further={
            "annotators": _records(
                read(
                    "select settled_by as annotator, count(*) as grades, avg(confidence) as mean_confidence from marts.grades "
                    "group by 1 order by 1"
                )
            ),
            "tiers": _records(
                read(
                    "select tier, count(*) as pairs, count(distinct query_id) as queries from marts.curriculum_tiers group by 1 order by 1"
                )
            ),
            "overlap": _records(
                read(
                    'select "left", "right", sum(overlap * count_queries) / sum(count_queries) as overlap, '
                    "sum(jaccard * count_queries) / sum(count_queries) as jaccard, sum(count_queries) as count_queries "
                    "from marts.channel_overlap where count_queries > 0 group by 1, 2 order by 1, 2"
                )
            ),
            "versions": {name: version for name, version in encoders_of(table).items()},
        },
    )


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict(orient="records")]
