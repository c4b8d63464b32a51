"""Query routing: the categories that a query may belong to, each with a probability, at most three.

Where evidence is known it decides: the categories of the products that humans judged relevant, weighted by grade, or that shoppers
clicked, put into the cart or bought. Otherwise the query goes where its nearest products lie: cosine of TF-IDF vectors (half words,
half character n-grams, so that misspelt queries find their way), and each category's share of the similarity of the top neighbours.
Judgments of *test* queries are never looked at: routing feeds mining and grading, and a test judgment must not leak there.
Memory is bounded: products pass once in chunks, hashed (no vocabulary is kept), and a query keeps its best neighbours only.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.pipeline import FeatureUnion, make_pipeline

from whetstone.platform.errors import WhetstoneError

MAX_CATEGORIES = 3  # that a query keeps
MIN_PROBABILITY = 0.1  # a category below this is dropped, unless it is the query's best
_CHUNK = 10_000  # products a chunk: its hashed vectors take about 30 MB
_BLOCK = 256  # queries a block: similarities to a chunk take 20 MB
_IDF_SAMPLE = 20_000  # documents that document frequencies are counted on, evenly spaced over the catalog
_SCALE = 1 << 20  # similarities are compared in steps of 1e-6, below which float32 sums are noise
_LOW_BITS = (1 << 32) - 1


def route(
    queries: pd.DataFrame, judgments: pd.DataFrame, engagement: pd.DataFrame, products: pd.DataFrame, *, neighbours: int = 50
) -> pd.DataFrame:
    """Route each query to the categories it may belong to; `neighbours` nearest products vote for a query without evidence.

    Inputs: queries (query_id, text, split), judgments (query_id, product_id, grade; those of test queries are ignored), engagement
    (query_id, product_id, clicks, add_to_carts, purchases), products (product_id, category, text).

    Returns query_id, category, probability (of each query they sum to 1), method (judged, engaged or nearest); ordered by query_id, then
    probability downwards, then category. Every query has a row. WhetstoneError: there are no products.
    """
    if products.empty:
        raise WhetstoneError("queries can't be routed: the catalog has no products; build raw_catalog from a source with products first")
    known = queries.loc[queries["split"] != "test", "query_id"]
    judged = judgments[judgments["query_id"].isin(known)].assign(weight=judgments["grade"])
    engaged = engagement.assign(weight=engagement[["clicks", "add_to_carts", "purchases"]].sum(axis=1))
    votes, left = [], queries
    for method, evidence in (("judged", judged), ("engaged", engaged)):
        counted = evidence[(evidence["weight"] > 0) & evidence["query_id"].isin(left["query_id"])]
        votes.append(counted.merge(products[["product_id", "category"]], on="product_id").assign(method=method))
        left = left[~left["query_id"].isin(votes[-1]["query_id"])]
    votes.append(_nearest_votes(left, products, neighbours).assign(method="nearest"))
    cast = pd.concat([frame[["query_id", "category", "method", "weight"]].astype({"weight": float}) for frame in votes])
    likely = _shares(cast.groupby(["query_id", "category", "method"])["weight"].sum().rename("probability").reset_index())
    likely = likely.sort_values(["query_id", "probability", "category"], ascending=[True, False, True], kind="stable")
    place = likely.groupby("query_id").cumcount()
    kept = _shares(likely[(place == 0) | ((place < MAX_CATEGORIES) & (likely["probability"] >= MIN_PROBABILITY))])
    return kept[["query_id", "category", "probability", "method"]].reset_index(drop=True)


def _shares(likely: pd.DataFrame) -> pd.DataFrame:
    return likely.assign(probability=likely["probability"] / likely.groupby("query_id")["probability"].transform("sum"))


def _nearest_votes(queries: pd.DataFrame, products: pd.DataFrame, neighbours: int) -> pd.DataFrame:
    """Each query's nearest products, weighted by similarity; without any similar product the largest category has the vote."""
    if queries.empty:
        return pd.DataFrame(columns=["query_id", "category", "weight"])
    products = products.sort_values("product_id", kind="stable", ignore_index=True)
    vectors = _tfidf().fit(products["text"].iloc[:: -(-len(products) // _IDF_SAMPLE)])
    wanted = vectors.transform(queries["text"])
    best = np.zeros((len(queries), 0), dtype=np.int64)
    for start in range(0, len(products), _CHUNK):
        chunk = vectors.transform(products["text"].iloc[start : start + _CHUNK]).T.tocsr()
        found = [_top_keys(wanted[row : row + _BLOCK] @ chunk, start, neighbours) for row in range(0, len(queries), _BLOCK)]
        best = _largest(np.hstack([best, np.vstack(found)]), neighbours)
    row, column = np.nonzero(best >> 32)
    product, similarity = _LOW_BITS - (best[row, column] & _LOW_BITS), (best[row, column] >> 32) / _SCALE
    ids, categories = queries["query_id"].to_numpy(), products["category"].to_numpy()
    votes = pd.DataFrame({"query_id": ids[row], "category": categories[product], "weight": similarity})
    largest = products["category"].mode()[0]  # of equally large ones the first by name
    alone = pd.DataFrame({"query_id": np.delete(ids, row), "category": largest, "weight": 1.0})
    return pd.concat([votes, alone])


def _tfidf() -> FeatureUnion:
    """Unit TF-IDF vectors of words beside those of character n-grams, hashed; a product of two is the mean of both cosines."""
    hashing = {"n_features": 1 << 18, "norm": None, "alternate_sign": False, "dtype": np.float32, "preprocessor": str.casefold}
    kinds = {"words": {}, "n-grams": {"analyzer": "char_wb", "ngram_range": (3, 4)}}
    parts = [(kind, make_pipeline(HashingVectorizer(**hashing, **own), TfidfTransformer())) for kind, own in kinds.items()]
    return FeatureUnion(parts, transformer_weights=dict.fromkeys(kinds, np.float32(np.sqrt(0.5))))


def _top_keys(similarities: sparse.csr_matrix, start: int, neighbours: int) -> NDArray[np.int64]:
    """Keys of each row's best products: similarity in the high 32 bits, in the low ones the product's place counted backwards.

    One integer order, so ties break by product_id however the values are partitioned.
    """
    scaled = np.rint(similarities.toarray() * _SCALE).astype(np.int64)
    backwards = _LOW_BITS - (start + np.arange(scaled.shape[1], dtype=np.int64))
    return _largest((scaled << 32) | backwards, neighbours)


def _largest(keys: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return keys if keys.shape[1] <= count else np.partition(keys, -count, axis=1)[:, -count:]
