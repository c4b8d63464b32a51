"""Graded NDCG@10 on dev queries over a fixed sub-catalog: the figure by which a stage's best checkpoint is chosen.

    DCG@10 = sum_{i=1..10} gain_i / log2(i + 1),    NDCG@10 = DCG@10 / DCG@10 of the best possible order of the judged products

The gains are the guideline's. An unjudged product has gain 0 and may crowd a judged one out, as in the whole catalog. The sub-catalog is
every judged product of the dev queries plus the products with the smallest seeded hashes, so that it hardly changes when the catalog does.
sentence-transformers' `InformationRetrievalEvaluator` knows only relevant and not relevant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import pandas as pd
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import SentenceEvaluator

from whetstone.curriculum.ring import stable_hash
from whetstone.platform.errors import WhetstoneError
from whetstone.retrieval.encode import encode

METRIC = "ndcg@10"
DEPTH = 10


@dataclass(frozen=True, eq=False)
class DevSet:
    """Dev queries, the sub-catalog, and the gains as a sparse matrix in coordinates.

    Args:
        queries: m texts.
        products: n texts, in order of product_id.
        judged_query: (j,) position of each judged pair's query.
        judged_product: (j,) position of its product.
        gains: (j,) gain of the pair, 0-1.
    """

    queries: tuple[str, ...]
    products: tuple[str, ...]
    judged_query: np.ndarray
    judged_product: np.ndarray
    gains: np.ndarray

    @property
    def version(self) -> str:
        """First 16 hex digits of the SHA-256 of the content."""
        digest = sha256()
        for text in (*self.queries, "", *self.products):
            digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
        for array, kind in ((self.judged_query, "<i8"), (self.judged_product, "<i8"), (self.gains, "<f8")):
            digest.update(array.astype(kind).tobytes())
        return digest.hexdigest()[:16]


def build_dev_set(
    queries: pd.DataFrame,
    products: pd.DataFrame,
    judgments: pd.DataFrame,
    gains: Mapping[int, float],
    *,
    size: int = 2000,
    seed: int = 0,
) -> DevSet:
    """The dev queries that can tell one checkpoint from another, with their sub-catalog.

    Args:
        queries: query_id, text, split; rows of other splits are left out, as are queries without a judged product of positive gain.
        products: product_id, text: the whole catalog.
        judgments: query_id, product_id, grade; pairs of unknown products are left out.
        gains: gain of each grade, from the guideline.
        size: products of the sub-catalog; all judged ones are in it even if they are more.
        seed: decides which unjudged products are in it.

    Raises:
        WhetstoneError: no dev query has a judged product with a positive gain, so nothing could be chosen; or a grade without a gain.
    """
    dev = queries[queries["split"] == "dev"].drop_duplicates("query_id")
    judged = judgments[judgments["query_id"].isin(dev["query_id"]) & judgments["product_id"].isin(products["product_id"])]
    judged = judged.drop_duplicates(["query_id", "product_id"])
    if unknown := sorted(set(judged["grade"]) - set(gains)):
        raise WhetstoneError(f"dev set: the guideline has no gain for grade(s) {unknown}; it has {sorted(gains)}")
    judged = judged.assign(gain=judged["grade"].map(dict(gains)).astype(float)).sort_values(["query_id", "product_id"])
    usable = set(judged.loc[judged["gain"] > 0, "query_id"])
    if not usable:
        raise WhetstoneError(
            "dev set: no dev query has a judged product with a positive gain, so the best checkpoint can't be chosen; "
            "give judgments (or graded pairs) for queries of split 'dev'"
        )
    judged = judged[judged["query_id"].isin(usable)]
    dev = dev[dev["query_id"].isin(usable)].sort_values("query_id")
    catalog = products.drop_duplicates("product_id").sort_values("product_id")
    is_judged = catalog["product_id"].isin(judged["product_id"])
    others = sorted(catalog.loc[~is_judged, "product_id"], key=lambda product: (stable_hash(seed, product), product))
    chosen = set(others[: max(0, size - int(is_judged.sum()))])
    catalog = catalog[is_judged | catalog["product_id"].isin(chosen)]
    return DevSet(
        queries=tuple(dev["text"]),
        products=tuple(catalog["text"]),
        judged_query=pd.Index(dev["query_id"]).get_indexer(judged["query_id"]),
        judged_product=pd.Index(catalog["product_id"]).get_indexer(judged["product_id"]),
        gains=judged["gain"].to_numpy(),
    )


def ndcg_at(scores: np.ndarray, gains: np.ndarray, depth: int = DEPTH) -> np.ndarray:
    """NDCG of each query; equal scores keep the products' order.

    Args:
        scores: (m, n) higher is better.
        gains: (m, n) not negative, each row with a positive one.
        depth: ranks that count.

    Returns:
        (m,) values in 0-1.
    """
    top = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    discounts = 1 / np.log2(np.arange(2, top.shape[1] + 2))
    ideal = -np.sort(-gains, axis=1)[:, : top.shape[1]]
    return (np.take_along_axis(gains, top, axis=1) @ discounts) / (ideal @ discounts)


class DevEvaluator(SentenceEvaluator):
    """sentence-transformers' evaluator interface over a `DevSet`; higher is better."""

    def __init__(self, dev: DevSet) -> None:
        super().__init__()
        self.dev = dev
        self.primary_metric = METRIC
        self.greater_is_better = True
        self._gains = np.zeros((len(dev.queries), len(dev.products)))
        self._gains[dev.judged_query, dev.judged_product] = dev.gains

    def __call__(self, model: SentenceTransformer, output_path: str | None = None, epoch: int = -1, steps: int = -1) -> dict[str, float]:
        """Embed the dev queries and the sub-catalog; the mean NDCG@10. Writes nothing."""
        queries, products = (encode(model, list(texts)) for texts in (self.dev.queries, self.dev.products))
        return {METRIC: float(ndcg_at(queries @ products.T, self._gains).mean())}
