import math
from collections import Counter
from collections.abc import Callable

import bm25s
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whetstone.retrieval.bm25 import bm25_run, search, tokens
from whetstone.retrieval.channels import ChannelInputs

WORDS = ["usb", "charger", "cable", "sofa", "grey", "running", "runs", "the"]
texts = st.lists(st.lists(st.sampled_from(WORDS), max_size=7).map(" ".join), min_size=1, max_size=8)


def formula(corpus: list[list[str]], query: list[str], k1: float, b: float) -> list[float]:
    """BM25 as Lucene has it, written from the definition."""
    count, mean = len(corpus), sum(map(len, corpus)) / len(corpus)
    frequency = Counter(word for document in corpus for word in set(document))
    scores = []
    for document in corpus:
        tf, length = Counter(document), k1 * (1 - b + b * len(document) / mean) if mean else 1
        idf = {word: math.log(1 + (count - frequency[word] + 0.5) / (frequency[word] + 0.5)) for word in query}
        scores.append(sum(idf[word] * tf[word] / (tf[word] + length) for word in query if tf[word]))
    return scores


@settings(deadline=None, max_examples=120)
@given(texts, texts, st.integers(1, 9), st.sampled_from([0.0, 0.5, 1.2, 3.0]), st.sampled_from([0.0, 0.5, 1.0]))
def test_the_run_is_what_the_formula_ranks(corpus: list[str], queries: list[str], depth: int, k1: float, b: float) -> None:
    products, ids = [f"p{n}" for n in range(len(corpus))], [f"q{n}" for n in range(len(queries))]
    run = bm25_run(corpus, products, queries, ids, depth, k1=k1, b=b)
    for query_id, query in zip(ids, tokens(queries), strict=True):
        scores = formula(tokens(corpus), query, k1, b)
        mine = run[run["query_id"] == query_id]
        found = [score for score in scores if score > 0]
        np.testing.assert_allclose(mine["score"], sorted(found, reverse=True)[:depth], rtol=1e-5)
        assert all(math.isclose(scores[products.index(p)], s, rel_tol=1e-5) for p, s in zip(mine["product_id"], mine["score"], strict=True))


def test_agrees_with_bm25s_own_ranking_up_to_ties() -> None:
    rng = np.random.default_rng(7)
    vocabulary = [f"word{number}" for number in range(40)]
    corpus = [" ".join(rng.choice(vocabulary, rng.integers(1, 12))) for _ in range(120)]
    queries = [" ".join(rng.choice(vocabulary, 3)) for _ in range(15)]
    products, ids = [f"p{n:03}" for n in range(120)], [f"q{n:02}" for n in range(15)]
    run = bm25_run(corpus, products, queries, ids, 20, k1=1.5, b=0.75)

    peer = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    peer.index(bm25s.tokenize(corpus, stopwords="en", show_progress=False), show_progress=False)
    documents, scores = peer.retrieve(bm25s.tokenize(queries, stopwords="en", show_progress=False), k=20, show_progress=False)
    for query_id, found, theirs in zip(ids, documents, scores, strict=True):
        mine = run[run["query_id"] == query_id]
        positive = theirs[theirs > 0]
        np.testing.assert_allclose(mine["score"], positive, rtol=1e-5)
        # Above the last score, where no tie can be cut, both hold the same products, score by score.
        above = mine["score"].to_numpy() > positive[-1] + 1e-6
        theirs_above = [products[document] for document, score in zip(found, theirs, strict=True) if score > positive[-1] + 1e-6]
        assert sorted(mine["product_id"][above]) == sorted(theirs_above)


def test_products_that_share_no_word_are_not_in_the_run() -> None:
    run = bm25_run(["grey sofa", "usb cable", ""], ["a", "b", "c"], ["sofa", "zebra", ""], ["q1", "q2", "q3"], 10, k1=1.2, b=0.5)
    assert list(run["product_id"]) == ["a"]


def test_ties_are_cut_by_product_id() -> None:
    run = bm25_run(["sofa"] * 5 + ["lamp"], ["e", "a", "d", "b", "c", "f"], ["sofas"], ["q"], 3, k1=1.2, b=0.5)
    assert list(run["product_id"]) == ["a", "b", "c"]
    assert list(run["rank"]) == [1, 2, 3]


def test_search_reads_k1_and_b_from_the_settings(shop: pd.DataFrame, make_inputs: Callable[..., ChannelInputs]) -> None:
    run = search(make_inputs(shop, ["charger"]), 10)
    expected = bm25_run(list(shop["text"]), list(shop["product_id"]), ["charger"], ["q0"], 10, k1=1.2, b=0.5)
    pd.testing.assert_frame_equal(run, expected)


def test_hostile_texts(hostile: list[str]) -> None:
    names = [f"n{number}" for number in range(len(hostile))]
    run = bm25_run(hostile, names, hostile, names, 3, k1=1.2, b=0.5)
    itself = run[run["query_id"] == run["product_id"]]
    assert {"n6", "n7", "n8"} <= set(itself["query_id"])  # the words among them find themselves
    assert not {"n0", "n1", "n2", "n3"} & set(run["query_id"])


@pytest.mark.parametrize("corpus", [[], ["", "?!"]])
def test_a_catalog_without_words_finds_nothing(corpus: list[str]) -> None:
    assert bm25_run(corpus, [f"p{n}" for n in range(len(corpus))], ["sofa"], ["q"], 3, k1=1.2, b=0.5).empty
