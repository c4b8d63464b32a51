"""Every system that the report compares, run over the whole catalog without routing, and scored query by query ([A] section 5).

random, every lexical channel, every encoder (`base`, the champion before, each checkpoint) by exact search, and for each encoder
the reciprocal rank fusion with BM25 (`hybrid_<encoder>`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from whetstone.evaluation.metrics import evaluate_run
from whetstone.evaluation.systems import random_run
from whetstone.grading.guideline import Guideline
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.registry import Encoder
from whetstone.platform.settings import Settings
from whetstone.retrieval.channels import CHANNELS, ChannelInputs, channel
from whetstone.retrieval.embedding import Embedder
from whetstone.retrieval.fusion import rrf

LABEL_NDCG = "ndcg_label@10"
"""NDCG with the gains of [B] (label / 2: relevant 1, moderately relevant 0.5), beside the guideline's own gains."""


@dataclass(frozen=True)
class Contest:
    """What all systems answer.

    Attributes:
        products: the whole catalog (staging.products).
        queries: query_id, text, split, segment of every split; dev and test queries with a judgment are answered.
        judgments: query_id, product_id, grade of every split; those of train queries feed the dictionary's synonyms.
        synonyms: lines of the source's synonym file.
        guideline: gains, labels and which grades are relevant.
        settings: depth, channel settings, device, seed.
    """

    products: pd.DataFrame
    queries: pd.DataFrame
    judgments: pd.DataFrame
    synonyms: Sequence[str]
    guideline: Guideline
    settings: Settings

    @cached_property
    def asked(self) -> pd.DataFrame:
        """The dev and test queries that have a judgment, by query_id."""
        is_asked = self.queries["split"].isin(["dev", "test"]) & self.queries["query_id"].isin(self.judgments["query_id"])
        return self.queries[is_asked].sort_values("query_id", ignore_index=True)

    def inputs(self, encoder: Encoder) -> ChannelInputs:
        """What a channel sees: the whole catalog, and vectors of this encoder."""
        embedder = Embedder(encoder, self.settings.root / "vectors", self.settings.device, progress=True)
        train = self.queries.loc[self.queries["split"] == "train", ["query_id", "text"]]
        return ChannelInputs(
            products=self.products,
            queries=self.asked,
            judgments=self.judgments.merge(train, on="query_id"),
            settings=self.settings,
            encode_queries=embedder.texts,
            product_vectors=lambda: embedder.products(self.products),
            synonyms=self.synonyms,
        )


def evaluate_systems(contest: Contest, encoders: Sequence[Encoder]) -> pd.DataFrame:
    """Score every system on every dev and test query.

    Args:
        contest: catalog, queries and judgments.
        encoders: the encoders to compare, `base` first.

    Returns:
        One row per system x query: place (of the system in this order), system, encoder_version (null for lexical systems),
        query_id, split, segment, the metrics.

    Raises:
        WhetstoneError: no dev or test query has a judgment, so nothing can be measured.
    """
    if contest.asked.empty:
        raise WhetstoneError("no dev or test query has a human judgment, so nothing can be evaluated; add judgments to the source")
    guideline, asked = contest.guideline, contest.asked
    label_gains = {grade: label / 2 for grade, label in guideline.labels.items()}
    scored = []
    for system, version, run in _runs(contest, encoders):
        query_ids = asked["query_id"].tolist()
        metrics = evaluate_run(run, contest.judgments, query_ids, gains=guideline.gains, relevant_grade=guideline.relevant_grade)
        by_label = evaluate_run(
            run, contest.judgments, query_ids, gains=label_gains, relevant_grade=guideline.relevant_grade, cutoffs=(10,)
        )
        metrics[LABEL_NDCG] = by_label["ndcg@10"]
        scored.append(asked[["query_id", "split", "segment"]].merge(metrics, on="query_id").assign(system=system, encoder_version=version))
    table = pd.concat([frame.assign(place=place) for place, frame in enumerate(scored)], ignore_index=True)
    first = ["place", "system", "encoder_version", "query_id", "split", "segment"]
    return table[[*first, *(column for column in table.columns if column not in first)]].astype({"encoder_version": "string"})


def encoders_of(table: pd.DataFrame) -> dict[str, str]:
    """Encoder versions by system name, in the order of the recipe's stages."""
    rows = table[~table["system"].str.startswith("hybrid_")].dropna(subset=["encoder_version"])
    return dict(rows.drop_duplicates("system")[["system", "encoder_version"]].itertuples(index=False, name=None))


def _runs(contest: Contest, encoders: Sequence[Encoder]) -> Iterator[tuple[str, str | None, pd.DataFrame]]:
    settings, asked = contest.settings, contest.asked
    yield "random", None, random_run(asked["query_id"].tolist(), contest.products["product_id"].tolist(), 100, settings.seed)
    lexical = {c.name: c.search(contest.inputs(encoders[0]), settings.depth) for c in CHANNELS if c.kind == "lexical"}
    yield from ((name, None, run) for name, run in lexical.items())
    for encoder in encoders:
        dense = channel("dense").search(contest.inputs(encoder), settings.depth)
        yield encoder.name, encoder.version, dense
        yield f"hybrid_{encoder.name}", encoder.version, rrf([lexical["bm25"], dense], depth=settings.depth)
