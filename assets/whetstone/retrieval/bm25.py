"""Channel `bm25`: BM25 over stemmed product text, Lucene's form, through bm25s (Lu 2024, arXiv 2407.03618).

    score(q, d) = sum over the words t of q of  idf(t) * tf(t, d) / (tf(t, d) + k1 * (1 - b + b * |d| / mean |d|))
    idf(t) = log(1 + (N - df(t) + 0.5) / (df(t) + 0.5))

Robertson, Zaragoza 2009 for BM25; Kamphuis et al. 2020 for Lucene's variant, which leaves out the factor k1 + 1. bm25s pads its results
with products that score 0 and cuts ties by chance, so we take its full scores instead, drop what scores 0 and rank ourselves.
"""

from collections.abc import Sequence

import bm25s
import numpy as np
import numpy.typing as npt
import pandas as pd
import Stemmer

from whetstone.retrieval.channels import ChannelInputs
from whetstone.retrieval.ranking import top_k


def search(inputs: ChannelInputs, depth: int) -> pd.DataFrame:
    """The channel's entry: BM25 with the settings' k1 and b over `products.text`; a run."""
    products, queries, settings = inputs.products, inputs.queries, inputs.settings
    corpus = products["text"].tolist(), products["product_id"].tolist()
    return bm25_run(*corpus, queries["text"].tolist(), queries["query_id"].tolist(), depth, k1=settings.bm25_k1, b=settings.bm25_b)


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
    """The run of the `depth` best products of every query, without those that share no word with it.

    `k1` >= 0 is the saturation of term frequency, `b` from 0 to 1 the normalisation by length. Ties by (-score, product_id).
    """
    index = build_index(tokens(texts), k1=k1, b=b)
    # One row of scores at a time: a million products are 4 MB.
    rows = (query_scores(index, query, len(product_ids)) for query in tokens(query_texts))
    return top_k(((found := np.flatnonzero(scores), scores[found]) for scores in rows), product_ids, query_ids, depth)


def tokens(texts: Sequence[str]) -> list[list[str]]:
    """Stemmed words of each text: bm25s's own tokenizer and English stop words, Snowball's English stemmer."""
    stemmer = Stemmer.Stemmer("english")
    split: list[list[str]] = bm25s.tokenize(list(texts), stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False)
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
    return index.get_scores_from_ids(known) if index and known else np.zeros(count_products, dtype=np.float32)
