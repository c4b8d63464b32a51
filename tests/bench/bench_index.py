"""Index shards against exact search: build, queries a second, recall and bytes for each way to store vectors.

Run: python tests/bench/bench_index.py [products]     (default 5,000; under a minute on two cores)

Clustered random vectors of 384 dimensions, 500 queries, k = 10, one thread on both sides. The peer is exact search by
numpy on the same vectors in the same run; only ratios to it mean anything on a shared machine.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from whetstone.index.recall import recall_at
from whetstone.index.shard import INDEX_FILE, build_shard, open_shard
from whetstone.platform.artifacts import Artifacts

DTYPES = ("bf16", "f16", "f32", "i8")
QUERIES, DIMENSIONS, K = 500, 384, 10


def clustered(count: int, centres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Unit vectors around the centres, as products of a few kinds are; shape (count, d)."""
    rows = centres[rng.integers(0, len(centres), count)] + 0.7 * rng.normal(size=(count, DIMENSIONS))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def fastest(function: Callable[[], object], times: int = 3) -> float:
    """Seconds of the quickest of some calls."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main(count: int) -> None:
    """Print the table."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(max(count // 50, 1), DIMENSIONS))
    vectors, queries = clustered(count, centres, rng), clustered(QUERIES, centres, rng)
    ids = [f"p{row}" for row in range(count)]
    exact = fastest(lambda: np.argpartition(queries @ vectors.T, -K, axis=1))
    print(f"{count:,} products x {DIMENSIONS}, {QUERIES} queries, k = {K}; exact numpy search {QUERIES / exact:,.0f} queries/s")
    print(f"{'dtype':6}{'build, products/s':>19}{'queries/s':>12}{'against exact':>15}{'recall@10':>11}{'bytes against f32 matrix':>26}")
    for dtype in DTYPES:
        with tempfile.TemporaryDirectory() as name:
            write = lambda folder: build_shard(folder, vectors, ids, dtype=dtype)  # noqa: B023, E731
            build = fastest(lambda: Artifacts(Path(name)).make("index", {}, write), times=1)  # noqa: B023
            made = Artifacts(Path(name)).make("index", {}, write)
            shard = open_shard(made)
            shard.index.expansion_search = shard.expansion_search
            search = fastest(lambda: shard.index.search(queries, K, threads=1))  # noqa: B023
            size = (made.path / INDEX_FILE).stat().st_size / vectors.nbytes
            recall = recall_at(shard, vectors, ids, queries, K)
            if dtype == DTYPES[0]:
                built, edited = build, np.concatenate([queries[:1], vectors[1:]])
                changed = lambda folder: build_shard(folder, edited, ids, dtype=dtype, previous=made)  # noqa: B023, E731
                update = fastest(lambda: Artifacts(Path(name)).make("index", {"edited": 1}, changed, anew=True))  # noqa: B023
        print(f"{dtype:6}{count / build:>19,.0f}{QUERIES / search:>12,.0f}{exact / search:>14.1f}x{recall:>11.4f}{size:>25.2f}x")
    print(f"one changed product: {update:.2f} s, {built / update:,.0f} times as fast as a build of {DTYPES[0]}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5_000)
