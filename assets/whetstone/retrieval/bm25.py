"""Channel `bm25`: BM25 over stemmed product text, Lucene's form, through bm25s (Lu 2024, arXiv 2407.03618).

    score(q, d) = sum over the words t of q of  idf(t) * tf(t, d) / (tf(t, d) + k1 * (1 - b + b * |d| / mean |d|))
    idf(t) = log(1 + (N - df(t) + 0.5) / (df(t) + 0.5))

Robertson, Zaragoza 2009 for BM25; Kamphuis et al. 2020 for Lucene's variant, which leaves out the factor k1 + 1.
bm25s pads its results with products that score 0 and cuts ties by chance, so we take its full scores instead, drop
what scores 0 and rank ourselves.
"""

from __future__ import annotations

from collections.abc import Sequence

import bm25s
import numpy as np
import numpy.typing as npt
import pandas as pd
import Stemmer

from whetstone.retrieval.channels import ChannelInputs
from whetstone.retrieval.ranking import Hits, best, run_frame, tie_order


def search(inputs: ChannelInputs, depth: int) -> pd.DataFrame:
    """The channel's entry: BM25 with the settings' k1 and b over `products.text`; a run."""
    products, queries = inputs.products, inputs.queries
    return bm25_run(
        list(products["text"]),
        list(products["product_id"]),
        list(queries["text"]),
        list(queries["query_id"]),
        depth,
        k1=inputs.settings.bm25_k1,
        b=inputs.settings.bm25_b,
    )


def bm25_run(
    texts: Sequence[str],
    product_ids: Sequence[str],
    query_texts: Sequence[str],
    query_ids: Sequence[str],
    depth: int,
    *,
    k1: float,
    b: float,
) -> pd.DataFrame:
    """The `depth` best products of every query by BM25, without those that share no word with it.

    Args:
        texts: text of each product.
        product_ids: distinct, beside the texts.
        query_texts: text of each query.
        query_ids: distinct, beside the query texts.
        depth: most products a query keeps.
        k1: saturation of term frequency, >= 0.
        b: normalisation by length, 0 to 1.

    Returns:
        A run: query_id, product_id, rank, score; ties by (-score, product_id).
    """
    index = build_index(tokens(texts), k1=k1, b=b)
    order = tie_order(product_ids)
    hits: list[Hits] = []
    for query in tokens(query_texts):  # one row of scores at a time: a million products are 4 MB
        scores = query_scores(index, query, len(product_ids))
        found = np.flatnonzero(scores > 0)
        chosen = found[best(scores[found], order[found], depth)]
        hits.append((chosen, scores[chosen]))
    return run_frame(query_ids, product_ids, hits)


def tokens(texts: Sequence[str]) -> list[list[str]]:
    """Stemmed words of each text: bm25s's own tokenizer and English stop words, Snowball's English stemmer."""
    split: list[list[str]] = bm25s.tokenize(
        list(texts), stopwords="en", stemmer=Stemmer.Stemmer("english"), return_ids=False, show_progress=False
    )
    return split


def build_index(corpus: Sequence[Sequence[str]], *, k1: float, b: float) -> bm25s.BM25 | None:
    """The index over tokenised texts; None where no text has a word, for which bm25s has no index."""
    if not any(corpus):
        return None
    index = bm25s.BM25(k1=k1, b=b, method="lucene", backend="numpy")
    index.index(list(corpus), show_progress=False)
    return index


def query_scores(index: bm25s.BM25 | None, query: Sequence[str], count_products: int) -> npt.NDArray[np.float32]:
    """BM25 of one tokenised query with every product, (count_products,); words that no product has add nothing."""
    known = index.get_tokens_ids(query) if index else []
    if index is None or not known:
        return np.zeros(count_products, dtype=np.float32)
    scores: npt.NDArray[np.float32] = index.get_scores_from_ids(known)
    return scores
