import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from whetstone.disagreement import token_similar as module
from whetstone.disagreement.token_similar import token_similar

WORDS = ["case", "phone", "red", "sofa", "usb", "cable", "long"]


def frames(products: list[str], queries: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    return (
        pd.DataFrame({"product_id": [f"p{(5 * n) % 7}-{n}" for n in range(len(products))], "text": products}),
        pd.DataFrame({"query_id": [f"q{n}" for n in range(len(queries))], "text": queries}),
    )


def pairs(*rows: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=["query_id", "product_id"])


texts = st.lists(st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join), min_size=1, max_size=9)


@settings(deadline=None, max_examples=60)
@given(texts, texts, st.integers(0, 4), st.data())
def test_it_is_what_the_definition_says(product_texts: list[str], query_texts: list[str], per_query: int, data: st.DataObject) -> None:
    products, queries = frames(product_texts, query_texts)
    everything = [(q, p) for q in queries["query_id"] for p in products["product_id"]]
    found = set(data.draw(st.lists(st.sampled_from(everything), max_size=10)))
    result, dropped = token_similar(products, queries, pairs(*sorted(found), ("elsewhere", "p0-0")), 0.2, 0.6, per_query)

    expected, counts = [], dict.fromkeys(dropped, 0)
    if any(text.split() for text in product_texts):
        vectoriser = TfidfVectorizer(sublinear_tf=True)
        product_vectors = vectoriser.fit_transform(product_texts).toarray()
        cosines = vectoriser.transform(query_texts).toarray() @ product_vectors.T
        for query, row in zip(queries["query_id"], cosines, strict=True):
            candidates = []
            for product, cosine in zip(products["product_id"], row.round(12), strict=True):
                if cosine == 0:
                    continue
                reason = (
                    "too_far"
                    if cosine < 0.2
                    else "too_close"
                    if cosine > 0.6
                    else "found_by_a_channel"
                    if (query, product) in found
                    else ""
                )
                if reason:
                    counts[reason] += 1
                else:
                    candidates.append((-cosine, product))
            expected += [(query, product) for _, product in sorted(candidates)[:per_query]]
            counts["over_per_query"] += max(0, len(candidates) - per_query)
    assert dropped == counts
    assert list(zip(result["query_id"], result["product_id"], strict=True)) == expected
    assert result["cosine"].between(0.2, 0.6).all()


def test_the_bounds_are_those_asked_for() -> None:
    products, queries = frames(["red case", "red sofa cable", "phone usb long"], ["red case"])
    close, dropped = token_similar(products, queries, pairs(), 0.9, 1.1)
    assert list(close["product_id"]) == ["p0-0"]
    assert close["cosine"].tolist() == pytest.approx([1.0])
    assert dropped == {"too_far": 1, "too_close": 0, "found_by_a_channel": 0, "over_per_query": 0}


def test_a_pair_that_a_channel_found_is_left_out_for_that_query_alone() -> None:
    products, queries = frames(["red case phone usb"], ["red cable", "red sofa"])
    result, dropped = token_similar(products, queries, pairs(("q0", "p0-0")))
    assert list(result["query_id"]) == ["q1"]
    assert dropped["found_by_a_channel"] == 1


def test_blocks_of_queries_give_what_one_block_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    products, queries = frames(["red case phone usb", "red sofa", "long cable"], ["red cable", "red sofa", "phone long", "usb red"])
    found = pairs(("q3", "p0-0"), ("q0", "p3-2"))
    whole, dropped = token_similar(products, queries, found)
    assert dropped["found_by_a_channel"] > 0
    monkeypatch.setattr(module, "QUERY_BLOCK", 1)
    parts, dropped_by_parts = token_similar(products, queries, found)
    pd.testing.assert_frame_equal(parts, whole)
    assert dropped_by_parts == dropped


def test_nothing_in_nothing_out() -> None:
    products, queries = frames(["red case"], ["red"])
    nothing = {"too_far": 0, "too_close": 0, "found_by_a_channel": 0, "over_per_query": 0}
    for some_products, some_queries in ((products[:0], queries), (products, queries[:0]), (frames(["?", ""], [])[0], queries)):
        result, dropped = token_similar(some_products, some_queries, pairs())
        assert list(result.columns) == ["query_id", "product_id", "cosine"]
        assert result.empty
        assert dropped == nothing


def test_hostile_texts() -> None:
    hostile = ["", "?!", "🦄", "a/b'\"\n", "x" * 100_000, "word " * 20_000, "naïve café"]
    products, queries = frames(hostile, hostile)
    result, _ = token_similar(products, queries, pairs(), 0.0, 1.1)
    assert np.isclose(result["cosine"], 1).sum() == 3
