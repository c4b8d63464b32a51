"""The demo shop as files: bytes, shape, difficulty by construction, behaviour of raters and shoppers."""

import json
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from whetstone.catalog.demo.generate import generate
from whetstone.catalog.demo.ratings import PANEL_ERROR, PANEL_SHARE, SINGLE_ERROR
from whetstone.catalog.demo.truth import grade_pairs
from whetstone.platform.errors import WhetstoneError

FILES = ("products", "queries", "judgments", "engagement", "truth")
SQL = Path(__file__).parents[3] / "sql" / "sources" / "demo"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    generate(out, products=1_200, queries=500, categories=5, seed=11)
    frames = {name: pd.read_parquet(out / f"{name}.parquet") for name in FILES}
    frames["judgments"] = frames["judgments"].assign(truth=grade_pairs(frames["judgments"], frames["truth"], frames["products"]))
    return {**frames, "out": out}


def content(folder):
    return {name: (folder / f"{name}.parquet").read_bytes() for name in FILES}


def test_same_seed_same_bytes_and_other_seed_other_bytes(tmp_path):
    shape = {"products": 200, "queries": 30, "categories": 2}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        generate(tmp_path / name, **shape, seed=seed)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert all(content(tmp_path / "a")[file] != content(tmp_path / "c")[file] for file in FILES)


def test_products_are_written_chunk_by_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr("whetstone.catalog.demo.generate.CHUNK_ROWS", 70)
    generate(tmp_path, products=200, queries=10, categories=2, seed=1)
    file = pq.ParquetFile(tmp_path / "products.parquet")
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [70, 70, 60]
    assert file.read(["product_id"]).to_pandas()["product_id"].is_unique


def test_files_replace_older_ones_and_leave_no_scratch(tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    for seed in (1, 2):
        generate(tmp_path, products=60, queries=5, categories=1, seed=seed)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["note.txt", *(f"{name}.parquet" for name in FILES)])


