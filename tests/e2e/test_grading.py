"""Money, from the command line to the bill: a build that buys, is killed, is short of money, or has no key at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from pydantic import SecretStr
from tests.conftest import Shop
from tests.grading.stand_in import StandIn

KEY = "sk-secret-of-the-shop"
CASCADE = "cross_encoder,claude_small,claude_large"


def paying(shop: Shop, home: Path, server: StandIn, **update) -> Shop:
    """A copy of the shop whose cascade asks the server."""
    copy = shop.copy(home)
    key = {"anthropic_api_key": SecretStr(KEY), "anthropic_base_url": server.url}
    copy.settings = copy.settings.model_copy(
        update={"cascade": CASCADE, "agreement_floor": 0.0, "budget_usd": 50.0, "claude_poll_s": 0.01, **key, **update}
    )
    return copy


def grade(shop: Shop):
    outcome = shop.builder().run("+grade_audit")
    assert not outcome.failed and not outcome.held_back, outcome.failed
    return outcome


def booked(shop: Shop) -> Decimal:
    paid = "select coalesce(sum(cost_usd), 0) from ledger.grades where annotator like 'claude%'"
    return Decimal(str(shop.warehouse().read(paid).iloc[0, 0]))


def assert_books_agree(shop: Shop, server: StandIn) -> None:
    server.end()
    assert booked(shop) == pytest.approx(server.total_usd, abs=Decimal("1e-9"))
    assert server.bought_twice() == {}


def test_a_build_pays_once_and_the_books_agree(built_shop: Shop, tmp_path: Path, caplog) -> None:
    with StandIn() as server:
        shop = paying(built_shop, tmp_path / "home", server)
        assert grade(shop).built
        assert_books_agree(shop, server)
        assert server.total_usd > 0
        [exponent] = shop.warehouse().table("marts.examination")["exponent"]
        assert exponent == 0.9  # of the demo's shoppers, to one decimal
        assert set(shop.warehouse().table("meta.audit")["examination_exponent"]) == {exponent}
        stages = shop.warehouse().read("select distinct settled_by from marts.grades")["settled_by"].tolist()
        assert "human" in stages and set(stages) <= {"human", *CASCADE.split(","), "vote"}

        asked = len(server.log)
        again = grade(shop)
        assert not again.built and len(server.log) == asked  # not even a look

        products = shop.settings.data_dir / "products.parquet"
        candidates = shop.warehouse().read("select product_id, split, query_id from marts.grade_candidates where split = 'train'")
        judged = shop.warehouse().read("select query_id, product_id from raw.judgments")
        open_pairs = candidates.merge(judged, how="left", indicator=True, on=["query_id", "product_id"]).query("_merge == 'left_only'")
        product = open_pairs["product_id"].iloc[0]
        duckdb.execute(f"create or replace table edited as select * from '{products}'")
        duckdb.execute("update edited set title = title || ' revised edition' where product_id = ?", [product])
        duckdb.execute(f"copy edited to '{products}' (format parquet)")
        before = len(server.bill)
        grade(shop)
        assert_books_agree(shop, server)  # what was bought before was not bought again
        assert len(server.bill) > before
    home = shop.settings.home
    holders = [path for path in home.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert holders == [] and KEY not in caplog.text


def test_a_build_that_is_killed_while_a_batch_is_sent_finds_it_again(built_shop: Shop, tmp_path: Path) -> None:
    with StandIn() as server:
        shop = paying(built_shop, tmp_path / "home", server)
        settings = shop.settings
        names = ("home", "source", "encoder", "depth", "candidates_per_rule", "similar_per_query", "annotator_epochs", "annotator_runs")
        names += ("index_dtype", "cascade", "agreement_floor", "budget_usd", "claude_poll_s")
        environment = {f"WHETSTONE_{name.upper()}": str(getattr(settings, name)) for name in names}
        environment |= {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": server.url, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "whetstone.cli", "grade"]
        server.fault("POST", "/batches$", "slow", accepted=True)
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert server.held.acquire(timeout=400)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        server.release()
        assert len(server.batches) == 1 and booked(shop) == 0
        grade(shop)
        assert_books_agree(shop, server)
        kept = shop.warehouse().read("select count(*) as n from ledger.events where event = 'sent'")["n"].iloc[0]
        assert kept == len(server.batches)


def test_nothing_is_bought_for_a_text_that_is_about_to_change(built_shop: Shop, tmp_path: Path) -> None:
    with StandIn() as server:
        shop = paying(built_shop, tmp_path / "home", server, cascade="claude_small")
        products = shop.settings.data_dir / "products.parquet"
        duckdb.execute(f"create or replace table renamed as select * replace (title || ' mk2' as title) from '{products}'")
        duckdb.execute(f"copy renamed to '{products}' (format parquet)")
        grade(shop)  # the cascade changed, too, so grades are stale at once
        current = "(select text_hash from raw.catalog)"
        dead = f"select count(*) as n from ledger.grades where annotator = 'claude_small' and text_hash not in {current}"
        assert shop.warehouse().read(dead)["n"].iloc[0] == 0
        assert_books_agree(shop, server)


def test_a_short_budget_is_held_and_said(built_shop: Shop, tmp_path: Path) -> None:
    with StandIn() as server:
        shop = paying(built_shop, tmp_path / "home", server, budget_usd=0.3, cascade="cross_encoder,claude_small")
        grade(shop)
        assert_books_agree(shop, server)
        assert 0 < server.total_usd <= Decimal("0.3")
        short = shop.warehouse().read("select sum(unanswered) as n, any_value(why) as why from meta.grading where stage = 'claude_small'")
        if short["n"].iloc[0]:
            assert "WHETSTONE_BUDGET_USD=0.3" in short["why"].iloc[0]


def test_without_judgments_and_key_there_is_mining_and_an_index(built_shop: Shop, tmp_path: Path) -> None:
    shop = built_shop.copy(tmp_path / "home")
    shop.settings = shop.settings.model_copy(update={"cascade": CASCADE})
    judgments = shop.settings.data_dir / "judgments.parquet"
    duckdb.execute(f"create or replace table nobody as select * from '{judgments}' limit 0")
    duckdb.execute(f"copy nobody to '{judgments}' (format parquet)")
    outcome = shop.builder().run()
    assert not outcome.failed and not outcome.held_back, outcome.failed
    warehouse = shop.warehouse()
    assert len(warehouse.table("marts.grade_candidates")) > 0 and warehouse.table("marts.grades").empty
    why = warehouse.read("select why from meta.grading where stage = 'claude_small'")["why"].tolist()
    assert all("ANTHROPIC_API_KEY" in each and "would take about $" in each for each in why)
    report = (shop.settings.root / "report" / "report.md").read_text()
    assert "no human judgments" in report and "ANTHROPIC_API_KEY" in report
    found = subprocess.run(
        [sys.executable, "-m", "whetstone.cli", "search", "lamp", "-k", "3", "--system", "hybrid", "--jsonl"],
        env={**os.environ, "WHETSTONE_HOME": str(shop.settings.home), "WHETSTONE_ENCODER": shop.settings.encoder},
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(json.loads(found.stdout)) > 0


def test_a_dry_run_buys_nothing_and_says_what_it_would_cost(built_shop: Shop, tmp_path: Path) -> None:
    from whetstone.grading.jobs import plan_grading

    with StandIn() as server:
        shop = paying(built_shop, tmp_path / "home", server, budget_usd=0.0)
        shop.builder().run("+calibration")
        notes, planned = plan_grading(shop.settings, shop.builder(), None)
        assert server.bill == [] and not server.requests("POST", "/batches$") and not server.requests("POST", "/messages$")
        assert "claude_small" in planned and "claude_large" in planned and "about $" in planned
        assert any(note.startswith("marts.grade_audit will ask besides") for note in notes)
        for category in shop.builder().history.categories:
            assert category in planned
