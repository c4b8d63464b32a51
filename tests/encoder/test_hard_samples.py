"""Hard samples against brute force: the border, the labels, what is asked and what is not, and counts that add up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whetstone.encoder.hard_samples import mine_hard_samples

GRADED = {"query_id": object, "product_id": object, "grade": int, "label": int, "confidence": float, "settled_by": object}
Known = tuple[str, str, int, float]  # query, product, label, confidence


def known_pairs(rows: Iterable[Known]) -> pd.DataFrame:
    wide = [(query, product, 2 * label, label, confidence, "before") for query, product, label, confidence in rows]
    return pd.DataFrame(wide, columns=list(GRADED)).astype(GRADED)


class Cascade:
    """Answers with the label that `truth` has for a pair, no answer where it has none; remembers what it was asked."""

    def __init__(self, truth: dict[tuple[str, str], int], confidence: float = 0.9) -> None:
        self.truth, self.confidence = truth, confidence
        self.asked = pd.DataFrame()

    def __call__(self, pairs: pd.DataFrame) -> pd.DataFrame:
        assert pairs.columns.tolist() == ["query_id", "product_id", "category", "query", "text"]
        self.asked = pairs
        ids = [pair for pair in zip(pairs["query_id"], pairs["product_id"], strict=True) if pair in self.truth]
        rows = [(*pair, 2 * self.truth[pair], self.truth[pair], self.confidence, "cascade") for pair in ids]
        return pd.DataFrame(rows, columns=list(GRADED)).astype(GRADED).assign(annotator_version="1", cost_usd=0.0)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return list(zip(self.asked["query_id"], self.asked["product_id"], strict=True))


def mine(
    scores: dict[str, list[float]], cascade: Cascade, known: Iterable[Known] = (), texts: dict[str, str] | None = None, **changes: Any
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Mine over products p0.. with these inner products per query: a product's vector is its column of scores."""
    count = len(next(iter(scores.values())))
    products = pd.DataFrame({"product_id": [f"p{number}" for number in range(count)], "category": "c"})
    products["text"] = [(texts or {}).get(product, f"text of {product}") for product in products["product_id"]]
    queries = pd.DataFrame({"query_id": list(scores), "text": [f"text of {query}" for query in scores]})
    vectors = np.array(list(scores.values()), dtype=np.float32).T
    places = {text: place for place, text in enumerate(queries["text"])}

    def encode(texts: Iterable[str]) -> np.ndarray:
        return np.eye(len(places), dtype=np.float32)[[places[text] for text in texts]]

    settings: dict[str, Any] = {"k": 4, "cap": 10, "confidence": 0.7, **changes}
    return mine_hard_samples(queries, products, encode, lambda: vectors, known_pairs(known), cascade, **settings)


FALLING = [float(number) for number in range(9, 1, -1)]  # p0 first, p7 last


@pytest.mark.parametrize(("k", "above"), [(4, 2), (6, 3), (5, 2), (2, 1)])
def test_the_border_lies_at_half_of_k(k: int, above: int) -> None:
    for label in (0, 1, 2):
        samples, counts = mine({"q": FALLING}, Cascade({("q", f"p{number}"): label for number in range(8)}), k=k)
        ranks = list(range(1, above + 1)) if label == 0 else list(range(above + 1, k + 1))
        assert samples["rank"].tolist() == ranks
        assert samples["product_id"].tolist() == [f"p{rank - 1}" for rank in ranks]
        assert set(samples["kind"]) == {"hard_negative" if label == 0 else "hard_positive"}
        assert counts["found"] == k and counts["not_hard"] == k - len(ranks)
    assert samples.columns.tolist() == ["kind", "query_id", "product_id", "rank", "grade", "label", "confidence", "settled_by"]


def test_a_pair_graded_before_is_not_asked_about_and_its_first_grade_counts() -> None:
    cascade = Cascade({("q", "p3"): 2})
    known: list[Known] = [("q", "p0", 0, 1.0), ("q", "p0", 2, 1.0), ("q", "p1", 0, 0.1), ("q", "p2", 0, 1.0), ("other", "p3", 0, 1.0)]
    samples, counts = mine({"q": FALLING}, cascade, known)
    assert cascade.pairs == [("q", "p3")]  # p1 neither, whose grade is not trusted
    assert samples[["product_id", "kind", "settled_by"]].to_numpy().tolist() == [
        ["p0", "hard_negative", "before"],
        ["p3", "hard_positive", "cascade"],
    ]
    assert counts["graded_before"] == 3 and counts["unsure"] == 1 and counts["not_hard"] == 1


