"""Every system that the report compares, run over the whole catalog without routing, and scored query by query ([A] section 5).

random, every lexical channel, every encoder (`base`, the champion before, each checkpoint) by exact search, and for each encoder two
hybrids with BM25: reciprocal rank fusion (`rrf_<encoder>`), and the blend that was tuned for it on dev queries (`hybrid_<encoder>`).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from whetstone.evaluation.metrics import evaluate_run
from whetstone.evaluation.separability import token_overlap
from whetstone.grading.guideline import Guideline
from whetstone.index.thresholds import Thresholds, judged_cosines, measure
from whetstone.platform.registry import Encoder
from whetstone.platform.settings import Settings
from whetstone.retrieval.channels import CHANNELS, ChannelInputs
from whetstone.retrieval.dense import exact_search
from whetstone.retrieval.encode import Embedder
from whetstone.retrieval.fusion import rrf
from whetstone.retrieval.ranking import top_k

LABEL_NDCG = "ndcg_label@10"
"""NDCG with the gains of [B] (label / 2: relevant 1, moderately relevant 0.5), beside the guideline's own gains."""
RANDOM_DEPTH = 100
HYBRIDS = ("rrf_", "hybrid_")


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

    @cached_property
    def judged(self) -> pd.DataFrame:
        """The judged pairs of `asked`: query_id, product_id, split, label, gain, overlap (of the texts' words)."""
        pairs = self.judgments.merge(self.asked, on="query_id").sort_values(["query_id", "product_id"], ignore_index=True)
        held = self.products.set_index("product_id")["text"].reindex(pairs["product_id"]).fillna("")
        labels, gains = (pairs["grade"].map(levels) for levels in (self.guideline.labels, self.guideline.gains))
        overlap = token_overlap(pairs["text"].tolist(), held.tolist())
        return pairs[["query_id", "product_id", "split"]].assign(label=labels, gain=gains, overlap=overlap)

    def inputs(self, encoder: Encoder) -> ChannelInputs:
        """What a channel sees: the whole catalog, and vectors of this encoder."""
        train = self.queries.loc[self.queries["split"] == "train", ["query_id", "text"]]
        return ChannelInputs(
            products=self.products,
            queries=self.asked,
            judgments=self.judgments.merge(train, on="query_id"),
            settings=self.settings,
            embedder=Embedder(encoder, self.settings.root / "vectors", self.settings.device, progress=True),
            synonyms=self.synonyms,
        )


def evaluate_systems(contest: Contest, encoders: Sequence[Encoder]) -> tuple[pd.DataFrame, pd.DataFrame, list[Thresholds]]:
    """Score every system on every dev and test query; `encoders` are those to compare, `base` first.

    Returns one row per system x judged query: query_id, split, segment, place (of the system in this order), system, encoder_version (null
    for lexical systems), the metrics. Then what `Contest.judged` has for each encoder (system), with the cosine, without pairs whose
    product isn't in the catalog; and each encoder's thresholds, found on dev queries.
    """
    guideline, depth, judgments = contest.guideline, contest.settings.depth, contest.judgments
    label_gains = {grade: label / 2 for grade, label in guideline.labels.items()}
    answered = contest.asked[["query_id", "split", "segment"]]
    query_ids, product_ids = answered["query_id"].tolist(), contest.products["product_id"].tolist()
    tables: list[pd.DataFrame] = []

    def add(system: str, version: str | None, run: pd.DataFrame) -> None:
        metrics = evaluate_run(run, judgments, query_ids, gains=guideline.gains, relevant_grade=guideline.relevant_grade)
        metrics[LABEL_NDCG] = evaluate_run(run, judgments, query_ids, gains=label_gains, cutoffs=(10,))["ndcg@10"]
        tables.append(answered.assign(place=len(tables), system=system, encoder_version=version).merge(metrics, on="query_id"))

    add("random", None, random_run(query_ids, product_ids, RANDOM_DEPTH, contest.settings.seed))
    lexical = {each.name: each.search(contest.inputs(encoders[0]), depth) for each in CHANNELS if each.kind == "lexical"}
    for name, run in lexical.items():
        add(name, None, run)
    scores, found = [], []
    for encoder in encoders:
        embedder, words = contest.inputs(encoder).embedder, lexical["bm25"]
        vectors = embedder.queries(contest.asked["text"].tolist()), embedder.products(contest.products)
        dense = exact_search(*vectors, query_ids, product_ids, depth)
        judged = contest.judged.assign(cosine=judged_cosines(contest.judged, query_ids, vectors[0], product_ids, vectors[1]))
        thresholds = measure(encoder.version, words, dense, judged[judged["split"] == "dev"])
        add(encoder.name, encoder.version, dense)
        add(f"rrf_{encoder.name}", encoder.version, rrf([words, dense], depth))
        add(f"hybrid_{encoder.name}", encoder.version, thresholds.fuse(words, dense, depth))
        scores.append(judged.assign(system=encoder.name).dropna(subset="cosine"))
        found.append(thresholds)
    table = pd.concat(tables, ignore_index=True).astype({"place": "int64", "encoder_version": "string"})
    return table, pd.concat(scores, ignore_index=True), found


def random_run(query_ids: Sequence[str], product_ids: Sequence[str], depth: int, seed: int) -> pd.DataFrame:
    """The baseline that knows nothing: a run of `depth` products per query, drawn without replacement (score falling to 1.0).

    A query's draw depends on the seed, the query and the set of products alone, not on other queries or any order.
    """
    products = sorted(set(product_ids))
    size = min(depth, len(products))
    digests = (hashlib.sha256(f"{seed}\n{query}".encode()).digest() for query in query_ids)
    draws = (np.random.default_rng(int.from_bytes(digest[:8])).choice(len(products), size, replace=False) for digest in digests)
    return top_k(((drawn, np.arange(size, 0.0, -1.0)) for drawn in draws), products, query_ids, size)


def encoders_of(table: pd.DataFrame) -> dict[str, str]:
    """Encoder versions by system name, in the order of the recipe's stages."""
    rows = table[~table["system"].str.startswith(HYBRIDS)].dropna(subset=["encoder_version"])
    return dict(rows.drop_duplicates("system")[["system", "encoder_version"]].itertuples(index=False, name=None))
