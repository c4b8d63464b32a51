"""Shards on disk: what goes in comes out, edits by key, and every kind of damage is noticed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whetstone.index import build
from whetstone.index.build import build_shard, update_shard
from whetstone.index.shard import INDEX_FILE, KEYS_FILE, MANIFEST_FILE, open_shard, product_key, unit_rows
from whetstone.platform.errors import WhetstoneError

HOSTILE = ["", " ", "a\nb", "🦆", "O'Brien; drop table x; --", "../../etc", 'a,"b"', "x" * 1000, "\u2028", "e\u0301", "\u00e9"]


def vectors_of(count: int, dimensions: int = 16, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def ids_of(count: int) -> list[str]:
    return [f"p{row}" for row in range(count)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", "i8"])
def test_products_and_vectors_come_back(tmp_path, dtype):
    vectors = vectors_of(300)
    info = build_shard(tmp_path, vectors * 7, ids_of(300), dtype=dtype, encoder_version="e1", text_hashes=ids_of(300))
    shard = open_shard(tmp_path, "garden")
    assert (len(shard), info.count, info.dimensions, info.encoder_version) == (300, 300, 16, "e1")
    assert shard.info == info
    assert set(shard.product_ids) == set(ids_of(300))
    assert shard.table["text_hash"].tolist() == shard.product_ids.tolist()
    rows = [int(product[1:]) for product in shard.product_ids]
    tolerance = {"f32": 1e-6, "f16": 1e-3, "bf16": 1e-2, "i8": 2e-2}[dtype]
    assert np.abs(shard.vectors() - vectors[rows]).max() < tolerance


def test_hostile_ids_are_only_text(tmp_path):
    build_shard(tmp_path, vectors_of(len(HOSTILE)), HOSTILE)
    shard = open_shard(tmp_path, "c")
    hits = shard.find(vectors_of(len(HOSTILE)), 1)
    assert hits["product_id"].tolist() == HOSTILE


def test_same_products_in_any_order_give_the_same_bytes(tmp_path):
    vectors, order = vectors_of(400), np.random.default_rng(1).permutation(400)
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder in folders:
        folder.mkdir()
    build_shard(folders[0], vectors, ids_of(400))
    build_shard(folders[1], vectors, ids_of(400))
    build_shard(folders[2], vectors[order], [ids_of(400)[row] for row in order])
    assert contents(folders[0]) == contents(folders[1]) == contents(folders[2])


def test_keys_are_stable_and_leave_out_the_sentinel(monkeypatch):
    assert product_key("a") == int("ca978112ca1bbdca", 16)  # SHA-256 of "a" is well known

    class Ones:
        def __init__(self, _: bytes) -> None: ...

        def digest(self) -> bytes:
            return b"\xff" * 32

    monkeypatch.setattr("whetstone.index.shard.hashlib.sha256", Ones)
    assert product_key("a") == 2**64 - 2


def test_two_products_with_one_key_are_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "product_key", lambda product_id: 5 if product_id in ("p3", "p7") else hash(product_id) % 2**60)
    with pytest.raises(WhetstoneError, match=r"'p3' and 'p7'|'p7' and 'p3'"):
        build_shard(tmp_path, vectors_of(10), ids_of(10))


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
    with pytest.raises(WhetstoneError, match="2 text hashes for 3"):
        build_shard(tmp_path, vectors_of(3), ids_of(3), text_hashes=ids_of(2))
    with pytest.raises(WhetstoneError, match="'b1' is unknown"):
        build_shard(tmp_path, vectors_of(3), ids_of(3), dtype="b1")


@pytest.mark.parametrize("name", [INDEX_FILE, KEYS_FILE])
@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "empty"])
def test_damage_is_noticed_and_says_how_to_mend_it(tmp_path, name, damage):
    build_shard(tmp_path, vectors_of(200), ids_of(200))
    path = tmp_path / name
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
    with pytest.raises(WhetstoneError) as caught:
        open_shard(tmp_path, "it's")
    assert str(path) in str(caught.value)
    assert """`whetstone build --select search_index --category 'it'"'"'s'`""" in str(caught.value)


@pytest.mark.parametrize("text", [None, "", "[]", "{", '{"count": 200}', '{"files": 3}'])
def test_a_damaged_manifest_is_noticed(tmp_path, text):
    build_shard(tmp_path, vectors_of(20), ids_of(20))
    path = tmp_path / MANIFEST_FILE
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    with pytest.raises(WhetstoneError, match=r"shard.json is missing or unreadable .*--category c`"):
        open_shard(tmp_path, "c")


@pytest.mark.parametrize("field", ["count", "dimensions"])
def test_a_manifest_of_another_shard_is_noticed(tmp_path, field):
    build_shard(tmp_path, vectors_of(20), ids_of(20))
    manifest = json.loads((tmp_path / MANIFEST_FILE).read_text())
    manifest[field] += 1
    (tmp_path / MANIFEST_FILE).write_text(json.dumps(manifest))
    with pytest.raises(WhetstoneError, match="does not fit"):
        open_shard(tmp_path, "c")


def test_an_open_shard_cannot_be_written(tmp_path):
    build_shard(tmp_path, vectors_of(20), ids_of(20))
    with pytest.raises(RuntimeError, match="immutable"):
        open_shard(tmp_path, "c").index.add(np.uint64(1), vectors_of(1)[0])


def test_an_empty_category_can_be_built_opened_searched_and_filled(tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    build_shard(before, np.empty((0, 16), np.float32), [])
    shard = open_shard(before, "c")
    assert len(shard) == 0 and shard.vectors().shape == (0, 16)
    assert shard.find(vectors_of(2), 5).empty and shard.find(vectors_of(2), 5, exact=True).empty
    update_shard(before, after, "c", vectors=vectors_of(3), product_ids=ids_of(3))
    assert open_shard(after, "c").find(vectors_of(3), 1)["product_id"].tolist() == ids_of(3)


edits = st.lists(st.tuples(st.sets(st.integers(0, 59), max_size=15), st.sets(st.integers(0, 59), max_size=15)), min_size=1, max_size=4)


@settings(max_examples=20, deadline=None)
@given(edits=edits)
def test_edited_in_place_holds_what_a_build_from_nothing_holds(tmp_path_factory, edits):
    root = tmp_path_factory.mktemp("edits")
    catalog = dict(zip(ids_of(30), vectors_of(30), strict=True))
    folder = root / "0"
    folder.mkdir()
    build_shard(folder, np.stack(list(catalog.values())), list(catalog), text_hashes=list(catalog), encoder_version="e")
    for step, (changed, removed) in enumerate(edits, start=1):
        new = {f"p{row}": vectors_of(1, seed=1000 * step + row)[0] for row in sorted(changed)}
        gone = [f"p{row}" for row in removed - changed if f"p{row}" in catalog]
        catalog = {product: row for product, row in {**catalog, **new}.items() if product not in gone}
        rows = np.stack(list(new.values())) if new else np.empty((0, 16), np.float32)
        source, folder = folder, root / str(step)
        folder.mkdir()
        update_shard(source, folder, "c", vectors=rows, product_ids=list(new), removed=gone, text_hashes=[f"{step}"] * len(new))
    fresh = root / "fresh"
    fresh.mkdir()
    rows = np.stack(list(catalog.values())) if catalog else np.empty((0, 16), np.float32)
    build_shard(fresh, rows, list(catalog), encoder_version="e")
    one, other = open_shard(folder, "c"), open_shard(fresh, "c")
    assert one.keys.tolist() == other.keys.tolist() and one.product_ids.tolist() == other.product_ids.tolist()
    assert np.array_equal(one.vectors(), other.vectors())
    assert one.info.encoder_version == "e"
    queries = vectors_of(10, seed=9)
    exact = one.find(queries, 5, exact=True)
    assert exact.equals(other.find(queries, 5, exact=True))
    found = one.find(queries, 5)
    assert set(found["product_id"]) <= set(catalog)
    assert len(found) == len(exact)


def test_edits_that_make_no_sense_are_refused(tmp_path):
    new = tmp_path / "new"
    new.mkdir()
    build_shard(tmp_path, vectors_of(5), ids_of(5))
    none = np.empty((0, 16), np.float32)
    with pytest.raises(WhetstoneError, match="cannot remove 'p9'"):
        update_shard(tmp_path, new, "c", vectors=none, product_ids=[], removed=["p9"])
    with pytest.raises(WhetstoneError, match="cannot remove 'p1'"):
        update_shard(tmp_path, new, "c", vectors=vectors_of(1), product_ids=["p1"], removed=["p1"])
    with pytest.raises(WhetstoneError, match="8 dimensions"):
        update_shard(tmp_path, new, "c", vectors=vectors_of(1, 8), product_ids=["p1"])
    assert not list(new.iterdir())


def test_unit_rows_scale_without_changing_direction():
    rows = unit_rows(np.array([[3.0, 4.0], [0.0, 1e-30]]), ["a", "b"])
    assert rows.dtype == np.float32
    assert rows == pytest.approx(np.array([[0.6, 0.8], [0.0, 1.0]]))
