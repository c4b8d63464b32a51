"""Categories with names that were not meant for files, SQL or screens, all at once: mined, indexed and searched like any other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.e2e.conftest import World

from whetstone.index.shard import open_shard, search
from whetstone.platform.artifacts import Artifacts
from whetstone.platform.asset import artifact_names
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.registry import registry_of
from whetstone.retrieval.encode import Embedder

LONG = "Long and winding " * 12
PATHS = [
    ["../../etc"],
    ["a'; drop table x; --"],
    ["🛋️🪑"],
    [LONG[:200]],
    [LONG[:200] + "!"],
    ["Home & Garden"],
    ["home garden"],
    ["[red]<b>{0}%s\\"],
    [],
]
MINED = "+disagreement_sets,product_vectors,search_index"  # the simulated annotators know no such categories
BLANK = ["", " \t\u00a0"]


def test_hostile_categories_are_mined_indexed_and_searched(world: World, tmp_path: Path) -> None:
    products = sorted(world.live)
    for blank in BLANK:
        world.live[products[0]] = (world.live[products[0]][0], [blank])
        world.write()
        with pytest.raises(WhetstoneError, match=f'unknown category in 1 row: row 1 {{"product_id":"{products[0]}".* leave empty elements'):
            world.build(MINED)
    world.live = {product: (world.live[product][0], PATHS[number % len(PATHS)]) for number, product in enumerate(products)}
    world.write()
    outside = {path for path in tmp_path.rglob("*") if world.settings.home not in path.parents}
    world.build(MINED)
    assert {path for path in tmp_path.rglob("*") if world.settings.home not in path.parents} == outside | {world.settings.home}

    catalog = world.warehouse().table("raw.catalog")
    named = catalog.groupby("category_name")["category"].unique()
    slugs = {name: str(slug[0]) for name, slug in named.items() if len(slug) == 1}
    assert set(slugs) == {" ".join(path[0].split()) for path in PATHS if path} | {"uncategorised"}
    assert len(set(slugs.values())) == len(slugs) and all(re.fullmatch("[a-z0-9-]{1,60}", slug) for slug in slugs.values())
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
    assert world.build(MINED) == set()
