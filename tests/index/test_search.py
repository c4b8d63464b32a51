"""Search over several shards against brute force, and recall against what it should be by construction."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whetstone.index import shard as shard_module
from whetstone.index.recall import probes, recall_at
from whetstone.index.shard import Shard, build_shard, open_shard, search
from whetstone.platform.artifacts import Artifacts
from whetstone.platform.errors import WhetstoneError

COLUMNS = ["query_id", "product_id", "rank", "score"]


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def clustered(count: int, dimensions: int, clusters: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(clusters, dimensions))
    return unit(centres[rng.integers(0, clusters, count)] + 0.6 * rng.normal(size=(count, dimensions)))


def shards_of(root: Path, members: Mapping[str, list[str]], vectors: np.ndarray, ids: list[str], **parameters) -> dict[str, Shard]:
    shards = {}
    for category, products in members.items():
        rows = vectors[[ids.index(product) for product in products]]
        made = Artifacts(root).make("index", {"c": category}, lambda folder, r=rows, p=products: build_shard(folder, r, p, **parameters))
        shards[category] = open_shard(made)
    return shards


def run_of(shards: Mapping[str, Shard], queries: np.ndarray, k: int) -> pd.DataFrame:
    """The run over all shards; queries are named by their row."""
    return search(list(shards.values()), queries, [f"{row:04d}" for row in range(len(queries))], k)


def brute_force(queries: np.ndarray, vectors: np.ndarray, ids: list[str], k: int) -> list[list[tuple[str, float]]]:
    scores = np.round(unit(queries).astype(np.float64) @ unit(vectors).astype(np.float64).T, 6)
    return [sorted(zip(ids, row, strict=True), key=lambda pair: (-pair[1], pair[0]))[:k] for row in scores]


def answers(run: pd.DataFrame, count: int) -> list[list[tuple[str, float]]]:
    found: list[list[tuple[str, float]]] = [[] for _ in range(count)]
    for row in run.itertuples():
        found[int(row.query_id)].append((row.product_id, row.score))
        assert row.rank == len(found[int(row.query_id)])
    assert run["query_id"].is_monotonic_increasing
    return found


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 60), k=st.integers(1, 70), categories=st.integers(1, 4), batch=st.integers(1, 5))
def test_search_over_small_shards_is_brute_force_over_the_catalog(tmp_path_factory, seed, count, k, categories, batch):
    rng = np.random.default_rng(seed)
    # Few directions, so that products and whole groups at rank k tie.
    vectors = unit(rng.integers(-1, 2, size=(count, 4)) + np.array([0.5, 0, 0, 0])) if count else np.empty((0, 4), np.float32)
    ids = [f"p{row}" for row in rng.permutation(count)]
    members = {f"c{number}": ids[number::categories] for number in range(categories)}
    shards = shards_of(tmp_path_factory.mktemp("shards"), members, vectors, ids, dtype="f32")
    queries = rng.normal(size=(4, 4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_module, "BATCH", batch)
        run = run_of(shards, queries, k)
    assert list(run.columns) == COLUMNS
    got = answers(run, 4)
    truth = brute_force(queries, vectors, ids, max(count, 1)) if count else [[]] * 4
    twins: dict[bytes, list[str]] = {}
    for product in sorted(ids):
        twins.setdefault(vectors[ids.index(product)].tobytes(), []).append(product)
    for row, true in zip(got, truth, strict=True):
        # With a beam wider than these shards the graph misses nothing.
        assert [score for _, score in row] == pytest.approx([score for _, score in true[:k]], abs=2e-6)
        assert dict(row) == pytest.approx({product: dict(true)[product] for product, _ in row}, abs=2e-6)
        assert row == sorted(row, key=lambda pair: (-pair[1], pair[0]))
        # Products with the same vector, in whatever shards, have the same score; where all were found, they stand in order of their ids.
        for group in twins.values():
            inside = [product for product, _ in row if product in group]
            assert inside == sorted(inside) and len({dict(row)[product] for product in inside}) <= 1
            assert k < count or inside == group


@pytest.mark.parametrize("k", [1, 10, 100, 999])
def test_the_graph_finds_nearly_what_brute_force_finds(tmp_path, k):
    vectors, ids = clustered(900, 32, 30, seed=1), [f"p{row}" for row in range(900)]
    shards = shards_of(tmp_path, {"a": ids[:600], "b": ids[600:895], "c": ids[895:], "d": []}, vectors, ids)
    queries = clustered(40, 32, 30, seed=1)
    expected = brute_force(queries, vectors, ids, k)
    got = answers(run_of(shards, queries, k), 40)
    assert [len(row) for row in got] == [min(k, 900)] * 40
    assert all(len({product for product, _ in row}) == len(row) for row in got)
    shared = [len({p for p, _ in one} & {p for p, _ in other}) / min(k, 900) for one, other in zip(got, expected, strict=True)]
    assert np.mean(shared) > 0.98
    truth = [dict(row) for row in brute_force(queries, vectors, ids, 900)]
    assert all(abs(score - truth[query][product]) < 0.01 for query, row in enumerate(got) for product, score in row)


def test_a_large_k_widens_the_beam(tmp_path):
    vectors, ids = clustered(1200, 32, 5, seed=3), [f"p{row}" for row in range(1200)]
    shard = shards_of(tmp_path, {"a": ids}, vectors, ids, expansion_search=8)["a"]
    shard.find(vectors[:1], 2)
    assert shard.index.expansion_search == 8
    shard.find(vectors[:1], 500)
    assert shard.index.expansion_search == 1000
    shard.find(vectors[:1], 2)
    assert shard.index.expansion_search == 8
    assert [len(places) for places, _ in shard.find(vectors[:20], 5000)] == [1200] * 20


def test_no_query_and_one_query(tmp_path):
    shards = shards_of(tmp_path, {"a": ["x", "y"]}, np.eye(2, dtype=np.float32), ["x", "y"])
    assert run_of(shards, np.empty((0, 2)), 3).columns.tolist() == COLUMNS
    assert run_of(shards, np.array([[0.0, 9.0]]), 3)["product_id"].tolist() == ["y", "x"]
    assert run_of(shards, np.array([[0.0, 9.0]]), 3)["score"].tolist() == [1.0, 0.0]


def test_queries_that_cannot_be_answered_are_refused(tmp_path):
    ids = ["x", "y"]
    shards = shards_of(tmp_path, {"a": ids}, np.eye(2, dtype=np.float32), ids, encoder="e1")
    for broken in (np.zeros((1, 2)), np.full((1, 2), np.nan)):
        with pytest.raises(WhetstoneError, match="'query 2'"):
            run_of(shards, np.concatenate([np.eye(2), broken]), 1)
    with pytest.raises(WhetstoneError, match=r"3 dimensions against an index of 2.*\(e1\)"):
        run_of(shards, np.eye(3), 1)


def test_ties_go_to_the_lower_product_id_whatever_shard_it_is_in(tmp_path):
    vectors, ids = np.repeat(np.eye(2, dtype=np.float32), 3, axis=0), ["b", "d", "a", "c", "e", "f"]
    shards = shards_of(tmp_path, {"one": ["b", "a", "c"], "two": ["d", "e", "f"]}, vectors, ids)
    run = run_of(shards, np.array([[1.0, 0.1]]), 4)
    assert run[["product_id", "rank"]].values.tolist() == [["a", 1], ["b", 2], ["d", 3], ["c", 4]]


def test_a_product_that_lies_in_two_shards_stops_nothing(tmp_path):
    shards = shards_of(tmp_path, {"old": ["x", "y"], "new": ["x"]}, np.eye(2, dtype=np.float32), ["x", "y"])
    assert set(run_of(shards, np.eye(2), 2)["product_id"]) == {"x", "y"}


@pytest.mark.parametrize("seed", range(5))
def test_recall_of_a_sound_index_is_above_the_floor(tmp_path, seed):
    vectors, ids = clustered(1500, 48, 40, seed), [f"p{row}" for row in range(1500)]
    shard = shards_of(tmp_path, {"a": ids}, vectors, ids)["a"]
    order = np.random.default_rng(seed).permutation(1500)
    assert recall_at(shard, vectors[order], [ids[row] for row in order], clustered(100, 48, 40, seed + 100)) >= 0.99


def test_recall_counts_what_is_missing(tmp_path):
    vectors, ids = unit(np.random.default_rng(0).normal(size=(50, 8))), [f"p{row}" for row in range(50)]
    shard = shards_of(tmp_path, {"a": ids}, vectors, ids, dtype="f32")["a"]
    assert recall_at(shard, vectors, ids, vectors) == 1.0
    found = shard.find
    shard.find = lambda queries, k: [
        (near[: (row % 2) * k], scores) for row, (near, scores) in enumerate(found(queries, k))
    ]  # every other nothing
    assert recall_at(shard, vectors, ids, vectors) == 0.5
    shard.find = lambda queries, k: found(-queries, k)  # the farthest instead of the nearest
    assert recall_at(shard, vectors, ids, vectors) == 0.0


def test_equal_products_may_stand_for_each_other_in_recall(tmp_path):
    vectors, ids = np.repeat(unit(np.random.default_rng(0).normal(size=(3, 8))), 30, axis=0), [f"p{row}" for row in range(90)]
    shard = shards_of(tmp_path, {"a": ids}, vectors, ids)["a"]
    assert recall_at(shard, vectors, ids, vectors[::7]) == 1.0


def test_recall_of_tiny_and_empty_shards_and_without_queries(tmp_path):
    vectors, ids = np.eye(3, dtype=np.float32), ["a", "b", "c"]
    shards = shards_of(tmp_path, {"three": ids, "none": []}, vectors, ids)
    assert recall_at(shards["three"], vectors, ids, vectors) == 1.0
    assert recall_at(shards["none"], vectors[:0], [], vectors) == 1.0
    with pytest.raises(WhetstoneError, match="at least one query"):
        recall_at(shards["three"], vectors, ids, vectors[:0])
    with pytest.raises(WhetstoneError, match="not the same"):
        recall_at(shards["three"], vectors[:2], ids[:2], vectors)


def test_probes_fill_up_with_products_and_keep_every_query():
    queries, vectors = np.zeros((3, 2), np.float32), np.arange(20, dtype=np.float32).reshape(10, 2)
    assert np.array_equal(probes(queries, vectors, least=2), queries)
    filled = probes(queries, vectors, least=8)
    assert np.array_equal(filled[:3], queries) and len(np.unique(filled[3:], axis=0)) == 5
    assert len(probes(queries, vectors, least=100)) == 13
    assert len(probes(queries[:0], vectors[:0])) == 0
