"""The command line as a shop's engineer meets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from whetstone.platform.settings import PROJECT, Settings


def run(shop_settings: Settings | None, *arguments: str, home: Path | None = None, **extra: str) -> subprocess.CompletedProcess[str]:
    values = shop_settings.model_dump(exclude_none=True) if shop_settings else {"home": home}
    environment = {**os.environ, **{f"WHETSTONE_{name.upper()}": str(value) for name, value in values.items()}, **extra}
    return subprocess.run([sys.executable, "-m", "whetstone.cli", *arguments], env=environment, capture_output=True, text=True, check=False)


def test_a_build_with_nothing_to_do_says_so(built_shop) -> None:
    done = run(built_shop.settings, "build")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1].startswith("built 0, up to date ") and done.stdout.strip().endswith(", failed 0")


def test_status_names_the_reason(built_shop) -> None:
    assert run(built_shop.settings, "status").stdout.strip().startswith("0 stale, ")
    done = run(built_shop.settings, "status", WHETSTONE_BM25_K1="0.7")
    lines = done.stdout.strip().splitlines()
    assert lines[-1].startswith("4 stale, ")
    assert all("code or settings changed" in line for line in lines[:-1])
    dry = run(built_shop.settings, "build", "--dry-run", "--select", "bm25_run", WHETSTONE_BM25_K1="0.7")
    assert dry.stdout.strip().splitlines()[-1].startswith("3 to build now")


def test_search_as_table_json_and_file(built_shop, tmp_path) -> None:
    table = run(built_shop.settings, "search", "red lamp", "-k", "3")
    assert table.returncode == 0 and len([line for line in table.stdout.splitlines() if line.strip()]) == 4
    one = json.loads(run(built_shop.settings, "search", "red lamp", "-k", "3", "--json").stdout)
    assert [each["rank"] for each in one["results"]] == [1, 2, 3]
    assert set(one["results"][0]) == {"rank", "product_id", "title", "category", "score"}
    (tmp_path / "queries.txt").write_text("red lamp\n\nusb cable\n", encoding="utf-8")
    done = run(built_shop.settings, "search", "--queries", str(tmp_path / "queries.txt"), "-k", "5", "--jsonl", "--system", "hybrid")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["query"] for answer in answers] == ["red lamp", "", "usb cable"]
    assert [len(answer["results"]) for answer in answers] == [5, 0, 5]


@pytest.mark.parametrize("system", ["champion", "base", "bm25", "hybrid", "rrf"])
def test_every_system_answers(built_shop, system) -> None:
    title = built_shop.warehouse().table("staging.products", columns="title")["title"][0]
    done = run(built_shop.settings, "search", title, "-k", "4", "--system", system, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["results"]


def test_report_prints_the_table_and_the_json(built_shop) -> None:
    table = run(built_shop.settings, "report").stdout
    assert all(name in table for name in ("random", "bm25", "base", "hybrid_champion")) and "report.html" in table
    assert json.loads(run(built_shop.settings, "report", "--json").stdout)["source"] == "demo"


def test_a_corrected_judgment_that_waits_is_said(built_shop, tmp_path) -> None:
    shop = built_shop.copy(tmp_path / "home")
    assert "is held by" not in run(shop.settings, "report").stdout
    path = shop.settings.data_dir / "judgments.parquet"
    judged = pd.read_parquet(path)
    judged.loc[0, "grade"] = 4 - judged.loc[0, "grade"] if judged.loc[0, "grade"] != 2 else 0
    judged.to_parquet(path)
    shop.builder().run("judged_pairs")
    said = "staging.judged_pairs is held by WHETSTONE_RETRAIN_SHARE; changed rows that wait: 1\n"
    assert said in run(shop.settings, "report").stdout and said in run(shop.settings, "status").stdout
    assert said not in run(shop.settings, "status", "--select", "bm25_run").stdout
    assert said not in run(shop.settings, "status", WHETSTONE_RETRAIN_SHARE="0").stdout  # stale: it is not held any longer
    assert said not in run(shop.settings, "report", "--json").stdout
    shop.settings = shop.settings.model_copy(update={"retrain_share": 0.0})
    shop.builder().run("judged_pairs")
    assert "is held by" not in run(shop.settings, "report").stdout


def test_a_deleted_copy_of_the_report_is_no_loss(built_shop, tmp_path) -> None:
    import shutil

    shop = built_shop.copy(tmp_path / "home")
    shutil.rmtree(shop.settings.root / "report")
    assert json.loads(run(shop.settings, "report", "--json").stdout)["source"] == "demo"


def test_the_demo_catalog_never_lands_among_a_shops_files(tmp_path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "products.parquet").write_text("mine")
    arguments = ("demo-catalog", "--products", "60", "--queries", "12", "--categories", "2")
    done = run(None, *arguments, home=tmp_path / "home", WHETSTONE_SOURCE="esci", WHETSTONE_DATA=str(tmp_path / "mine"))
    assert done.returncode == 0 and (tmp_path / "mine" / "products.parquet").read_text() == "mine"
    assert (tmp_path / "home" / "demo" / "files" / "products.parquet").exists()


def test_checks_alone_gate_a_pull_request(built_shop, tmp_path) -> None:
    done = run(built_shop.settings, "check", "--select", "products,champion,catalog", "--junit", str(tmp_path / "checks.xml"))
    assert done.returncode == 0 and done.stdout.splitlines()[-1].endswith("0 stop what depends on them"), done.stderr
    assert {"feed_is_fresh", "count_is_steady", "champion_at_floor", "columns"} <= set(done.stdout.split())
    assert 'failures="0"' in (tmp_path / "checks.xml").read_text()
    shop = built_shop.copy(tmp_path / "home")
    with shop.warehouse().transaction() as connection:
        connection.execute("update staging.products set title = '' where product_id = (select min(product_id) from staging.products)")
    done = run(shop.settings, "check", "--select", "products", "--junit", str(tmp_path / "checks.xml"))
    assert done.returncode == 1 and "1 failed" in done.stdout and "[" in done.stdout
    assert "rows break it" in (tmp_path / "checks.xml").read_text()


def test_rollback_and_gc_say_what_they_do(built_shop, tmp_path) -> None:
    shop = built_shop.copy(tmp_path / "home")
    listed = run(shop.settings, "rollback", "--list")
    assert listed.returncode == 0 and listed.stdout.startswith("champion") and "3 shards, serves" in listed.stdout
    done = run(shop.settings, "rollback")
    if "previous" in listed.stdout:  # the gate promoted a checkpoint; the base was never published
        assert done.returncode == 0 and "what served goes on serving" in done.stdout and "champion_at_floor passed" in done.stdout
        stale = run(shop.settings, "status").stdout
        assert "models.product_vectors" in stale and "models.champion:" not in stale
    else:
        assert done.returncode == 1 and "nothing to roll back to" in done.stderr
    for arguments, last in ((("gc", "--dry-run"), "would remove: "), (("gc",), "removed: ")):
        done = run(shop.settings, *arguments)
        assert done.returncode == 0 and done.stdout.splitlines()[-1].startswith(last), done.stderr
    assert json.loads(run(shop.settings, "search", "red lamp", "-k", "3", "--json").stdout)["results"]


def test_two_builds_at_once_are_one_too_many(built_shop, tmp_path) -> None:
    from whetstone.platform.files import exclusive

    shop = built_shop.copy(tmp_path / "home")
    with exclusive(shop.settings.root / "build.lock", "held by the test"):
        done = run(shop.settings, "build")
    assert done.returncode == 1 and "another build of source demo is running" in done.stderr
    assert run(shop.settings, "build").returncode == 0


def test_errors_are_one_line_without_a_traceback(tmp_path, built_shop) -> None:
    for arguments, said in {
        ("report",): "no report",
        ("search", "lamp"): "no search index",
        ("rollback",): "whetstone build",
        ("search",): "give either a query",
        ("cycle",): "whetstone build",
        ("build",): "data folder",
        ("settings", "--get", "nonsense"): "no setting",
    }.items():
        done = run(None, *arguments, home=tmp_path)
        assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr, (arguments, done.stderr)
    assert "unknown category" in run(built_shop.settings, "build", "-c", "nonsense").stderr
    assert "WHETSTONE_DEPTH='0'" in run(None, "settings", home=tmp_path, WHETSTONE_DEPTH="0").stderr


def test_settings_are_printed_with_their_meaning(tmp_path) -> None:
    done = run(None, "settings", home=tmp_path)
    for name, field in Settings.model_fields.items():
        assert f"WHETSTONE_{name.upper()}" in done.stdout and field.description, name
    assert run(None, "settings", "--get", "dagster_home", home=tmp_path).stdout.strip() == str(tmp_path / "demo" / "dagster")


def test_source_check_of_a_good_and_a_bad_folder(built_shop, tmp_path) -> None:
    assert "no problems" in run(built_shop.settings, "source", "check").stdout
    shop = built_shop.copy(tmp_path / "home")
    (shop.settings.data_dir / "queries.parquet").write_bytes(b"PAR1 half a file")
    done = run(shop.settings, "source", "check")
    assert done.returncode == 1 and "queries.parquet" in done.stdout


@pytest.mark.parametrize("option", [("--products", "0"), ("--queries", "0"), ("--categories", "0"), ("--seed", "-1"), ("--out", __file__)])
def test_demo_catalog_names_an_option_that_cannot_be(tmp_path, option) -> None:
    done = run(None, "demo-catalog", *option, home=tmp_path / "home")
    assert done.returncode == 2 and option[0] in done.stderr
    assert not (tmp_path / "home").exists()


def test_demo_catalog_is_the_same_for_the_same_seed(tmp_path) -> None:
    arguments = ("demo-catalog", "--products", "60", "--queries", "12", "--categories", "2", "--seed", "3", "--out")
    for name in ("a", "b"):
        assert run(None, *arguments, str(tmp_path / name), home=tmp_path).returncode == 0
    assert all((tmp_path / "b" / file.name).read_bytes() == file.read_bytes() for file in (tmp_path / "a").iterdir())


def test_the_readme_names_commands_that_exist() -> None:
    text = (PROJECT / "README.md").read_text()
    help_text = subprocess.run([sys.executable, "-m", "whetstone.cli", "--help"], capture_output=True, text=True, check=True).stdout
    commands = {line.split()[1] for line in text.splitlines() if line.startswith("whetstone ")}
    assert commands >= {"search", "status", "build", "report", "settings", "cycle", "source"}
    for command in commands:
        assert command in help_text, command
    makefile = (PROJECT / "Makefile").read_text()
    for line in text.splitlines():
        if line.startswith("make "):
            assert f"\n{line.split()[1]}:" in makefile, line
