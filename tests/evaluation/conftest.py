"""What several tests of this room share: small per-query tables, and a report gathered from small warehouse tables."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from tests.evaluation.toy_shop import Shop

from whetstone.evaluation.contestants import LABEL_NDCG
from whetstone.evaluation.metrics import metric_names
from whetstone.evaluation.report import Report, gather
from whetstone.platform.settings import Settings

ENCODERS = ("base", "encoder_mnr", "encoder_bce")
SYSTEMS = ("random", "dictionary", "bm25", *(f"{kind}{name}" for name in ENCODERS for kind in ("", "rrf_", "hybrid_")))


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
    """marts.evaluation: 24 test queries of 12 systems with every metric; embarrassing@10 undefined on some."""
    rng = np.random.default_rng(0)
    segments, metrics = ["head"] * 12 + ["torso"] * 11 + ["tail"], [*metric_names(), LABEL_NDCG]
    frames = []
    for place, system in enumerate(SYSTEMS):
        values = np.clip(rng.normal(0.1 + 0.08 * place, 0.15, (len(segments), len(metrics))), 0, 1)
        frame = pd.DataFrame(values, columns=metrics)
        frame["embarrassing@10"] = frame["embarrassing@10"].mask(np.arange(len(frame)) % 3 == place % 3)
        version = next((f"v-{name}" for name in ENCODERS if system.endswith(name)), None)
        frame = frame.assign(place=place, system=system, encoder_version=version, split="test", segment=segments)
        frames.append(frame.assign(query_id=[f"q{number}" for number in range(len(frame))]))
    return pd.concat(frames, ignore_index=True)


@pytest.fixture
def tables(per_query: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What the warehouse answers, by the table after `from`."""
    judged = [("base", f"q{n}", "p", label, 0.2 * label, 1.0) for n in range(9) for label in (0, 2)]
    queries = {"train": np.int64(60), "dev": 15, "test": 24}
    return {
        "marts.evaluation": per_query,
        "staging.products": pd.DataFrame([{"products": 6764, "categories": 36, "queries": queries, "judgments": 4892}]),
        "meta.judged_scores": pd.DataFrame(judged, columns=["system", "query_id", "product_id", "label", "cosine", "overlap"]),
        "marts.curriculum_tiers": pd.DataFrame({"tier": ["easy"], "pairs": [12345], "queries": [60]}),
        "marts.channel_overlap": pd.DataFrame({"left": ["bm25"], "right": ["dense"], "overlap": [0.1345], "count_queries": [12345.0]}),
    }


@pytest.fixture
def report(tables: dict[str, pd.DataFrame]) -> Report:
    """A whole report."""

    def read(query: str) -> pd.DataFrame:
        return tables.get(re.findall(r"from (\w+\.\w+)", query)[0], pd.DataFrame())

    decision = {"promoted": True, "champion": "encoder_mnr", "before": "base", "reason": "encoder_mnr becomes the champion: it is better."}
    calibrated = {"report": None, "warnings": ["No key."]}
    return gather(read, Settings(source="esci", seed=0), decision, calibrated, "2026-11-21T19:00:00Z")


@pytest.fixture
def shop(tmp_path) -> Shop:
    shop = Shop(tmp_path)
    shop.evaluate(base=(shop.base.version, 0.5))
    shop.build()
    assert not shop.outcome.failed
    return shop


@pytest.fixture
def promoted(shop) -> Shop:
    """A checkpoint that is better on dev has taken the base's place, and everything is rebuilt."""
    shop.good = shop.checkpoint("good")
    shop.evaluate(base=(shop.base.version, 0.5), encoder_mnr=(shop.good, 0.6))
    shop.build()
    assert not shop.outcome.failed and shop.serving().encoder.version == shop.good
    return shop
