"""Categories with names that were not meant for files, SQL or screens, all at once: mined, indexed and searched like any other."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from tests.e2e.conftest import World

from whetstone.index.shard import open_shard, search
from whetstone.platform.artifacts import Artifacts
from whetstone.platform.asset import artifact_names
from whetstone.platform.registry import registry_of
from whetstone.platform.warehouse import columns_of, exists
from whetstone.retrieval.embedding import Embedder

LONG = "Long and winding " * 12
NAMES = {
    "traversal": ["../../etc"],
    "injection": ["a'; drop table x; --"],
    "emoji": ["🛋️🪑"],
    "long": [LONG[:200]],
    "longer": [LONG[:200] + "!"],
    "alike": ["Home & Garden"],
    "alike, too": ["home garden"],
    "markup": ["[red]<b>{0}%s\\"],
    "nothing": [],
    "empty": [""],
    "blank": [" \t\u00a0"],
}
TABLES = "select schema_name || '.' || table_name as name from duckdb_tables() order by 1"


def test_hostile_categories_are_mined_indexed_and_searched(world: World, tmp_path: Path) -> None:
    products = sorted(world.live)
    paths = list(NAMES.values())
    world.live = {product: (world.live[product][0], paths[number % len(paths)]) for number, product in enumerate(products)}
    world.write()
    outside = {path for path in tmp_path.rglob("*") if world.settings.home not in path.parents}
    world.build()
    assert {path for path in tmp_path.rglob("*") if world.settings.home not in path.parents} == outside | {world.settings.home}

    catalog = world.warehouse().table("raw.catalog")
    named = catalog.groupby("category_name")["category"].unique()
    slugs = {name: str(slug[0]) for name, slug in named.items() if len(slug) == 1}
    assert set(slugs) == {" ".join(path[0].split()) for path in paths if path and path[0].strip()} | {"uncategorised"}
    assert len(set(slugs.values())) == len(slugs) and all(re.fullmatch("[a-z0-9-]{1,60}", slug) for slug in slugs.values())
    assert catalog["category"].value_counts()["uncategorised"] == sum(number % len(paths) > 7 for number in range(len(products)))
    assert sorted(world.instance.get_dynamic_partitions("category")) == sorted(slugs.values())

    artifacts = Artifacts(world.settings.root / "artifacts")
    names = artifact_names(world.instance, "models.search_index")
    shards = {str(category): open_shard(artifacts.open(name)) for category, name in names.items()}
    embedder = Embedder(registry_of(world.settings).require().champion, world.settings.root / "vectors")
    query = embedder.queries(["lamp"])
    for category, shard in shards.items():
        found = search([shard], query, ["q"], 100)
        assert set(found["product_id"]) == set(catalog.loc[catalog["category"] == category, "product_id"])
    everywhere = search(list(shards.values()), query, ["q"], 100)
    assert set(everywhere["product_id"]) == set(products)
    assert world.build() == set()
