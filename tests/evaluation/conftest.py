"""What several tests of this room share: small per-query tables and the report of one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from whetstone.evaluation.metrics import metric_names
from whetstone.evaluation.report import Report, build_report
from whetstone.evaluation.systems import compare, summarise

SYSTEMS = (
    "encoder_mnr",
    "hybrid_champion",
    "base",
    "bm25",
    "encoder_bce",
    "random",
    "dictionary",
    "hybrid_base",
    "rrf_base",
    "rrf_champion",
)


@pytest.fixture
def results() -> Callable[..., pd.DataFrame]:
    """Builder of a per-query table: {system: [ndcg@10 of each query]}, segments one a query, split dev."""

    def build(values: dict[str, list[float]], segments: list[str], split: str = "dev") -> pd.DataFrame:
        queries = [f"q{number}" for number in range(len(segments))]
        frames = [
            pd.DataFrame({"system": name, "query_id": queries, "split": split, "segment": segments, "ndcg@10": each})
            for name, each in values.items()
        ]
        return pd.concat(frames, ignore_index=True)

    return build


@pytest.fixture(scope="session")
def per_query() -> pd.DataFrame:
    """24 test queries of 10 systems with every metric; embarrassing@10 undefined on some."""
    rng = np.random.default_rng(0)
    segments = ["head"] * 12 + ["torso"] * 11 + ["tail"]
    frames = []
    for strength, system in enumerate(SYSTEMS):
        values = np.clip(rng.normal(0.1 + 0.1 * strength, 0.15, (len(segments), len(metric_names()))), 0, 1)
        frame = pd.DataFrame(values, columns=metric_names())
        frame["embarrassing@10"] = frame["embarrassing@10"].mask(np.arange(len(frame)) % 3 == strength % 3)
        frames.append(frame.assign(system=system, query_id=[f"q{n}" for n in range(len(frame))], split="test", segment=segments))
    return pd.concat(frames, ignore_index=True)


@pytest.fixture
def report(per_query: pd.DataFrame) -> Report:
    """A whole report with further keys."""
    return build_report(
        source="esci",
        created_at="2026-11-21T19:00:00Z",
        catalog={
            "products": np.int64(6764),
            "categories": 36,
            "queries": {"train": 60, "dev": 15, "test": 24},
            "judgments": 4892,
        },
        systems=summarise(per_query, metric_names(), seed=0),
        comparisons=compare(per_query, "encoder_mnr", "base", ["ndcg@10", "mrr"], seed=0),
        champion="encoder_mnr",
        promoted=True,
        reason="encoder_mnr becomes the champion: it is better.",
        further={
            "annotators": [{"annotator": "human", "grades": 4892}, {"annotator": "cross-encoder", "grades": 12345}],
            "overlap": [{"category": "toys", "left": "bm25", "right": "dense", "overlap": 0.1345, "count_queries": 12345.0}],
            "notes": ["Synthetic judgments: none."],
        },
    )
