import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whetstone.disagreement import overlap as module
from whetstone.disagreement.overlap import heatmap
from whetstone.platform.plots import figure_png


def overlap(runs: dict[str, dict[str, str]]) -> pd.DataFrame:
    """Overlap of channels that found these products, a letter each, for these queries."""
    places = {(query, product): {} for run in runs.values() for query, products in run.items() for product in products}
    for name, run in runs.items():
        for query, products in run.items():
            for rank, product in enumerate(products, start=1):
                places[query, product][f"{name}_rank"] = rank
    rows = [{"query_id": query, "product_id": product, **ranks} for (query, product), ranks in places.items()]
    found = pd.DataFrame(rows, columns=["query_id", "product_id", *(f"{name}_rank" for name in runs)])
    return module.overlap(found, list(runs))


def test_a_hand_worked_case() -> None:
    table = overlap({"left": dict(q1="abcd", q2="xy"), "right": dict(q1="cde", q2="zyw")})
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
    table = overlap({"a": {"q1": "ab"}, "b": dict(q1="ab", q2="c")})
    assert table.loc[0, ["overlap", "jaccard", "count_queries"]].tolist() == [0.5, 0.5, 2]


def test_every_pair_of_channels_in_their_order() -> None:
    table = overlap({name: dict(q="a") for name in ("dictionary", "bm25", "dense")})
    assert list(zip(table["left"], table["right"], strict=True)) == [("dictionary", "bm25"), ("dictionary", "dense"), ("bm25", "dense")]


def test_a_query_that_only_a_third_channel_answers_does_not_count() -> None:
    table = overlap({"a": {"q1": "ab"}, "b": {"q1": "ab"}, "c": {"q1": "b", "q2": "x"}})
    assert table["count_queries"].tolist() == [1, 2, 2]
    assert table["overlap"].tolist() == [1.0, 0.5, 0.5]


def test_the_same_product_of_another_query_is_not_found_by_both() -> None:
    assert overlap({"a": dict(q1="x"), "b": dict(q2="x")})["overlap"].tolist() == [0.0]


found = st.dictionaries(st.sampled_from(["q1", "q2", "q3"]), st.sets(st.sampled_from("abcdef")).map("".join), max_size=3)


@settings(deadline=None, max_examples=60)
@given(found, found)
def test_it_agrees_with_sets_and_is_symmetric(left: dict[str, str], right: dict[str, str]) -> None:
    row = overlap({"l": left, "r": right}).iloc[0]
    swapped = overlap({"r": right, "l": left}).iloc[0]
    queries = [query for query in left.keys() | right.keys() if left.get(query) or right.get(query)]
    assert row["count_queries"] == swapped["count_queries"] == len(queries)
    if queries:
        sets = [(set(left.get(query, "")), set(right.get(query, ""))) for query in queries]
        shares = [len(a & b) / min(len(a), len(b)) if a and b else 0 for a, b in sets]
        assert row["overlap"] == pytest.approx(sum(shares) / len(sets))
        assert row["jaccard"] == pytest.approx(sum(len(a & b) / len(a | b) for a, b in sets) / len(sets))
        assert (row["overlap"], row["jaccard"]) == pytest.approx((swapped["overlap"], swapped["jaccard"]))


def test_runs_that_found_nothing_have_no_mean() -> None:
    table = overlap({"a": {}, "b": {}})
    assert table["count_queries"].tolist() == [0]
    assert table["overlap"].isna().all()
    assert figure_png(heatmap(table)).startswith(b"\x89PNG")


def test_the_heat_map_is_symmetric_and_small() -> None:
    figure = heatmap(overlap({"dictionary": dict(q="ab"), "bm25": dict(q="bc"), "dense": dict(q="c")}))
    grid = figure.axes[0].images[0].get_array()
    assert grid.tolist() == [[1, 0.5, 0], [0.5, 1, 1], [0, 1, 1]]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["dictionary", "bm25", "dense"]
    assert len(figure_png(figure)) < 50_000
