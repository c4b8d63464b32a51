"""Graded NDCG@10 on dev queries over a fixed sub-catalog: the figure by which a stage's best checkpoint is chosen.

    DCG@10 = sum_{i=1..10} gain_i / log2(i + 1),    NDCG@10 = DCG@10 / DCG@10 of the best possible order of the judged products

The gains are the guideline's. An unjudged product has gain 0 and may crowd a judged one out, as in the whole catalog. The sub-catalog is
every judged product of the dev queries plus the products with the smallest seeded hashes, so that it hardly changes when the catalog does.
sentence-transformers' `InformationRetrievalEvaluator` knows only relevant and not relevant; scikit-learn's `ndcg_score` takes graded gains,
and gives equal scores (listings with one text) the mean over their orders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import SentenceEvaluator
from sklearn.metrics import ndcg_score

from whetstone.curriculum.ring import stable_hash
from whetstone.platform.artifacts import fingerprint
from whetstone.platform.errors import WhetstoneError
from whetstone.retrieval.encode import encode

METRIC = "ndcg@10"


@dataclass(frozen=True, eq=False)
class DevSet:
    """Texts of m dev queries and of the n products of the sub-catalog, and the gains (0-1) of j judged pairs by position, each (j,)."""

    queries: tuple[str, ...]
    products: tuple[str, ...]
    judged_query: np.ndarray
    judged_product: np.ndarray
    gains: np.ndarray

    @property
    def version(self) -> str:
        """Hash of the content."""
        return fingerprint(self.queries, self.products, *(array.tolist() for array in (self.judged_query, self.judged_product, self.gains)))


def build_dev_set(
    queries: pd.DataFrame, products: pd.DataFrame, judgments: pd.DataFrame, gains: Mapping[int, float], *, size: int = 2000, seed: int = 0
) -> DevSet:
    """The dev queries that can tell one checkpoint from another, with a sub-catalog of `size` products (more if more are judged).

    Of `queries` (query_id, text, split) those of other splits and those without a judged product of positive gain are left out, of
    `judgments` (query_id, product_id, grade) those of products that `products` (product_id, text) doesn't have. `gains` are by grade;
    `seed` decides which unjudged products are in the sub-catalog.

    Raises:
        WhetstoneError: no dev query has a judged product with a positive gain, so nothing could be chosen; or a grade without a gain.
    """
    dev = queries[queries["split"] == "dev"].drop_duplicates("query_id").sort_values("query_id")
    catalog = products.sort_values("product_id")
    judged = judgments[judgments["query_id"].isin(dev["query_id"]) & judgments["product_id"].isin(catalog["product_id"])]
    if unknown := sorted(set(judged["grade"]) - set(gains)):
        raise WhetstoneError(f"dev set: the guideline has no gain for grade(s) {unknown}; it has {sorted(gains)}")
    judged = judged.assign(gain=judged["grade"].map(dict(gains)).astype(float)).sort_values(["query_id", "product_id"])
    judged = judged[judged["query_id"].isin(judged.loc[judged["gain"] > 0, "query_id"])]
    if judged.empty:
        raise WhetstoneError(
            "dev set: no dev query has a judged product with a positive gain, so the best checkpoint can't be chosen; "
            "give judgments (or graded pairs) for queries of split 'dev'"
        )
    dev = dev[dev["query_id"].isin(judged["query_id"])]
    is_judged = catalog["product_id"].isin(judged["product_id"])
    others = sorted(catalog.loc[~is_judged, "product_id"], key=lambda product: stable_hash(seed, product))
    catalog = catalog[is_judged | catalog["product_id"].isin(others[: max(0, size - int(is_judged.sum()))])]
    return DevSet(
        queries=tuple(dev["text"]),
        products=tuple(catalog["text"]),
        judged_query=pd.Index(dev["query_id"]).get_indexer(judged["query_id"]),
        judged_product=pd.Index(catalog["product_id"]).get_indexer(judged["product_id"]),
        gains=judged["gain"].to_numpy(),
    )


class DevEvaluator(SentenceEvaluator):
    """sentence-transformers' evaluator interface over a `DevSet`; higher is better."""

    def __init__(self, dev: DevSet) -> None:
        super().__init__()
        self.dev = dev
        self.primary_metric = METRIC
        self._gains = np.zeros((len(dev.queries), len(dev.products)))
        self._gains[dev.judged_query, dev.judged_product] = dev.gains

    def __call__(self, model: SentenceTransformer, output_path: str | None = None, epoch: int = -1, steps: int = -1) -> dict[str, float]:
        """Embed the dev queries and the sub-catalog; the mean NDCG@10. Writes nothing."""
        queries, products = encode(model, self.dev.queries), encode(model, self.dev.products)
        return {METRIC: float(ndcg_score(self._gains, queries @ products.T, k=10))}
