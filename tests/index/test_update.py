"""A shard that was updated again and again is the shard that one would build from nothing, but for its graph's way-marks."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whetstone.index import shard as shard_module
from whetstone.index.recall import probes, recall_at
from whetstone.index.shard import INDEX_FILE, SENTINEL, build_shard, keys_of, open_shard
from whetstone.platform.artifacts import Artifact, Artifacts

DIMENSIONS = 8


class World:
    """A category whose products change, and its shard: each `build` starts from the one before."""

    def __init__(self, root: Path, **parameters) -> None:
        self.artifacts, self.parameters, self.vectors = Artifacts(root), parameters, {}
        self.count, self.last = 0, None

    def build(self, **changes) -> Artifact:
        self.count += 1
        ids, previous = list(self.vectors), self.last
        rows = np.array([self.vectors[each] for each in ids], dtype=np.float32).reshape(len(ids), DIMENSIONS)
        write = lambda folder: build_shard(folder, rows, ids, previous=previous, **{**self.parameters, **changes})  # noqa: E731
        self.last = self.artifacts.make("index", {"build": self.count}, write)
        return self.last

    def from_nothing(self) -> Artifact:
        fresh = World(self.artifacts.root / "fresh", **self.parameters)
        fresh.count, fresh.vectors = self.count, self.vectors
        return fresh.build()


def a_vector(seed: int) -> np.ndarray:
    row = np.random.default_rng(seed).normal(size=DIMENSIONS)
    return (row / np.linalg.norm(row)).astype(np.float32)


def content(made: Artifact) -> tuple[pd.DataFrame, np.ndarray, int]:
    """Products with their keys, the vector behind each key, and how many vectors the graph says it holds."""
    products = pd.read_parquet(made.path / "products.parquet")
    shard = open_shard(made)
    keys = shard.keys
    return products, np.asarray(shard.index.get(keys, "f32")).reshape(len(keys), shard.index.ndim), len(shard.index)


def edits(products: int):
    product = st.integers(0, products - 1)
    one = st.tuples(st.sampled_from(["set", "set", "remove"]), product, st.integers(0, 10_000))
    return st.lists(st.lists(one, max_size=6), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(steps=edits(12), share=st.sampled_from([0.0, 0.2, 1.0]))
def test_any_sequence_of_updates_is_a_build_from_nothing(tmp_path_factory, steps, share):
    world = World(tmp_path_factory.mktemp("shards"), dtype="f32", compact_share=share)
    for step in steps:
        for what, product, seed in step:
            name = f"p{product}"
            if what == "set":
                world.vectors[name] = a_vector(seed)
            else:
                world.vectors.pop(name, None)
        updated, fresh = content(world.build()), content(world.from_nothing())
        pd.testing.assert_frame_equal(updated[0], fresh[0])
        assert np.array_equal(updated[1], fresh[1])
        assert updated[2] == fresh[2] == len(world.vectors)
        assert world.last.facts["count_removed"] <= share * len(world.vectors)
        queries = np.stack([a_vector(seed) for seed in range(3)])
        for (places, scores), (fresh_places, fresh_scores) in zip(
            open_shard(world.last).find(queries, 5), open_shard(world.from_nothing()).find(queries, 5), strict=True
        ):
            found, wanted = dict(zip(places, scores, strict=True)), dict(zip(fresh_places, fresh_scores, strict=True))
            assert sorted(found.values()) == pytest.approx(sorted(wanted.values()), abs=1e-6)
            assert len(found) == min(5, len(world.vectors))


def grown(tmp_path: Path, count: int = 60, **parameters) -> World:
    world = World(tmp_path, **parameters)
    world.vectors = {f"p{row}": a_vector(row) for row in range(count)}
    world.build()
    return world


def test_only_what_changed_is_added_and_removed(tmp_path):
    world = grown(tmp_path)
    del world.vectors["p1"]
    world.vectors |= {"p2": a_vector(100), "new": a_vector(101)}
    before = {path: path.read_bytes() for path in world.last.path.iterdir()}
    facts = world.build().facts
    assert (facts["count"], facts["count_added"], facts["count_removed"]) == (60, 2, 2)
    assert {path: path.read_bytes() for path in before} == before  # the shard before may be serving
    assert (world.build().facts["count_added"], world.last.facts["count_removed"]) == (0, 2)


def test_a_shard_is_built_from_nothing_when_too_much_was_removed(tmp_path):
    world, counts = grown(tmp_path, compact_share=0.1), []
    for step in range(5):
        for row in range(2):
            world.vectors[f"p{row}"] = a_vector(1000 + 10 * step + row)
        counts.append((world.build().facts["count_added"], world.last.facts["count_removed"]))
    assert counts == [(2, 2), (2, 4), (2, 6), (60, 0), (2, 2)]
    world.build()
    assert (world.last.path / INDEX_FILE).stat().st_size == (world.from_nothing().path / INDEX_FILE).stat().st_size


@pytest.mark.parametrize("change", [{"encoder": "e2"}, {"dtype": "f16"}, {"connectivity": 8}, {"expansion_add": 64}])
def test_another_encoder_or_parameter_starts_from_nothing(tmp_path, change):
    world = grown(tmp_path)
    assert world.build(**change).facts["count_added"] == 60


def test_the_beam_of_searching_is_no_reason_to_start_from_nothing(tmp_path):
    world = grown(tmp_path)
    assert world.build(expansion_search=64).facts["count_added"] == 0
    assert open_shard(world.last).expansion_search == 64


def test_the_same_history_gives_the_same_bytes(tmp_path):
    made = []
    for name in "ab":
        world = grown(tmp_path / name)
        ids = list(world.vectors)
        world.vectors = {each: world.vectors[each] for each in (ids if name == "a" else reversed(ids))} | {"p7": a_vector(99)}
        made.append((world.build().path / INDEX_FILE).read_bytes())
    assert made[0] == made[1]


def test_recall_holds_under_many_updates(tmp_path):
    world = grown(tmp_path, count=1500, compact_share=0.5)
    rng = np.random.default_rng(0)
    for step in range(6):
        for row in rng.choice(1500, 100, replace=False):
            world.vectors[f"p{row}"] = a_vector(10_000 * (step + 1) + int(row))
        world.build()
    assert world.last.facts["count_removed"] == 600
    ids, rows = list(world.vectors), np.stack(list(world.vectors.values()))
    assert recall_at(open_shard(world.last), rows, ids, probes(rows[:0], rows)) > 0.99


def test_a_key_belongs_to_its_product_and_is_never_the_sentinel(monkeypatch):
    few, many = keys_of(["a", "b"]), keys_of([f"p{row}" for row in range(1000)] + ["b", "a"])
    assert few.items() <= many.items() and len(set(many.values())) == 1002

    class Hash:
        """Of everything 2^64 - 1."""

        def __init__(self, *_: object, **__: object) -> None: ...

        def digest(self) -> bytes:
            return SENTINEL.to_bytes(8, "big")

    monkeypatch.setattr(hashlib, "blake2b", Hash)
    assert shard_module.keys_of(["c", "a", "b"]) == {"a": 0, "b": 1, "c": 2}