def test_the_cap_holds_for_each_query_and_half_and_the_highest_ranked_are_asked_first() -> None:
    cascade = Cascade({})
    _, counts = mine({"a": FALLING, "b": FALLING[::-1]}, cascade, [("a", "p0", 0, 1.0)], k=8, cap=2)
    assert cascade.pairs == [("b", "p7"), ("a", "p1"), ("b", "p6"), ("a", "p2"), ("a", "p4"), ("b", "p3"), ("a", "p5"), ("b", "p2")]
    assert counts["over_the_cap"] == 7 and counts["asked"] == counts["unanswered"] == 8
    assert mine({"a": FALLING}, Cascade({}), cap=0)[1]["asked"] == 0


def test_of_products_that_read_the_same_only_the_first_is_asked_about() -> None:
    cascade = Cascade({("a", "p1"): 0})
    texts = {"p1": "one text", "p2": "one text", "p3": "one text"}
    samples, counts = mine({"a": FALLING, "b": FALLING}, cascade, texts=texts)
    assert cascade.pairs == [("a", "p0"), ("b", "p0"), ("a", "p1"), ("b", "p1")]  # each query for itself
    assert counts["same_text"] == 4 and samples["product_id"].tolist() == ["p1"]
    _, capped = mine({"a": FALLING}, cascade, texts=texts, cap=1)
    assert cascade.pairs == [("a", "p0")] and capped["same_text"] == 2  # a twin takes no room


def test_an_unsure_answer_is_dropped_and_the_bound_itself_is_enough() -> None:
    truth = {("q", f"p{number}"): 0 for number in range(8)}
    assert len(mine({"q": FALLING}, Cascade(truth, 0.7))[0]) == 2
    samples, counts = mine({"q": FALLING}, Cascade(truth, 0.69))
    assert samples.empty and counts["unsure"] == 4


def test_fewer_products_than_k() -> None:
    samples, counts = mine({"q": FALLING[:3]}, Cascade({("q", f"p{number}"): 0 for number in range(3)}), k=100)
    assert samples["rank"].tolist() == [1, 2, 3] and counts["found"] == 3


LABEL = st.sampled_from([None, 0, 1, 2])


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.permutations(range(7)), min_size=1, max_size=3),
    st.lists(LABEL, min_size=21, max_size=21),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6), st.integers(0, 2), st.sampled_from([0.5, 1.0])), max_size=12),
    st.lists(st.integers(0, 4), min_size=7, max_size=7),
    st.integers(1, 9),
    st.integers(0, 3),
)
def test_brute_force_finds_the_same(
    orders: list[list[int]],
    labels: list[int | None],
    before: list[tuple[int, int, int, float]],
    texts: list[int],
    k: int,
    cap: int,
) -> None:
    scores = {f"q{query}": [float(place) for place in order] for query, order in enumerate(orders)}
    truth = {(f"q{place // 7}", f"p{place % 7}"): label for place, label in enumerate(labels) if label is not None}
    known = [(f"q{query}", f"p{product}", label, confidence) for query, product, label, confidence in before]
    cascade = Cascade(truth)
    samples, counts = mine(scores, cascade, known, {f"p{n}": f"text {text}" for n, text in enumerate(texts)}, k=k, cap=cap)

    graded: dict[tuple[str, str], tuple[int, float]] = {}
    for query, product, label, confidence in known:
        graded.setdefault((query, product), (label, confidence))
    expected, asked = [], set()
    for query, row in scores.items():
        ranked = sorted(range(7), key=lambda product: -row[product])[:k]
        seen, room = set(), {True: cap, False: cap}
        for rank, product in enumerate(ranked, 1):
            pair, is_above = (query, f"p{product}"), rank <= k / 2
            if pair not in graded:
                if texts[product] in seen:
                    continue
                seen.add(texts[product])
                if not room[is_above]:
                    continue
                room[is_above] -= 1
                asked.add(pair)
            label, confidence = graded.get(pair, (truth.get(pair), 0.9))
            if label is None or confidence < 0.7:
                continue
            if is_above and label == 0:
                expected.append(("hard_negative", *pair, rank, label))
            if not is_above and label > 0:
                expected.append(("hard_positive", *pair, rank, label))
    found = samples[["kind", "query_id", "product_id", "rank", "label"]]
    assert list(found.itertuples(index=False, name=None)) == expected
    assert set(cascade.pairs) == asked and len(cascade.pairs) == len(asked)
    assert counts["found"] == counts["graded_before"] + counts["same_text"] + counts["over_the_cap"] + counts["asked"]
    assert counts["graded_before"] + counts["asked"] - counts["unanswered"] == counts["unsure"] + counts["not_hard"] + len(samples)
