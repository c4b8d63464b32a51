"""Graded NDCG@10 (as `retrieval.ranking.ndcg`) on dev queries over a fixed sub-catalog, by which a stage's best checkpoint is chosen.

The gains are the guideline's. An unjudged product has gain 0 and may crowd a judged one out, as in the whole catalog. The sub-catalog is
every judged product of the dev queries plus others of the smallest seeded hashes: it hardly changes when the catalog does, and what loses
the catalog can't look good. sentence-transformers' `InformationRetrievalEvaluator` knows only relevant and not relevant; scikit-learn's
`ndcg_score` takes graded gains, and gives equal scores (listings with one text) the mean over their orders.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sentence_transformers import SentenceTransformer
from sklearn.metrics import ndcg_score

from whetstone.curriculum.ring import stable_hash
from whetstone.platform.artifacts import fingerprint
from whetstone.platform.errors import WhetstoneError
from whetstone.retrieval.encode import encode


@dataclass(frozen=True, eq=False)
class DevSet:
    """Texts of m dev queries and of the n products of the sub-catalog, and the gains (m, n), 0 to 1; 0 where no judgment is."""

    queries: tuple[str, ...]
    products: tuple[str, ...]
    gains: np.ndarray

    def ndcg(self, model: SentenceTransformer) -> float:
        """Mean NDCG@10 of the model's ranking of the sub-catalog, over the queries; higher is better."""
        return float(ndcg_score(self.gains, encode(model, self.queries, "query") @ encode(model, self.products).T, k=10))

    @property
    def version(self) -> str:
        """Hash of the content."""
        places = [where.tolist() for where in self.gains.nonzero()]
        return fingerprint(self.queries, self.products, places, self.gains[self.gains > 0].tolist())


def build_dev_set(
    queries: pd.DataFrame, products: pd.DataFrame, judgments: pd.DataFrame, gains: Mapping[int, float], *, others: int = 1500, seed: int = 0
) -> DevSet | None:
    """The dev queries that can tell one checkpoint from another, over their judged products and so many `others`.

    Of `queries` (query_id, text, split) those of other splits and those without a judged product of positive gain are left out, of
    `judgments` (query_id, product_id, grade) those of products that `products` (product_id, text) doesn't have. `gains` are by grade;
    `seed` decides which unjudged products are in the sub-catalog.
    None where no dev query has a judged product with a positive gain, so that nothing can be chosen.
    WhetstoneError: a grade without a gain.
    """
    dev = queries[queries["split"] == "dev"].drop_duplicates("query_id").sort_values("query_id")
    catalog = products.sort_values("product_id")
    judged = judgments[judgments["query_id"].isin(dev["query_id"]) & judgments["product_id"].isin(catalog["product_id"])]
    if unknown := sorted(set(judged["grade"]) - set(gains)):
        raise WhetstoneError(f"dev set: the guideline has no gain for grade(s) {unknown}; it has {sorted(gains)}")
    judged = judged.assign(gain=judged["grade"].map(dict(gains)).astype(float)).sort_values(["query_id", "product_id"])
    judged = judged[judged["query_id"].isin(judged.loc[judged["gain"] > 0, "query_id"])]
    if judged.empty:
        return None
    dev = dev[dev["query_id"].isin(judged["query_id"])]
    is_judged = catalog["product_id"].isin(judged["product_id"])
    unjudged = sorted(catalog.loc[~is_judged, "product_id"], key=lambda product: stable_hash(seed, product))
    catalog = catalog[is_judged | catalog["product_id"].isin(unjudged[:others])]
    gain_of = np.zeros((len(dev), len(catalog)))
    rows = pd.Index(dev["query_id"]).get_indexer(judged["query_id"])
    gain_of[rows, pd.Index(catalog["product_id"]).get_indexer(judged["product_id"])] = judged["gain"]
    return DevSet(tuple(dev["text"]), tuple(catalog["text"]), gain_of)
