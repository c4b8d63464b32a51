"""Channel `bm25`: BM25 over stemmed product text, Lucene's form, through bm25s (Lu 2024, arXiv 2407.03618).

    score(q, d) = sum over the words t of q of  idf(t) * tf(t, d) / (tf(t, d) + k1 * (1 - b + b * |d| / mean |d|))
    idf(t) = log(1 + (N - df(t) + 0.5) / (df(t) + 0.5))

Robertson, Zaragoza 2009 for BM25; Kamphuis et al. 2020 for Lucene's variant, which leaves out the factor k1 + 1. bm25s pads its results
with products that score 0 and cuts ties by chance, so we take its full scores instead, drop what scores 0 and rank ourselves.
"""

from collections.abc import Iterator, Sequence

import bm25s
import numpy as np
import pandas as pd
import Stemmer

from whetstone.retrieval.channels import ChannelInputs
from whetstone.retrieval.ranking import Hits, top_k


def search(inputs: ChannelInputs, depth: int) -> pd.DataFrame:
    """The channel's entry: BM25 with the settings' k1 and b over `products.text`; a run."""
    products, queries, settings = inputs.products, inputs.queries, inputs.settings
    corpus = products["text"].tolist(), products["product_id"].tolist()
    return bm25_run(*corpus, queries["text"].tolist(), queries["query_id"].tolist(), depth, k1=settings.bm25_k1, b=settings.bm25_b)


def bm25_run(
    texts: Sequence[str], product_ids: Sequence[str], query_texts: Sequence[str], query_ids: Sequence[str], depth: int, k1: float, b: float
) -> pd.DataFrame:
    """The run of the `depth` best products of every query, without those that share no word with it; `k1` and `b` are those above."""
    corpus = tokens(texts)
    index = bm25s.BM25(k1=k1, b=b, method="lucene", backend="numpy")
    if any(corpus):  # bm25s has no index of nothing
        index.index(corpus, show_progress=False)

    def found() -> Iterator[Hits]:
        for query in tokens(query_texts):
            known = index.get_tokens_ids(query) if any(corpus) else []
            scores = index.get_scores_from_ids(known) if known else np.zeros(0)  # a row at a time: a million products are 4 MB
            yield np.flatnonzero(scores), scores[scores > 0]

    return top_k(found(), product_ids, query_ids, depth)


def tokens(texts: Sequence[str]) -> list[list[str]]:
    """Stemmed words of each text: bm25s's own tokenizer and English stop words, Snowball's English stemmer."""
    stemmer = Stemmer.Stemmer("english")
    return list(bm25s.tokenize(list(texts), stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False))
