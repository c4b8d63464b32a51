"""Only what changed: an edit costs what it touches, and a build after any edits is a build from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from tests.e2e.conftest import World

from whetstone.index.recall import recall_at
from whetstone.index.shard import PRODUCTS_FILE, load_vectors, open_shard
from whetstone.platform.artifacts import Artifact, Artifacts
from whetstone.platform.asset import artifact_names, key_of
from whetstone.platform.history import History
from whetstone.platform.registry import registry_of
from whetstone.platform.vectors import Vectors
from whetstone.retrieval import encode as encoding
from whetstone.retrieval.dense import exact_search
from whetstone.retrieval.encode import Embedder

MINED = ["bm25_run", "dictionary_run", "dense_run", "disagreement_sets", "grade_candidates", "grades", "curriculum_tiers"]


def made(world: World, table: str) -> dict[str, Artifact]:
    artifacts = Artifacts(world.settings.root / "artifacts")
    return {str(category): artifacts.open(name) for category, name in sorted(artifact_names(world.instance, table).items())}


def tables(world: World) -> dict[str, pd.DataFrame]:
    """Every table that assets make, and what is kept beside them."""
    names = "select schema_name || '.' || table_name as name from duckdb_tables() where schema_name in ('staging', 'marts', 'raw')"
    return {name: world.warehouse().table(name) for name in world.warehouse().read(f"{names} order by 1")["name"]}


def query_vectors(world: World) -> tuple[list[str], Vectors]:
    queries = world.warehouse().table("raw.queries")
    embedder = Embedder(registry_of(world.settings).require().champion, world.settings.root / "vectors")
    return queries["query_id"].tolist(), embedder.queries(queries["text"].tolist())


def vectors(world: World) -> tuple[list[str], Vectors]:
    parts = [load_vectors(each.path) for each in made(world, "models.product_vectors").values()]
    return [product for _, ids in parts for product in ids], np.concatenate([rows for rows, _ in parts])


def assert_same(one: World, other: World) -> None:
    assert tables(one).keys() == tables(other).keys() >= {f"marts.{name}" for name in MINED}
    for (name, rows), wanted in zip(tables(one).items(), tables(other).values(), strict=True):
        pd.testing.assert_frame_equal(rows, wanted, obj=name)
    (ids, rows), (other_ids, other_rows) = vectors(one), vectors(other)
    assert ids == other_ids and np.array_equal(rows, other_rows)
    query_ids, queries = query_vectors(one)
    pd.testing.assert_frame_equal(exact_search(queries, rows, query_ids, ids, 10), exact_search(queries, other_rows, query_ids, ids, 10))
    shards, others = made(one, "models.search_index"), made(other, "models.search_index")
    assert shards.keys() == others.keys() == set(one.instance.get_dynamic_partitions("category"))
    for category, shard in shards.items():
        files = [pd.read_parquet(each.path / PRODUCTS_FILE) for each in (shard, others[category])]
        pd.testing.assert_frame_equal(*files)
        opened, wanted = open_shard(shard), open_shard(others[category])
        assert len(opened.index) == len(wanted.index) == len(opened.keys)
        assert np.array_equal(opened.index.get(opened.keys, "f32"), wanted.index.get(opened.keys, "f32"))
        in_category, of = load_vectors(made(one, "models.product_vectors")[category].path)
        assert recall_at(opened, in_category, of, queries) >= one.settings.index_recall_floor


def test_an_edit_costs_what_it_touches(built_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = built_world
    ledger = "select text_hash, category from ledger.grades where sequence > $seen"
    seen = int(world.warehouse().read("select max(sequence) as n from ledger.grades")["n"][0])
    graded = world.warehouse().table("marts.grades")
    encoded: list[str] = []

    def encode(encoder: Any, texts: list[str], side: str = "product", **options: Any) -> Vectors:
        encoded.extend(texts if side == "product" else [])
        return original(encoder, texts, side, **options)

    original = encoding.encode
    monkeypatch.setattr(encoding, "encode", encode)

    world.write(price_cents="stock.price_cents + 1")
    assert world.build() == set() and encoded == []

    # Of a product that was graded, so that its pairs have to be graded again.
    product = graded.loc[graded["settled_by"] != "human", "product_id"].min()
    title, path = world.live[product]
    world.live[product] = (f"{title} deluxe", path)
    world.write()
    before = {(row.query_id, row.product_id) for row in graded.itertuples()}
    built = world.build()
    new = world.warehouse().read("select category, text, text_hash from staging.products where product_id = $p", {"p": product})
    category = new["category"][0]
    assert encoded == [new["text"][0]]
    shard = made(world, "models.search_index")[category].facts
    assert (shard["count_added"], shard["count_removed"]) == (1, 1)
    assert {name for name in built if "search_index" in name or "bm25_run" in name} == {
        f"models.search_index[{category}]",
        f"marts.bm25_run[{category}]",
    }

    # Grades are asked for the edited text, and for pairs that were never proposed before; for nothing else.
    asked = world.warehouse().read(ledger, {"seen": seen})
    after = world.warehouse().table("marts.grades").merge(world.warehouse().table("staging.products")[["product_id", "text_hash"]])
    first_seen = [row.text_hash for row in after.itertuples() if (row.query_id, row.product_id) not in before]
    assert new["text_hash"][0] in set(asked["text_hash"]) <= {new["text_hash"][0], *first_seen}
    assert not world.warehouse().read("select key from ledger.grades group by key having count(*) > 1").shape[0]


def categories_of(built: set[str]) -> set[str]:
    """The categories in names such as `marts.bm25_run[garden]`."""
    return {name.split("[")[1].rstrip("]") for name in built if "[" in name}


def routes(world: World) -> set[tuple[str, str]]:
    return set(world.warehouse().table("staging.routed_queries", columns="query_id, category").itertuples(index=False, name=None))


def test_an_edited_judgment_runs_the_category_of_its_product_alone(built_world: World) -> None:
    world, path = built_world, built_world.files / "judgments.parquet"
    placed = world.warehouse().table("staging.judgments")
    chosen = placed[placed["split"] == "train"].iloc[0]
    is_chosen = f"query_id = '{chosen['query_id']}' and product_id = '{chosen['product_id']}'"
    duckdb.execute(f"create table judged as select * replace (if({is_chosen}, (grade + 1) % 5, grade) as grade) from '{path}'")
    duckdb.execute(f"copy judged to '{path}' (format parquet)")
    built = world.build()
    assert f"marts.grades[{chosen['category']}]" in built and "marts.examination" in built
    assert categories_of(built) == {chosen["category"]}


def test_titles_that_draw_a_query_away_run_its_old_category_too_and_no_third(world: World) -> None:
    """Nobody judged or clicked anything for it, so it goes where its nearest product is."""
    world.settings = world.settings.model_copy(update={"route_neighbours": 1})
    products = [(product, path[0]) for product, (_, path) in sorted(world.live.items())]
    drawn, drawing = products[0][0], next(product for product, category in products if category != products[0][1])
    path, title = world.files / "queries.parquet", world.live[drawn][0]
    duckdb.execute(f"create or replace table asked as select * from '{path}'")
    duckdb.execute("insert into asked by name select 'unheard' as query_id, $title as text, 'train' as split", {"title": title})
    duckdb.execute(f"copy asked to '{path}' (format parquet)")
    world.build("+disagreement_sets")
    names = dict(world.warehouse().read("select product_id, category from staging.products").itertuples(index=False, name=None))
    assert {category for query, category in routes(world) if query == "unheard"} == {names[drawn]}
    world.live[drawn], world.live[drawing] = ("Something plain", world.live[drawn][1]), (title, world.live[drawing][1])
    world.write()
    built = world.build("+disagreement_sets")
    assert {category for query, category in routes(world) if query == "unheard"} == {names[drawing]}
    assert categories_of(built) == {names[drawn], names[drawing]} < set(names.values())


def test_a_stop_between_the_routes_and_their_report_is_made_good(built_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world, product = built_world, min(built_world.live)
    world.live[product] = (world.live[product][0], ["Novelties of spring"])
    world.write()
    with monkeypatch.context() as patch:
        patch.setattr("whetstone.catalog.assets.changed_contents", lambda *_: 1 / 0)
        outcome = world.attempt()
    assert "division" in outcome.failed[key_of("staging.query_routes"), None]
    assert "staging.queries[novelties-of-spring]" in world.build()
    assert world.build() == set()
    told = {place: each.data_version for place, each in History(world.instance).latest(key_of("staging.routed_queries")).items()}
    kept = {place: steps[-1].version for (table, place), steps in world.warehouse().written().items() if table == "staging.routed_queries"}
    assert told.items() >= kept.items()


def test_an_index_that_is_made_again_though_nothing_changed_is_built_from_nothing(built_world: World) -> None:
    """Its check did not pass: what an update got wrong, an update would get wrong again."""
    world = built_world
    product = min(world.live)
    world.live[product] = (f"{world.live[product][0]} again", world.live[product][1])
    world.write()
    world.build("products,product_vectors,search_index")
    category, updated = next((name, each) for name, each in made(world, "models.search_index").items() if each.facts["count_removed"])
    job = world.definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection={key_of("models.search_index")})
    assert job.execute_in_process(instance=world.instance, partition_key=category).success
    again = made(world, "models.search_index")[category]
    assert again.name == updated.name and (again.facts["count_added"], again.facts["count_removed"]) == (again.facts["count"], 0)
    assert len(open_shard(again).index) == again.facts["count"]


def test_a_build_after_any_edits_is_a_build_from_nothing(built_world: World, tmp_path: Path) -> None:
    world, rng = built_world, np.random.default_rng(0)
    for count in (42, 8):
        for _ in range(count):
            world.edit(rng)
        world.write()
        assert world.build()
    assert world.build() == set()
    assert any(each.facts["count_added"] < each.facts["count"] for each in made(world, "models.search_index").values())
    fresh = world.anew(tmp_path / "fresh")
    fresh.build()
    assert_same(world, fresh)
