"""Query routing: the categories that a query may belong to, each with a probability, at most three.

Where evidence is known it decides: the categories of the products that humans judged relevant, weighted by grade, or that shoppers
clicked, put into the cart or bought. Otherwise the query goes where its nearest products lie: cosine of TF-IDF vectors (half words,
half character n-grams, so that misspelt queries find their way), and each category's share of the similarity of the top neighbours.

Judgments of *test* queries are never looked at: routing feeds mining and grading, and a test judgment must not leak there.

Memory is bounded: products pass once in chunks, hashed (no vocabulary is kept), and a query keeps its best neighbours only.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.preprocessing import normalize

from whetstone.platform.errors import WhetstoneError

_CHUNK = 10_000  # products a chunk: its hashed vectors take about 30 MB
_BLOCK = 256  # queries a block: similarities to a chunk take 20 MB
_IDF_SAMPLE = 20_000  # documents that document frequencies are counted on, evenly spaced over the catalog
_SCALE = 1 << 20  # similarities are compared in steps of 1e-6, below which float32 sums are noise
_LOW_BITS = (1 << 32) - 1

_VECTORIZERS = (
    HashingVectorizer(n_features=1 << 18, norm=None, alternate_sign=False, dtype=np.float32),
    HashingVectorizer(analyzer="char_wb", ngram_range=(3, 4), n_features=1 << 18, norm=None, alternate_sign=False, dtype=np.float32),
)


def route(
    queries: pd.DataFrame,
    judgments: pd.DataFrame,
    engagement: pd.DataFrame,
    products: pd.DataFrame,
    *,
    neighbours: int = 50,
    max_categories: int = 3,
    min_probability: float = 0.1,
) -> pd.DataFrame:
    """Route each query to the categories it may belong to.

    Args:
        queries: query_id, text, split.
        judgments: query_id, product_id, grade; those of test queries are ignored.
        engagement: query_id, product_id, clicks, add_to_carts, purchases.
        products: product_id, category, text.
        neighbours: nearest products that vote for a query without evidence.
        max_categories: categories that a query keeps at most.
        min_probability: a category below this is dropped, unless it is the query's best.

    Returns:
        query_id, category, probability (of each query they sum to 1), method (judged, engaged or nearest); ordered by query_id,
        then probability downwards, then category. Every query has a row.

    Raises:
        WhetstoneError: there are no products.
    """
    if products.empty:
        raise WhetstoneError("queries can't be routed: the catalog has no products; build raw_catalog from a source with products first")
    known = queries.loc[queries["split"] != "test", "query_id"]
    judged = judgments[judgments["query_id"].isin(known)].assign(weight=judgments["grade"])
    engaged = engagement.assign(weight=engagement[["clicks", "add_to_carts", "purchases"]].sum(axis=1))
    votes, left = [], queries
    for method, evidence in (("judged", judged), ("engaged", engaged)):
        counted = evidence.loc[(evidence["weight"] > 0) & evidence["query_id"].isin(left["query_id"]), ["query_id", "product_id", "weight"]]
        located = counted.merge(products[["product_id", "category"]], on="product_id")
        votes.append(located.assign(method=method))
        left = left[~left["query_id"].isin(located["query_id"])]
    votes.append(_nearest_votes(left, products, neighbours).assign(method="nearest"))
    located = pd.concat([frame.astype({"weight": float}) for frame in votes])
    summed = located.groupby(["query_id", "category", "method"])["weight"].sum().reset_index()
    return _keep_likely(summed, max_categories, min_probability)


def _keep_likely(votes: pd.DataFrame, max_categories: int, min_probability: float) -> pd.DataFrame:
    """Votes (query_id, category, weight, method) to probabilities over the categories kept; ties by category."""
    votes = votes.assign(probability=votes["weight"] / votes.groupby("query_id")["weight"].transform("sum"))
    votes = votes.sort_values(["query_id", "probability", "category"], ascending=[True, False, True], kind="stable")
    place = votes.groupby("query_id").cumcount()
    kept = votes[(place == 0) | ((place < max_categories) & (votes["probability"] >= min_probability))]
    probability = kept["probability"] / kept.groupby("query_id")["probability"].transform("sum")
    return kept.assign(probability=probability)[["query_id", "category", "probability", "method"]].reset_index(drop=True)


def _nearest_votes(queries: pd.DataFrame, products: pd.DataFrame, neighbours: int) -> pd.DataFrame:
    """Each query's nearest products, weighted by similarity; without any similar product the largest category has the vote."""
    if queries.empty:
        return pd.DataFrame(columns=["query_id", "category", "weight"])
    products = products.sort_values("product_id", kind="stable", ignore_index=True)
    idf = _inverse_document_frequency(products["text"].iloc[:: -(-len(products) // _IDF_SAMPLE)])
    wanted = _vectors(queries["text"], idf)
    best = np.zeros((len(queries), 0), dtype=np.int64)
    for start in range(0, len(products), _CHUNK):
        chunk = _vectors(products["text"].iloc[start : start + _CHUNK], idf).T.tocsr()
        found = [_top_keys(wanted[row : row + _BLOCK] @ chunk, start, neighbours) for row in range(0, len(queries), _BLOCK)]
        best = _largest(np.hstack([best, np.vstack(found)]), neighbours)
    row, column = np.nonzero(best >> 32)
    product, similarity = _LOW_BITS - (best[row, column] & _LOW_BITS), (best[row, column] >> 32) / _SCALE
    ids, categories = queries["query_id"].to_numpy(), products["category"].to_numpy()
    votes = pd.DataFrame({"query_id": ids[row], "category": categories[product], "weight": similarity})
    largest = products["category"].mode()[0]  # of equally large ones the first by name
    alone = pd.DataFrame({"query_id": np.delete(ids, row), "category": largest, "weight": 1.0})
    return pd.concat([votes, alone])


def _top_keys(similarities: sparse.csr_matrix, start: int, neighbours: int) -> NDArray[np.int64]:
    """Keys of each row's best products: similarity in the high 32 bits, in the low ones the product's place counted backwards.

    One integer order, so ties break by product_id however the values are partitioned.
    """
    scaled = np.rint(similarities.toarray() * _SCALE).astype(np.int64)
    backwards = _LOW_BITS - (start + np.arange(scaled.shape[1], dtype=np.int64))
    return _largest((scaled << 32) | backwards, neighbours)


def _largest(keys: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return keys if keys.shape[1] <= count else np.partition(keys, -count, axis=1)[:, -count:]


def _counts(texts: pd.Series) -> list[sparse.csr_matrix]:
    """Hashed counts of words, and of character n-grams."""
    return [vectorizer.transform(texts.str.casefold()) for vectorizer in _VECTORIZERS]


def _inverse_document_frequency(texts: pd.Series) -> list[NDArray[np.float32]]:
    """log((1 + n) / (1 + df)) + 1 of each hashed feature, as scikit-learn smooths it."""
    frequencies = [np.bincount(counts.indices, minlength=counts.shape[1]) for counts in _counts(texts)]
    return [(np.log((1 + len(texts)) / (1 + df)) + 1).astype(np.float32) for df in frequencies]


def _vectors(texts: pd.Series, idf: list[NDArray[np.float32]]) -> sparse.csr_matrix:
    """Unit TF-IDF vectors of words beside those of character n-grams, scaled so that a product of two is the mean of both cosines."""
    halves = [normalize(counts.multiply(weights).tocsr()) for counts, weights in zip(_counts(texts), idf, strict=True)]
    return sparse.hstack(halves, format="csr", dtype=np.float32) * np.float32(np.sqrt(0.5))
