"""The blend of a lexical and a dense run: worked by hand, the two ends of the weight, cuts that do not separate, and ties."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whetstone.retrieval.fusion import blend

CUTS = (0.4, 0.8)


def run_of(scores: dict[str, float], query: str = "q") -> pd.DataFrame:
    rows = sorted(scores.items(), key=lambda each: (-each[1], each[0]))
    frame = pd.DataFrame(rows, columns=["product_id", "score"]).astype({"product_id": object, "score": float})
    return frame.assign(query_id=query, rank=range(1, len(rows) + 1))[["query_id", "product_id", "rank", "score"]]


def test_a_blend_worked_by_hand() -> None:
    lexical = run_of({"a": 8.0, "b": 4.0, "c": 2.0})
    dense = run_of({"b": 0.7, "d": 1.0, "c": 0.3})  # 0.75, 1.5, and under the cut: 0
    blended = blend(lexical, dense, CUTS, 0.6)
    assert blended["product_id"].tolist() == ["d", "b", "a", "c"]
    assert blended["score"].tolist() == pytest.approx([0.6 * 1.5, 0.6 * 0.75 + 0.4 * 0.5, 0.4 * 1.0, 0.4 * 0.25])
    assert blended["rank"].tolist() == [1, 2, 3, 4]
    pd.testing.assert_frame_equal(blend(lexical, dense, CUTS, 0.6, depth=2), blended.head(2))


def test_each_query_has_its_own_best_and_an_empty_side_is_no_harm() -> None:
    lexical = pd.concat([run_of({"a": 100.0, "b": 50.0}, "q2"), run_of({"a": 0.02, "b": 0.01}, "q1")])
    blended = blend(lexical, run_of({}), CUTS, 0.5)
    assert blended[["query_id", "product_id"]].to_numpy().tolist() == [["q1", "a"], ["q1", "b"], ["q2", "a"], ["q2", "b"]]
    assert blended["score"].tolist() == pytest.approx([0.5, 0.25, 0.5, 0.25])
    assert blend(run_of({}), run_of({"a": 0.6}), CUTS, 0.5)["score"].tolist() == pytest.approx([0.25])
    assert blend(run_of({}), run_of({}), CUTS, 0.5).empty


scores = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0.01, 1.0).map(lambda value: round(value, 2)), min_size=1)


@settings(deadline=None, max_examples=50)
@given(scores, scores)
def test_weight_0_is_the_lexical_order_and_weight_1_the_dense_order(words: dict[str, float], cosines: dict[str, float]) -> None:
    lexical, dense = run_of(words), run_of(cosines)
    for weight, run in ((0.0, lexical), (1.0, dense)):
        blended = blend(lexical, dense, (0.0, 0.5), weight)
        assert blended["product_id"].tolist()[: len(run)] == run["product_id"].tolist()
        assert (blended["score"][len(run) :] == 0).all() and len(blended) == len({*words, *cosines})


@settings(deadline=None, max_examples=50)
@given(scores, scores, st.tuples(st.floats(-1, 1.2), st.floats(-1, 1.2)), st.floats(0, 1))
def test_any_cuts_keep_the_order_of_the_cosines(words, cosines, cuts, weight) -> None:
    alone = blend(run_of({}), run_of(cosines), cuts, 1.0)
    shown = alone["product_id"].map(cosines)
    assert (alone["score"] >= 0).all() and (alone["score"][shown < cuts[0]] == 0).all()
    assert shown[alone["score"] > 0].is_monotonic_decreasing
    both = blend(run_of(words), run_of(cosines), cuts, weight)
    assert both.equals(both.sort_values(["score", "product_id"], ascending=[False, True]))


def test_cuts_that_do_not_separate_scale_to_the_cosine_1() -> None:
    for upper in (0.6, 0.5):
        assert blend(run_of({}), run_of({"a": 0.8, "b": 0.5}), (0.6, upper), 1.0)["score"].tolist() == pytest.approx([0.5, 0.0])
