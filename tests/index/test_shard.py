"""Shards on disk: what goes in comes out, the same content gives the same bytes, and what can't be used is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from whetstone.index.shard import INDEX_FILE, PRODUCTS_FILE, Shard, build_shard, open_shard, unit_rows
from whetstone.platform.artifacts import Artifact, Artifacts
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.settings import Settings

HOSTILE = ["", " ", "a\nb", "🦆", "O'Brien; drop table x; --", "../../etc", 'a,"b"', "x" * 1000, "\u2028", "e\u0301", "\u00e9"]


def vectors_of(count: int, dimensions: int = 16, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def ids_of(count: int) -> list[str]:
    return [f"p{row}" for row in range(count)]


def artifact_of(root: Path, vectors: np.ndarray, ids: list[str], **parameters) -> Artifact:
    return Artifacts(root).make("index", {}, lambda folder: build_shard(folder, vectors, ids, **parameters))


def nearest(shard: Shard, queries: np.ndarray) -> list[str]:
    return [shard.product_ids[places[0]] for places, _ in shard.find(queries, 1)]


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", "i8"])
def test_products_and_vectors_come_back(tmp_path, dtype):
    vectors = vectors_of(300)
    made = artifact_of(tmp_path, vectors * 7, ids_of(300), dtype=dtype, encoder="e1")
    shard = open_shard(made)
    parameters = {"encoder": "e1", "dimensions": 16, "dtype": dtype, "connectivity": 16, "expansion_add": 512, "expansion_search": 256}
    assert made.facts == {"count": 300, "count_added": 300, "count_removed": 0, **parameters}
    assert (len(shard), shard.encoder, shard.index.ndim) == (300, "e1", 16)
    assert sorted(shard.product_ids) == sorted(ids_of(300))
    stored = np.asarray(shard.index.get(shard.keys, "f32"))
    rows = [int(product[1:]) for product in shard.product_ids]
    tolerance = {"f32": 1e-6, "f16": 1e-3, "bf16": 1e-2, "i8": 2e-2}[dtype]
    assert np.abs(unit_rows(stored, shard.product_ids) - vectors[rows]).max() < tolerance


def test_hostile_ids_are_only_text(tmp_path):
    vectors = vectors_of(len(HOSTILE))
    assert nearest(open_shard(artifact_of(tmp_path, vectors, HOSTILE)), vectors) == HOSTILE


def test_same_products_in_any_order_give_the_same_bytes(tmp_path):
    vectors, order = vectors_of(400), np.random.default_rng(1).permutation(400)
    made = [artifact_of(tmp_path / name, vectors, ids_of(400)) for name in "ab"]
    made.append(artifact_of(tmp_path / "c", vectors[order], [ids_of(400)[row] for row in order]))
    one, *others = ({name: (each.path / name).read_bytes() for name in (INDEX_FILE, PRODUCTS_FILE)} for each in made)
    assert all(other == one for other in others)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_an_unusable_vector_names_its_product(tmp_path, value):
    vectors = vectors_of(5)
    vectors[3] = value
    with pytest.raises(WhetstoneError, match=r"'p3' \(row 3\).*1 of 5"):
        build_shard(tmp_path, vectors, ids_of(5))
    assert not list(tmp_path.iterdir())


def test_repeated_products_shapes_and_dtypes_are_refused(tmp_path):
    with pytest.raises(WhetstoneError, match="'p1' occurs twice"):
        build_shard(tmp_path, vectors_of(3), ["p0", "p1", "p1"])
    with pytest.raises(WhetstoneError, match="for 2 names"):
        build_shard(tmp_path, vectors_of(3), ids_of(2))
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValidationError, match="index_dtype"):
        Settings(index_dtype="b1")


@pytest.mark.parametrize("name", [INDEX_FILE, PRODUCTS_FILE])
@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "empty"])
def test_damage_is_noticed_and_says_how_to_mend_it(tmp_path, name, damage):
    made = artifact_of(tmp_path, vectors_of(200), ids_of(200))
    path = made.path / name
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))
    elif damage == "truncate":
        path.write_bytes(bytes(data[:-1]))
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    with pytest.raises(WhetstoneError, match="whetstone build") as caught:
        open_shard(Artifacts(tmp_path).open(made.name))
    assert str(path) in str(caught.value)


def test_an_index_of_an_older_kind_is_refused(tmp_path):
    def write(folder: Path) -> dict[str, int]:
        (folder / INDEX_FILE).write_bytes(b"")
        return {"count": 0}

    with pytest.raises(WhetstoneError, match="older kind: run `whetstone build --select search_index`"):
        open_shard(Artifacts(tmp_path).make("index", {}, write))


def test_an_open_shard_cannot_be_written(tmp_path):
    with pytest.raises(RuntimeError, match="immutable"):
        open_shard(artifact_of(tmp_path, vectors_of(20), ids_of(20))).index.add(np.uint64(99), vectors_of(1)[0])


def test_an_empty_category_can_be_built_opened_and_searched(tmp_path):
    shard = open_shard(artifact_of(tmp_path, np.empty((0, 16), np.float32), []))
    assert len(shard) == 0 and [len(places) for places, _ in shard.find(vectors_of(2), 5)] == [0, 0]


def test_unit_rows_scale_without_changing_direction():
    rows = unit_rows(np.array([[3.0, 4.0], [0.0, 1e-30]]), ["a", "b"])
    assert rows.dtype == np.float32
    assert rows == pytest.approx(np.array([[0.6, 0.8], [0.0, 1.0]]))


def test_one_query_is_found_like_many(tmp_path):
    shard = open_shard(artifact_of(tmp_path, vectors_of(50), ids_of(50)))
    many = shard.find(vectors_of(3, seed=1), 5)
    for row, (places, scores) in enumerate(many):
        ((alone, alone_scores),) = shard.find(vectors_of(3, seed=1)[row : row + 1], 5)
        assert pd.Series(scores, places).to_dict() == pd.Series(alone_scores, alone).to_dict() and len(places) == 5
