import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whetstone.disagreement.overlap import heatmap, overlap
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.plots import figure_png


def run_of(**found: str) -> pd.DataFrame:
    """Query -> its products, a letter each."""
    return pd.DataFrame([(query, product) for query, products in found.items() for product in products], columns=["query_id", "product_id"])


def test_a_hand_worked_case() -> None:
    table = overlap({"left": run_of(q1="abcd", q2="xy"), "right": run_of(q1="cde", q2="zyw")})
    assert table.to_dict("records") == [
        {
            "left": "left",
            "right": "right",
            "overlap": pytest.approx((2 / 3 + 1 / 2) / 2),
            "jaccard": pytest.approx((2 / 5 + 1 / 4) / 2),
            "count_queries": 2,
        }
    ]


def test_a_query_that_one_channel_can_not_answer_counts_as_no_overlap() -> None:
    table = overlap({"a": run_of(q1="ab"), "b": run_of(q1="ab", q2="c")})
    assert table.loc[0, ["overlap", "jaccard", "count_queries"]].tolist() == [0.5, 0.5, 2]


def test_every_pair_of_channels_in_their_order() -> None:
    table = overlap({name: run_of(q="a") for name in ("dictionary", "bm25", "dense")})
    assert list(zip(table["left"], table["right"], strict=True)) == [("dictionary", "bm25"), ("dictionary", "dense"), ("bm25", "dense")]


def test_the_same_product_of_another_query_is_not_found_by_both() -> None:
    assert overlap({"a": run_of(q1="x"), "b": run_of(q2="x")})["overlap"].tolist() == [0.0]


found = st.dictionaries(st.sampled_from(["q1", "q2", "q3"]), st.sets(st.sampled_from("abcdef")).map("".join), max_size=3)


@settings(deadline=None, max_examples=60)
@given(found, found)
def test_it_agrees_with_sets_and_is_symmetric(left: dict[str, str], right: dict[str, str]) -> None:
    row = overlap({"l": run_of(**left), "r": run_of(**right)}).iloc[0]
    swapped = overlap({"r": run_of(**right), "l": run_of(**left)}).iloc[0]
    queries = [query for query in left.keys() | right.keys() if left.get(query) or right.get(query)]
    assert row["count_queries"] == swapped["count_queries"] == len(queries)
    if queries:
        sets = [(set(left.get(query, "")), set(right.get(query, ""))) for query in queries]
        shares = [len(a & b) / min(len(a), len(b)) if a and b else 0 for a, b in sets]
        assert row["overlap"] == pytest.approx(sum(shares) / len(sets))
        assert row["jaccard"] == pytest.approx(sum(len(a & b) / len(a | b) for a, b in sets) / len(sets))
        assert (row["overlap"], row["jaccard"]) == pytest.approx((swapped["overlap"], swapped["jaccard"]))


def test_runs_that_found_nothing_have_no_mean() -> None:
    table = overlap({"a": run_of(), "b": run_of()})
    assert table["count_queries"].tolist() == [0]
    assert table["overlap"].isna().all()
    assert figure_png(heatmap(table)).startswith(b"\x89PNG")


def test_a_product_twice_in_a_run_is_refused() -> None:
    with pytest.raises(WhetstoneError, match="channel 'b' has a product twice"):
        overlap({"a": run_of(q="x"), "b": run_of(q="xx")})


def test_the_heat_map_is_symmetric_and_small() -> None:
    figure = heatmap(overlap({"dictionary": run_of(q="ab"), "bm25": run_of(q="bc"), "dense": run_of(q="c")}))
    grid = figure.axes[0].images[0].get_array()
    assert grid.tolist() == [[1, 0.5, 0], [0.5, 1, 1], [0, 1, 1]]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["dictionary", "bm25", "dense"]
    assert len(figure_png(figure)) < 50_000
