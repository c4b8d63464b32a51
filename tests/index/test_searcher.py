"""Queries in words: the five systems, what they load, blank queries, and the two ways to print."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from whetstone.index.render import render_jsonl, render_table
from whetstone.index.serving import COLUMNS, SYSTEMS, Searcher
from whetstone.index.shard import build_shard, open_shard
from whetstone.index.thresholds import Cut, Thresholds
from whetstone.platform.artifacts import Artifacts
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.registry import Encoder
from whetstone.platform.settings import Settings

WORDS = ["red", "blue", "lamp", "chair", "oak", "desk", "garden", "hose"]
PRODUCTS = pd.DataFrame(
    [
        ("p1", "home", "Red lamp", "red lamp"),
        ("p2", "home", "Blue\u2028lamp\n\x1b[31m \U0001f986 " + "long " * 100, "blue lamp"),
        ("p3", "home", "Oak desk", "oak desk"),
        ("p4", "garden", "Garden hose", "garden hose red"),
        ("p5", "garden", "Garden chair", "garden chair oak"),
        ("p6", "empty words", "?", "xyzzy"),
    ],
    columns=["product_id", "category", "title", "text"],
)


def encode(texts: Sequence[str]) -> np.ndarray:
    rows = np.array([[text.lower().split().count(word) + 0.01 for word in WORDS] for text in texts], dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def refuse(*_: object) -> np.ndarray:
    raise RuntimeError("this system does not need that")


@dataclass
class FakeEmbedder:
    """What the searcher asks of an `Embedder`."""

    queries: Callable[[Sequence[str]], np.ndarray] = encode
    products: Callable[[pd.DataFrame], np.ndarray] = lambda products: -encode(products["text"].tolist())
    encoder: Encoder = Encoder("champion", "v1", "")  # noqa: RUF009


def thresholds(encoder="v1", weight=0.5) -> Thresholds:
    cuts = {label: Cut(cosine, 1.0, 1.0, 1, 1, 1) for label, cosine in (("1", 0.0), ("2", 0.5))}
    return Thresholds(encoder, cuts, weight, reason="" if weight else "no dev query is judged")


@pytest.fixture
def shards(tmp_path):
    opened = {}
    for category, rows in PRODUCTS.groupby("category"):
        vectors, ids = encode(rows["text"].tolist()), rows["product_id"].tolist()
        write = lambda folder, v=vectors, i=ids: build_shard(folder, v, i, dtype="f32", encoder="v1")  # noqa: E731
        opened[category] = open_shard(Artifacts(tmp_path).make("index", {"category": category}, write))
    return opened


@pytest.fixture
def make(shards):
    def searcher(products=PRODUCTS, open_shards=lambda: shards, champion=FakeEmbedder(), base=FakeEmbedder(), cuts=thresholds) -> Searcher:  # noqa: B008
        return Searcher(products, open_shards, champion, base, Settings(bm25_k1=1.2, bm25_b=0.5, depth=100), cuts)

    return searcher


def test_each_system_ranks_by_its_own_lights(make):
    searcher = make()
    first = {system: searcher.search(["red lamp"], 10, system)["product_id"].iloc[0] for system in SYSTEMS}
    assert first["champion"] == first["bm25"] == first["hybrid"] == first["rrf"] == "p1"
    assert first["base"] != "p1" and searcher.search(["red lamp"], 10, "base")["product_id"].iloc[-1] == "p1"  # its vectors are negated
    assert set(searcher.search(["red lamp"], 10, "bm25")["product_id"]) == {"p1", "p2", "p4"}
    assert len(searcher.search(["red lamp"], 10, "champion")) == 6


def test_results_carry_title_and_category_in_order(make):
    for system in SYSTEMS:
        found = make().search(["garden oak", "red"], 2, system)
        assert found.columns.tolist() == list(COLUMNS)
        assert found["query_index"].tolist() == [0, 0, 1, 1] and found["rank"].tolist() == [1, 2, 1, 2]
        titles = dict(zip(PRODUCTS["product_id"], PRODUCTS["title"], strict=True))
        categories = dict(zip(PRODUCTS["product_id"], PRODUCTS["category"], strict=True))
        assert found["title"].tolist() == [titles[product] for product in found["product_id"]]
        assert found["category"].tolist() == [categories[product] for product in found["product_id"]]


def test_rrf_fuses_by_rank_and_hybrid_blends_by_the_thresholds(make):
    assert make(cuts=refuse).search(["red lamp"], 3, "rrf")["score"].iloc[0] == pytest.approx(2 / 61)
    assert make().search(["red lamp"], 3, "hybrid")["score"].iloc[0] == pytest.approx(0.5 * 1.0 / 0.5 + 0.5 * 1.0, abs=1e-5)
    words = make(cuts=lambda: thresholds(weight=0.0)).search(["red lamp"], 2, "hybrid")["product_id"].tolist()
    assert words == make().search(["red lamp"], 2, "bm25")["product_id"].tolist()


def test_hybrid_without_a_weight_goes_by_ranks_and_says_so(make, caplog):
    found = make(cuts=lambda: thresholds(weight=None)).search(["red lamp"], 3, "hybrid")
    pd.testing.assert_frame_equal(found, make().search(["red lamp"], 3, "rrf"))
    assert "no dev query is judged" in caplog.text


def test_products_that_left_the_catalog_are_left_out_and_k_of_the_others_answer(make):
    for gone in (["p1"], ["p1", "p3", "p5"]):
        left = PRODUCTS[~PRODUCTS["product_id"].isin(gone)]
        everything = make().search(["red lamp", "oak"], 6)
        wanted = everything[~everything["product_id"].isin(gone)].groupby("query_index").head(3)
        found = make(products=left).search(["red lamp", "oak"], 3)
        assert found["product_id"].tolist() == wanted["product_id"].tolist()
        assert found["rank"].tolist() == [1, 2, 3] * 2 and found["score"].tolist() == wanted["score"].tolist()
        assert not set(gone) & set(make(products=left).search(["red lamp"], 3, "hybrid")["product_id"])


def test_a_product_that_moved_since_answers_once_and_in_its_new_category_alone(make, shards, tmp_path):
    moved = PRODUCTS.assign(category=PRODUCTS["category"].where(PRODUCTS["product_id"] != "p1", "garden"))
    rows = moved[moved["category"] == "garden"]
    write = lambda folder: build_shard(  # noqa: E731
        folder, encode(rows["text"].tolist()), rows["product_id"].tolist(), dtype="f32", encoder="v1"
    )
    both = {**shards, "garden": open_shard(Artifacts(tmp_path).make("index", {"category": "new garden"}, write))}
    searcher = make(products=moved, open_shards=lambda: both)
    assert sorted(searcher.search(["red lamp"], 6)["product_id"]) == sorted(PRODUCTS["product_id"])
    assert "p1" not in set(searcher.search(["red lamp"], 6, category="home")["product_id"])
    assert searcher.search(["red lamp"], 6, category="garden")["product_id"].iloc[0] == "p1"


def test_a_category_limits_every_system(make):
    for system in SYSTEMS:
        found = make().search(["garden red lamp"], 10, system, category="garden")
        assert set(found["category"]) == {"garden"} and set(found["product_id"]) == {"p4", "p5"}

    # Dense scores do not depend on what else is searched.
    for system in ("champion", "base"):
        everywhere = make().search(["garden red lamp"], 10, system)
        within = everywhere[everywhere["category"] == "garden"]
        assert make().search(["garden red lamp"], 10, system, category="garden")["score"].tolist() == pytest.approx(
            within["score"].tolist()
        )


def test_nothing_dear_is_loaded_before_it_is_needed(make):
    never = FakeEmbedder(refuse, refuse)
    assert len(make(open_shards=refuse, champion=never, base=never).search(["red lamp"], 3, "bm25")) == 3
    assert len(make(open_shards=refuse, champion=never).search(["red"], 3, "base"))
    assert make(open_shards=refuse, champion=never, base=never).search(["", "  \t"], 3).empty
    opened = []
    searcher = make(base=FakeEmbedder(products=lambda products: opened.append(1) or encode(products["text"].tolist())))
    searcher.search(["red"], 1, "base")
    searcher.search(["oak"], 1, "base")
    assert opened == [1]


def test_blank_queries_keep_their_place(make):
    texts = ["", "red lamp", " \n ", "oak desk", "", "red lamp"]
    for system in SYSTEMS:
        results = make().search(texts, 2, system)
        lines = [json.loads(line) for line in render_jsonl(texts, results)]
        assert [line["query"] for line in lines] == texts
        assert [len(line["results"]) > 0 for line in lines] == [False, True, False, True, False, True]
        assert lines[1]["results"] == lines[5]["results"] != lines[3]["results"]


def test_many_queries_answer_as_each_alone(make):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 2)) for _ in range(1100)]
    for system in SYSTEMS:
        searcher = make()
        lines = list(render_jsonl(texts, searcher.search(texts, 3, system)))
        assert len(lines) == 1100
        for at in (0, 511, 512, 1099):
            assert lines[at] == next(render_jsonl([texts[at]], searcher.search([texts[at]], 3, system)))


def test_mistakes_are_named(make):
    with pytest.raises(WhetstoneError, match=r"no system 'best'.*champion, base, bm25, hybrid, rrf"):
        make().search(["red"], 1, "best")
    with pytest.raises(WhetstoneError, match=r"no category 'toys'.*'garden', 'home'"):
        make().search(["red"], 1, category="toys")
    with pytest.raises(WhetstoneError, match="k is 0"):
        make().search(["red"], 0)
    with pytest.raises(WhetstoneError, match=r"no shard of category 'home': run .*shard_set"):
        make(open_shards=dict).search(["red"], 1, category="home")
    with pytest.raises(WhetstoneError, match="no shard of the catalog's categories"):
        make(open_shards=dict).search(["red"], 1)


def test_a_line_of_json_is_one_line_and_loses_nothing(make):
    texts = ['blue lamp \u2028 \U0001f986\n"quoted"']
    lines = list(render_jsonl(texts, make().search(texts, 1)))
    assert len("".join(lines).splitlines()) == 1
    line = json.loads(lines[0])
    assert line["query"] == texts[0]
    assert list(line["results"][0]) == ["rank", "product_id", "title", "category", "score"]
    assert line["results"][0]["title"] == PRODUCTS["title"][1] and line["results"][0]["rank"] == 1


def test_the_table_shows_one_clean_line_a_product(make):
    texts = ["blue lamp", ""]
    table = render_table(texts, make().search(texts, 6))
    lines = table.splitlines()
    assert len(lines) == 1 + 6 + 1 and table.isprintable() is False and "\x1b" not in table
    assert lines[0] == "'blue lamp'" and lines[-1] == "'': nothing found"
    assert "p2" in lines[1] and "Blue lamp" in lines[1] and lines[1].endswith("…") and "home" in lines[1]
    assert max(map(len, lines)) < 170