def test_a_failure_leaves_the_old_files(tmp_path, monkeypatch):
    monkeypatch.setattr("whetstone.catalog.demo.queries.PATIENCE", 2)
    generate(tmp_path, products=60, queries=5, categories=1, seed=1)
    before = content(tmp_path)
    with pytest.raises(WhetstoneError, match="fewer queries"):
        generate(tmp_path, products=1, queries=10_000, categories=1, seed=1)
    assert content(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == len(FILES)


@pytest.mark.parametrize(("products", "queries", "categories"), [(50, 5, 1), (1, 1, 1), (3, 2, 3), (400, 40, 200)])
def test_hostile_sizes(tmp_path, products, queries, categories):
    generate(tmp_path, products=products, queries=queries, categories=categories, seed=3)
    assert [len(pd.read_parquet(tmp_path / f"{name}.parquet")) for name in ("products", "queries")] == [products, queries]
    judgments = pd.read_parquet(tmp_path / "judgments.parquet")
    assert not judgments.duplicated(["query_id", "product_id"]).any()


def test_sources_sql_gives_the_contract(shop):
    source = yaml.safe_load((SQL / "source.yml").read_text())
    expected = {
        "products": ["product_id", "category_path", "title", "brand", "description", "attributes"],
        "queries": ["query_id", "text", "frequency", "split"],
        "judgments": ["query_id", "product_id", "grade", "raters", "source"],
        "engagement": ["query_id", "product_id", "impressions", "clicks", "add_to_carts", "purchases", "mean_rank"],
    }
    for name, columns in expected.items():
        path = str(shop["out"] / source["files"][name]["path"])
        relation = duckdb.sql((SQL / f"{name}.sql").read_text(), params={name: path})
        assert relation.columns == columns
        assert len(relation.df()) == len(shop[name])


def test_truth_takes_the_attributes_that_duckdb_returns(shop):
    products = duckdb.sql((SQL / "products.sql").read_text(), params={"products": str(shop["out"] / "products.parquet")})
    judgments = shop["judgments"].head(500)
    again = grade_pairs(judgments, shop["truth"], products.df())
    assert again.tolist() == judgments["truth"].tolist()


def test_splits_are_60_15_25(shop):
    assert shop["queries"]["split"].value_counts().to_dict() == {"train": 300, "test": 125, "dev": 75}


def test_texts_are_distinct_and_8_percent_are_misspelt(shop):
    intents = shop["truth"]["intent"].map(json.loads)
    differs = shop["queries"]["text"].to_numpy() != intents.str["spelt"].to_numpy()
    assert shop["queries"]["text"].is_unique
    assert differs.mean() == pytest.approx(0.08, abs=0.005)
    assert (intents.str["is_misspelt"] == differs).all()


def test_a_misspelling_is_one_edit_in_one_word(shop):
    intents = shop["truth"]["intent"].map(json.loads)
    pairs = zip(shop["queries"]["text"].str.split(), intents.str["spelt"].str.split(), strict=True)
    for typed, meant in pairs:
        differing = [(a, b) for a, b in zip(typed, meant, strict=True) if a != b]
        assert len(differing) <= 1
        for a, b in differing:
            assert abs(len(a) - len(b)) <= 1 and a[0] == b[0]


def test_frequencies_follow_zipf_and_broad_queries_lead(shop):
    frequency = shop["queries"]["frequency"].sort_values(ascending=False).to_numpy()
    slope = np.polyfit(np.log(np.arange(1, 101)), np.log(frequency[:100]), 1)[0]
    assert slope == pytest.approx(-1.05, abs=0.05)
    assert frequency.min() >= 1
    wanted = shop["truth"]["intent"].map(lambda text: len(json.loads(text)["wanted"]))
    head = shop["queries"]["frequency"].rank(ascending=False) <= 50
    assert wanted[head].mean() + 0.5 < wanted[~head].mean()


def test_queries_use_words_that_no_title_has(shop):
    in_titles = {word for title in shop["products"]["title"] for word in title.lower().split()}
    unseen = shop["queries"]["text"].map(lambda text: any(word not in in_titles for word in text.split()))
    assert unseen.mean() > 0.4


def test_every_test_query_is_judged_and_has_an_exact_product_in_truth_and_judgment(shop):
    test = shop["queries"].query("split == 'test'")["query_id"]
    exact = shop["judgments"].query("grade == 4 and truth == 4")["query_id"]
    assert set(test) <= set(exact)
    judged = shop["queries"].set_index("query_id")["split"].loc[shop["judgments"]["query_id"].unique()]
    assert (judged == "dev").sum() == 75
    assert (judged == "train").sum() == pytest.approx(0.35 * 300, abs=25)


def test_pools_mix_all_grades_and_hold_at_most_40(shop):
    sizes = shop["judgments"].groupby("query_id").size()
    assert sizes.max() <= 40
    shares = shop["judgments"]["truth"].value_counts(normalize=True)
    assert shares.min() > 0.05 and set(shares.index) == {0, 1, 2, 4}


def test_single_humans_and_panels_err_at_the_declared_rates(shop):
    judgments = shop["judgments"]
    single = judgments[judgments["raters"].isna()]
    assert (single["grade"] != single["truth"]).mean() == pytest.approx(SINGLE_ERROR, abs=0.01)
    panel = judgments[judgments["raters"].notna()]
    votes = np.stack(panel["raters"].to_numpy())
    assert votes.shape[1] == 3
    assert (votes != panel["truth"].to_numpy()[:, None]).mean() == pytest.approx(PANEL_ERROR, abs=0.02)
    assert (panel["grade"].to_numpy() == np.median(votes, axis=1)).all()
    assert panel["query_id"].nunique() / judgments["query_id"].nunique() == pytest.approx(PANEL_SHARE, abs=0.05)


def test_clicks_fall_with_rank_at_equal_relevance(shop):
    log = shop["engagement"]
    log = log.assign(truth=grade_pairs(log, shop["truth"], shop["products"]))
    exact = log[log["truth"] == 4]
    bands = pd.cut(exact["mean_rank"], [0, 3, 8, 24])
    sums = exact.groupby(bands, observed=True)[["clicks", "impressions"]].sum()
    rate = sums["clicks"] / sums["impressions"]
    assert (rate.diff().dropna() < 0).all() and rate.iloc[0] > 3 * rate.iloc[-1]


def test_clicks_rise_with_relevance_and_the_funnel_narrows(shop):
    log = shop["engagement"]
    log = log.assign(truth=grade_pairs(log, shop["truth"], shop["products"]))
    assert (log["impressions"] >= log["clicks"]).all() and (log["clicks"] >= log["add_to_carts"]).all()
    assert (log["add_to_carts"] >= log["purchases"]).all() and (log["impressions"] > 0).all()
    sums = log[log["mean_rank"].between(3, 12)].groupby("truth")[["clicks", "impressions"]].sum()
    assert (sums["clicks"] / sums["impressions"]).is_monotonic_increasing
