"""The job that Dagster backfills categories with: one that fails stops no other, and the next build does what failed and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from tests.e2e.conftest import World

from whetstone.catalog.jobs import apply, refresh
from whetstone.retrieval import dictionary
from whetstone.retrieval.channels import ChannelInputs


def test_a_category_that_fails_in_a_backfill_is_all_that_is_left_to_do(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.build()
    categories = sorted(world.instance.get_dynamic_partitions("category"))
    for product in {path[0]: product for product, (_, path) in world.live.items()}.values():
        title, path = world.live[product]
        world.live[product] = (f"{title} mk2", path)
    world.write()
    apply(refresh(world.settings, world.warehouse(), world.instance), world.instance)
    search, broken = dictionary.search, categories[1]
    its_products = {*world.warehouse().read("select product_id from raw.catalog where category = $c", {"c": broken})["product_id"]}

    def failing(inputs: ChannelInputs, depth: int) -> Any:
        if its_products & {*inputs.products["product_id"]}:
            raise RuntimeError("the disk coughed")
        return search(inputs, depth)

    monkeypatch.setattr(dictionary, "search", failing)
    job = world.definitions.resolve_job_def("category")
    ended = {each: job.execute_in_process(partition_key=each, instance=world.instance, raise_on_error=False) for each in categories}
    monkeypatch.undo()
    assert [category for category, result in ended.items() if not result.success] == [broken]
    built = world.build()
    assert f"marts.dictionary_run[{broken}]" in built and f"marts.curriculum_tiers[{broken}]" in built
    assert {name for name in built if name.endswith("]") and not name.endswith(f"[{broken}]")} == set()
    assert world.build() == set()
