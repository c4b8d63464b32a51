"""Every system that the report compares, run over the whole catalog without routing, and scored query by query ([A] section 5).

random, every lexical channel, every encoder (`base`, the champion before, each checkpoint) by exact search, and for each encoder the
reciprocal rank fusion with BM25 (`hybrid_<encoder>`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from whetstone.evaluation.metrics import evaluate_run
from whetstone.evaluation.systems import random_run
from whetstone.grading.guideline import Guideline
from whetstone.platform.registry import Encoder
from whetstone.platform.settings import Settings
from whetstone.retrieval.channels import CHANNELS, ChannelInputs, channel
from whetstone.retrieval.embedding import Embedder
from whetstone.retrieval.fusion import rrf

LABEL_NDCG = "ndcg_label@10"
"""NDCG with the gains of [B] (label / 2: relevant 1, moderately relevant 0.5), beside the guideline's own gains."""
RANDOM_DEPTH = 100


@dataclass(frozen=True)
class Contest:
    """What all systems answer."""

    products: pd.DataFrame  # the whole catalog (staging.products)
    queries: pd.DataFrame  # query_id, text, split, segment of every split; dev and test queries with a judgment are answered
    judgments: pd.DataFrame  # query_id, product_id, grade of every split; those of train queries feed the dictionary's synonyms
    synonyms: Sequence[str]  # lines of the source's synonym file
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
    """Score every system on every dev and test query; `encoders` are those to compare, `base` first.

    Returns one row per system x query: place (of the system in this order), system, encoder_version (null for lexical systems), query_id,
    split, segment, the metrics; no row where no dev or test query has a judgment.
    """
    gains, relevant = contest.guideline.gains, contest.guideline.relevant_grade
    label_gains = {grade: label / 2 for grade, label in contest.guideline.labels.items()}
    answered = contest.asked[["query_id", "split", "segment"]]
    query_ids, judgments = answered["query_id"].tolist(), contest.judgments
    tables = []
    for place, (system, version, run) in enumerate(_runs(contest, encoders)):
        metrics = evaluate_run(run, judgments, query_ids, gains=gains, relevant_grade=relevant)
        by_label = evaluate_run(run, judgments, query_ids, gains=label_gains, relevant_grade=relevant, cutoffs=(10,))
        metrics[LABEL_NDCG] = by_label["ndcg@10"]
        names = pd.DataFrame({"place": place, "system": system, "encoder_version": version}, index=answered.index, dtype=object)
        tables.append(names.join(answered).merge(metrics, on="query_id"))
    return pd.concat(tables, ignore_index=True).astype({"place": "int64", "encoder_version": "string"})


def encoders_of(table: pd.DataFrame) -> dict[str, str]:
    """Encoder versions by system name, in the order of the recipe's stages."""
    rows = table[~table["system"].str.startswith("hybrid_")].dropna(subset=["encoder_version"])
    return dict(rows.drop_duplicates("system")[["system", "encoder_version"]].itertuples(index=False, name=None))


def _runs(contest: Contest, encoders: Sequence[Encoder]) -> Iterator[tuple[str, str | None, pd.DataFrame]]:
    """(system, encoder version, run) of every system."""
    depth, query_ids = contest.settings.depth, contest.asked["query_id"].tolist()
    yield "random", None, random_run(query_ids, contest.products["product_id"].tolist(), RANDOM_DEPTH, contest.settings.seed)
    lexical = {c.name: c.search(contest.inputs(encoders[0]), depth) for c in CHANNELS if c.kind == "lexical"}
    yield from ((name, None, run) for name, run in lexical.items())
    for encoder in encoders:
        dense = channel("dense").search(contest.inputs(encoder), depth)
        yield encoder.name, encoder.version, dense
        yield f"hybrid_{encoder.name}", encoder.version, rrf([lexical["bm25"], dense], depth=depth)
