"""The whole graph on a small demo shop: builds once, rests, re-makes only what changed, and recovers from what goes wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from whetstone.platform.asset import key_of
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.staleness import name_of

SYSTEMS = {
    "random", "dictionary", "bm25", "base", "rrf_base", "hybrid_base", "encoder_bce", "encoder_mnr", "encoder_triplet",
    "rrf_champion", "hybrid_champion",
}  # fmt: skip


def edit(path: Path, select: str, **parameters: object) -> None:
    """Rewrite a Parquet file as the rows of a SELECT from `products`, its old rows."""
    connection = duckdb.connect()
    connection.execute("create table products as select * from read_parquet($path)", {"path": str(path)})
    connection.execute(f"create table edited as {select}", parameters)
    connection.execute(f"copy edited to '{path}' (format parquet)")


def products_file(shop) -> Path:
    return shop.settings.data_dir / "products.parquet"


def names(places) -> set[str]:
    return {name_of(place) for place in places}


def test_a_second_build_runs_nothing(built_shop) -> None:
    outcome = built_shop.builder().run()
    assert not outcome.built and not outcome.failed
    assert len(outcome.up_to_date) > 40


def test_report_keeps_its_contract(built_shop) -> None:
    report = json.loads((built_shop.settings.root / "report" / "report.json").read_text())
    assert report["source"] == "demo"
    assert report["catalog"]["products"] == 240 and report["catalog"]["categories"] == 3
    assert set(report["catalog"]["queries"]) == {"train", "dev", "test"}
    assert set(report["systems"]) >= SYSTEMS
    for system in report["systems"].values():
        for metric in ("ndcg@10", "recall@100", "embarrassing@10"):
            assert set(system[metric]) == {"mean", "low", "high"}
        assert set(system["segments"]) <= {"head", "torso", "tail"} and system["segments"]
    assert report["systems"]["random"]["ndcg@10"]["mean"] < report["systems"]["bm25"]["ndcg@10"]["mean"]
    assert {"system", "against", "metric", "difference", "low", "high", "p"} == set(report["comparisons"][0])
    assert report["champion"] in report["systems"]
    assert isinstance(report["promotion"]["promoted"], bool) and report["promotion"]["reason"]
    stages = {"human", "cross_encoder", "simulated_small", "simulated_large", "vote", "nobody"}
    assert {row["stage"] for row in report["grades"]} == stages
    assert {"cascade", "cross_encoder", "simulated_large"} <= {row["annotator"] for row in report["agreement_with_humans"]}
    assert all(row["usd"] > 0 for row in report["spending"]) and report["warnings"]
    html = (built_shop.settings.root / "report" / "report.html").read_text()
    assert "data:image/png;base64," in html and "<script" not in html


def test_runs_have_no_gaps_and_break_ties_by_id(built_shop) -> None:
    for table in ("marts.bm25_run", "marts.dictionary_run", "marts.dense_run"):
        run = built_shop.warehouse().table(table)
        assert len(run)
        for _, ranked in run.groupby(["category", "query_id"]):
            assert ranked.sort_values("rank")["rank"].tolist() == list(range(1, len(ranked) + 1))
            wanted = ranked.assign(minus=-ranked["score"]).sort_values(["minus", "product_id"])["product_id"].tolist()
            assert ranked.sort_values("rank")["product_id"].tolist() == wanted
        if table != "marts.dense_run":
            assert (run["score"] > 0).all()


def test_no_test_query_reaches_mining_grading_or_tiers(built_shop) -> None:
    warehouse = built_shop.warehouse()
    for table in (
        "bm25_run",
        "dense_run",
        "dictionary_run",
        "disagreement_sets",
        "token_similar",
        "grade_candidates",
        "grades",
        "curriculum_tiers",
    ):
        leaked = warehouse.read(
            f"select count(*) as n from marts.{table} join raw.queries using (query_id) where raw.queries.split = 'test'"
        )
        assert leaked["n"][0] == 0, table


def test_tiers_follow_the_rules_of_the_paper(built_shop) -> None:
    warehouse = built_shop.warehouse()
    tiers = warehouse.read(
        "select t.*, s.class, s.count_channels, s.best_rank from marts.curriculum_tiers t left join marts.disagreement_sets s "
        "using (category, query_id, product_id)"
    )
    assert set(tiers["tier"]) >= {"easy_positive", "hard_negative"}
    assert not tiers.duplicated(["query_id", "product_id"]).any()
    positives = tiers["tier"].isin(["easy_positive", "hard_positive"])
    assert (tiers.loc[positives, "grade"] >= 3).all() and (tiers.loc[~positives, "grade"] <= 1).all()
    assert (tiers.loc[tiers["tier"] == "easy_positive", "count_channels"] == 3).all()
    assert (tiers.loc[tiers["tier"] == "hard_negative", "count_channels"] == 1).all()
    assert tiers.loc[tiers["tier"] == "token_similar_negative", "class"].isna().all()
    per_query = tiers.groupby(["query_id", positives.rename("side")]).size()
    assert per_query.max() <= 50


def test_an_edited_title_touches_only_its_category(built_shop, tmp_path) -> None:
    shop = built_shop.copy(tmp_path / "home")
    products = shop.warehouse().table("staging.products")
    target = products.iloc[0]
    title = "select * replace (if(product_id = $id, 'zebra crossing lamp', title) as title) from products"
    edit(products_file(shop), title, id=target["product_id"])
    outcome = shop.builder().run()
    assert not outcome.failed
    assert (key_of("staging.query_routes"), None) in outcome.built  # of all categories; what it changes is told by category
    touched = {place for place in outcome.built if place[1]}
    assert {place[1] for place in touched} == {target["category"]}
    assert {place[0].path[-1] for place in touched} >= {"products", "bm25_run", "dense_run"}
    again = shop.warehouse().table("staging.products")
    assert again.set_index("product_id").loc[target["product_id"], "title"] == "zebra crossing lamp"
    assert not shop.builder().run().built


def test_a_price_edit_runs_nothing(built_shop, tmp_path) -> None:
    shop = built_shop.copy(tmp_path / "home")
    edit(products_file(shop), "select * replace (price_cents + 1 as price_cents) from products order by price_cents")
    assert not shop.builder().run().built


def test_a_removed_category_leaves_no_rows_and_comes_back_whole(built_shop, tmp_path) -> None:
    shop = built_shop.copy(tmp_path / "home")
    gone = shop.warehouse().table("staging.products")["category"].unique()[0]
    kept = shop.warehouse().read("select product_id from staging.products where category != $gone", {"gone": gone})["product_id"]
    everything = products_file(shop).read_bytes()
    edit(products_file(shop), "select * from products where product_id in (select unnest($kept))", kept=kept.tolist())
    assert gone not in shop.builder().history.categories
    assert shop.warehouse().read("select count(*) as n from marts.bm25_run where category = $gone", {"gone": gone})["n"][0] == 0
    products_file(shop).write_bytes(everything)
    stale = names(each.place for each in shop.builder().stale())
    assert {f"staging.products[{gone}]", f"marts.bm25_run[{gone}]", f"marts.grades[{gone}]"} <= stale
    outcome = shop.builder().run("+bm25_run", [gone])
    assert not outcome.failed
    pd.testing.assert_frame_equal(shop.warehouse().table("marts.bm25_run"), built_shop.warehouse().table("marts.bm25_run"))


def test_a_lost_warehouse_is_noticed(built_shop, tmp_path) -> None:
    shop = built_shop.copy(tmp_path / "home")
    shop.settings.warehouse_path.unlink()
    stale = names(each.place for each in shop.builder().stale())
    assert {"staging.query_routes", "marts.evaluation"} <= stale and any(name.startswith("marts.dense_run") for name in stale)


@pytest.mark.parametrize("asset", ["bm25_run", "dictionary_run", "dense_run"])
def test_an_asset_reads_only_what_it_declares(built_shop, tmp_path, asset) -> None:
    """Built alone with its ancestors in a fresh home, it would miss a table that it reads without saying so."""
    shutil.copytree(built_shop.settings.data_dir, tmp_path / "home" / "demo" / "files")
    shop = type(built_shop)(built_shop.settings.model_copy(update={"home": tmp_path / "home", "data": None}))
    outcome = shop.builder().run(f"+{asset}")
    assert not outcome.failed and not outcome.held_back


def test_another_base_encoder_forgets_nothing_and_mixes_nothing(built_shop, tmp_path) -> None:
    from whetstone.platform.registry import Encoder, registry_of

    shop = built_shop.copy(tmp_path / "home")
    registry = registry_of(shop.settings)
    checkpoint = next((shop.settings.root / "artifacts" / "checkpoint").iterdir())
    before = registry.promote(Encoder("encoder_bce", checkpoint.name, str(checkpoint)))
    other = tmp_path / "other"
    shutil.copytree(shop.settings.encoder, other)
    (other / "README.md").unlink(missing_ok=True)
    (other / "extra.json").write_text("{}")
    type(shop)(shop.settings.model_copy(update={"encoder": str(other)})).builder()
    assert registry.require().champion.name == "base"
    answers = searcher(shop).search(["lamp"], 5)  # what was published goes on serving, by its own encoder
    pd.testing.assert_frame_equal(answers, searcher(built_shop).search(["lamp"], 5))
    shop.builder()
    assert registry.require().champion.version == before.champion.version
    assert str(tmp_path) not in registry.path.read_text().replace(str(other), "")  # a moved home finds its checkpoints


def test_a_test_query_slipped_into_the_tiers_fails_the_leak_check(built_shop, tmp_path) -> None:
    shop = built_shop.copy(tmp_path / "home")
    leaked = shop.warehouse().read("select query_id from raw.queries where split = 'test' order by 1 limit 1")["query_id"][0]
    with shop.warehouse().transaction() as connection:
        connection.execute(
            "update marts.grades set query_id = $q where query_id = (select min(query_id) from marts.grades where split = 'train')",
            {"q": leaked},
        )
        # the tiers' own inputs look unchanged, so force the partition that holds the leak
        category = connection.execute("select category from marts.grades where query_id = $q limit 1", {"q": leaked}).fetchone()[0]
    from whetstone.platform.asset import key_of

    builder = shop.builder()
    job = builder.job.get_subset(asset_selection={key_of("marts.curriculum_tiers")})
    run = job.execute_in_process(instance=builder.instance, partition_key=category, raise_on_error=False)
    failed = {e.check_name for e in run.get_asset_check_evaluations() if not e.passed}
    rows = shop.warehouse().read("select count(*) as n from marts.curriculum_tiers where query_id = $q", {"q": leaked})["n"][0]
    assert rows == 0 or ("no_test_query" in failed and not run.success)
    if rows:
        assert any("no_test_query" in reason for each in shop.builder().stale() for reason in each.reasons)


def test_a_corrupt_index_is_named_and_the_next_build_mends_it(built_shop, tmp_path) -> None:
    from whetstone.platform.asset import artifact_names

    shop = built_shop.copy(tmp_path / "home")
    searcher(shop).search(["lamp"], 5)
    names_ = artifact_names(shop.instance, "models.search_index")
    index = next((shop.settings.root / "artifacts" / next(iter(names_.values()))).glob("*.usearch"))
    content = bytearray(index.read_bytes())
    content[len(content) // 2] ^= 1
    index.write_bytes(content)
    with pytest.raises(WhetstoneError, match=index.name):
        searcher(shop).search(["lamp"], 5)
    outcome = shop.builder().run()
    assert {place[0].path[-1] for place in outcome.built} == {"search_index"} and not outcome.failed
    assert len(searcher(shop).search(["lamp"], 5)) == 5


def searcher(shop):
    from whetstone.index.serving import open_searcher

    return open_searcher(shop.settings, shop.warehouse().read)


def test_search_finds_the_exact_neighbours(built_shop) -> None:
    found = searcher(built_shop).search(["red lamp", "", "usb"], 7)
    assert found.groupby("query_index").size().to_dict() == {0: 7, 2: 7}
    only = searcher(built_shop).search(["red lamp"], 500, category=found["category"][0])
    assert set(only["category"]) == {found["category"][0]}


def test_a_duplicate_product_id_is_refused_and_nothing_is_lost(built_shop, tmp_path) -> None:
    shop = built_shop.copy(tmp_path / "home")
    before = shop.warehouse().table("raw.catalog")
    good = products_file(shop).read_bytes()
    edit(products_file(shop), "select * from products union all (select * from products limit 1)")
    with pytest.raises(WhetstoneError, match=r"duplicate id.*row 241"):
        shop.builder()
    pd.testing.assert_frame_equal(shop.warehouse().table("raw.catalog"), before)
    products_file(shop).write_bytes(good)
    assert not shop.builder().run().built


def test_a_killed_build_is_taken_up_by_the_next(built_shop, tmp_path) -> None:
    shop = built_shop.copy(tmp_path / "home")
    edit(products_file(shop), "select * replace (title || ' new' as title) from products")
    settings = shop.settings
    environment = {
        **os.environ,
        **{f"WHETSTONE_{name.upper()}": str(value) for name, value in settings.model_dump(exclude_none=True).items()},
    }
    process = subprocess.Popen([sys.executable, "-m", "whetstone.cli", "build"], env=environment, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "marts.bm25_run" in line:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.1)
    outcome = shop.builder().run()
    assert not outcome.failed and outcome.built
    rest = shop.builder().run()
    assert not rest.built and not rest.failed


def test_cycle_makes_the_champion_mine(built_shop, tmp_path) -> None:
    from dataclasses import replace

    from whetstone.platform.registry import Encoder, registry_of

    shop = built_shop.copy(tmp_path / "home")
    registry = registry_of(shop.settings)
    pointers = registry.require()
    if pointers.champion.version == pointers.base.version:
        with pytest.raises(WhetstoneError, match="already is the mining encoder"):
            registry.next_cycle()
        checkpoint = next((shop.settings.root / "artifacts" / "checkpoint").iterdir())
        registry.promote(Encoder("encoder_bce", checkpoint.name, str(checkpoint)))
    after = registry.next_cycle()
    assert after == replace(after, cycle=2, incumbent=after.champion)
    stale = names(each.place for each in shop.builder().stale())
    assert any(name.startswith("marts.dense_run") for name in stale)
    assert not any(name.startswith("marts.bm25_run") for name in stale)
