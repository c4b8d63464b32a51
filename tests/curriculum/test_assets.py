"""The wiring of synthetic queries: both tables of a small demo shop, built from raw files, keep what they promise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from whetstone.catalog.demo.generate import generate
from whetstone.curriculum.assets import NEAR, assets
from whetstone.grading.guideline import load_guideline
from whetstone.platform.asset import with_settings
from whetstone.platform.settings import Settings
from whetstone.platform.sql_contracts import contract_checks, load_contract
from whetstone.platform.warehouse import Warehouse
from whetstone.retrieval import channels


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory, mini_encoder: Path) -> Warehouse:
    """Of a shop of one category, built up to the synthetic grades, with their contracts checked; nothing is trained for that."""
    from whetstone import project

    cascade = "simulated_small,simulated_large"
    settings = Settings(home=tmp_path_factory.mktemp("home"), source="demo", encoder=str(mini_encoder), depth=30, cascade=cascade)
    generate(settings.data_dir, products=60, queries=30, categories=1, seed=3)
    tables = ["marts.synthetic_queries", "marts.synthetic_grades"]
    checks = [contract_checks(table, load_contract(settings.sql_dir / f"{table.replace('.', '/')}.yml"), True) for table in tables]
    made = [with_settings(each, settings) for each in assets(load_guideline("esci"), restricted=True, share=0.5)]
    load = project.load_definitions
    with pytest.MonkeyPatch.context() as patch:
        more = dg.Definitions(assets=made, asset_checks=checks)
        patch.setattr(project, "load_definitions", lambda values: dg.Definitions.merge(load(values), more))
        outcome = project.open_builder(settings).run("+synthetic_grades")
    assert not outcome.failed and not outcome.held_back, outcome.failed
    return Warehouse(database=str(settings.warehouse_path))


def test_another_version_of_a_channel_grades_the_synthetic_queries_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def version() -> str | None:
        _, grades = assets(load_guideline("esci"), restricted=True, share=0.5)
        return next(iter(grades.specs)).code_version

    plain = version()
    for name in NEAR:
        with monkeypatch.context() as patch:
            changed = tuple(replace(each, version="new") if each.name == name else each for each in channels.CHANNELS)
            patch.setattr(channels, "CHANNELS", changed)
            assert version() != plain
    assert version() == plain


def test_only_products_without_a_positive_have_a_query_that_no_shopper_asked(warehouse: Warehouse) -> None:
    queries = warehouse.table("marts.synthetic_queries")
    assert len(queries) > 5 and set(queries["generator"]) == {"template"}
    assert not queries["text"].isin(warehouse.table("raw.queries")["text"]).any()
    positives = warehouse.read(
        "select product_id from marts.corrected_grades where split = 'train' and grade >= 3 union "
        "select product_id from raw.judgments join raw.queries using (query_id) where split = 'train' and grade >= 3"
    )
    assert len(positives) and not queries["product_id"].isin(positives["product_id"]).any()


def test_the_cascade_grades_the_own_product_and_likely_negatives(warehouse: Warehouse) -> None:
    grades, queries = warehouse.table("marts.synthetic_grades"), warehouse.table("marts.synthetic_queries")
    assert not grades.duplicated(["query_id", "product_id"]).any() and set(grades["settled_by"]) <= {
        "simulated_small",
        "simulated_large",
        "vote",
    }
    own = grades.merge(queries[["query_id", "product_id"]])
    assert len(own) == len(queries) and (own["grade"] >= 3).mean() > 0.7
    others = grades[~grades.index.isin(grades.reset_index().merge(queries[["query_id", "product_id"]])["index"])]
    assert others.groupby("query_id").size().max() <= 8 and (others["grade"] <= 1).mean() > 0.4
    texts = dict(zip(queries["query_id"], queries["text"], strict=True))
    assert (grades["query"] == grades["query_id"].map(texts)).all()
