"""The search index: for each category a USearch HNSW graph over the unit vectors of its products, an artifact that is searched from disk.

- `index.usearch`: the graph with the vectors (n, d) in the dtype of the settings; a vector's key is its product's place in the other file
- `products.parquet`: product_id, sorted

Products are added by one thread in the order of their ids, so the same products and vectors give the same bytes in whatever order they
come (on one kind of processor). Scores are cosine similarities, higher is better. The artifact's manifest holds the parameters and the
SHA-256 of both files, which opening an artifact verifies: USearch loads a file with a flipped byte in silence.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from usearch.index import Index, Matches

from whetstone.platform.artifacts import Artifact
from whetstone.platform.errors import WhetstoneError
from whetstone.retrieval.ranking import Hits, top_k
from whetstone.retrieval.vectors import Vectors

INDEX_FILE, PRODUCTS_FILE = "index.usearch", "products.parquet"
BATCH = 512  # queries; times k times shards candidates are held at once


def load_vectors(folder: Path) -> tuple[Vectors, list[str]]:
    """What the vectors artifact in a folder holds: unit vectors (n, d), and the product id of each."""
    return np.load(folder / "vectors.npy"), pd.read_parquet(folder / "products.parquet")["product_id"].tolist()


def unit_rows(vectors: npt.NDArray[np.floating], names: Sequence[str]) -> Vectors:
    """Rows scaled to length 1, (n, d); WhetstoneError: not one row for each name, or a row that is zero or not finite (named)."""
    if vectors.ndim != 2 or len(vectors) != len(names):
        raise WhetstoneError(f"vectors of shape {vectors.shape} for {len(names)} names: give one row for each name")
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if len(bad):
        raise WhetstoneError(
            f"the vector of {names[bad[0]]!r} (row {bad[0]}) is zero or not finite ({len(bad)} of {len(vectors)} are): "
            "check the encoder's weights and encode these texts again"
        )
    rows: Vectors = (vectors / lengths[:, None]).astype(np.float32)
    return rows


def build_shard(
    folder: Path,
    vectors: npt.NDArray[np.floating],
    product_ids: Sequence[str],
    *,
    encoder: str = "",
    dtype: str = "bf16",
    connectivity: int = 16,
    expansion_add: int = 512,
    expansion_search: int = 256,
) -> dict[str, object]:
    """Write the shard of one category into an existing folder; an empty category has vectors of shape (0, d).

    Vectors (n, d) of n different ids are scaled to unit length; `encoder` is the version that made them. `connectivity` is HNSW's M, edges
    a node keeps; the expansions are the beam widths when a vector is added and searched. Defaults are the smallest that held recall@10 >=
    0.99 with room on real categories: with USearch's own expansions (128, 64) a category of 1,900 products fell to 0.93.

    Returns the artifact's facts: count, encoder, expansion_search. WhetstoneError: a repeated product id, or as in `unit_rows`.
    """
    rows, ids = unit_rows(vectors, product_ids), pd.Series(list(product_ids), dtype=object, name="product_id").sort_values()
    if ids.duplicated().any():
        raise WhetstoneError(f"product {ids[ids.duplicated()].iloc[0]!r} occurs twice: an index takes it once")
    index = Index(ndim=max(rows.shape[1], 1), metric="cos", dtype=dtype, connectivity=connectivity, expansion_add=expansion_add)
    if len(rows):
        index.add(np.arange(len(rows), dtype=np.uint64), rows[ids.index], threads=1)
    index.save(folder / INDEX_FILE)
    ids.to_frame().to_parquet(folder / PRODUCTS_FILE, index=False)
    return {"count": len(ids), "encoder": encoder, "expansion_search": expansion_search}


class Shard:
    """An open shard, made by `open_shard`: `product_ids` (n,) and the version of the encoder that made its vectors."""

    def __init__(self, index: Index, product_ids: npt.NDArray[np.object_], encoder: str, expansion_search: int) -> None:
        self.index, self.product_ids, self.encoder, self.expansion_search = index, product_ids, encoder, expansion_search

    def __len__(self) -> int:
        return len(self.product_ids)

    def find(self, queries: Vectors, k: int) -> list[Hits]:
        """The k nearest products of each query (unit rows (q, d)), fewer in a smaller shard, in no promised order.

        The beam is at least 2k wide: USearch does not widen it by itself. Returns for each query places in `product_ids` and scores
        (cosine; equal vectors have equal scores). WhetstoneError: other dimensions.
        """
        if len(self) and queries.shape[1] != self.index.ndim:
            raise WhetstoneError(
                f"queries of {queries.shape[1]} dimensions against an index of {self.index.ndim}: "
                f"encode them with the index's own encoder ({self.encoder or 'version unknown'})"
            )
        k = min(k, len(self))
        if not k or not len(queries):
            return [(np.empty(0, dtype=np.intp), np.empty(0))] * len(queries)
        self.index.expansion_search = max(self.expansion_search, 2 * k)
        matches = self.index.search(queries, k)
        one_by_one = [matches] if isinstance(matches, Matches) else matches  # one query comes back without its batch
        return [(each.keys.astype(np.intp), np.round(1 - each.distances.astype(np.float64), 6)) for each in one_by_one]


def open_shard(artifact: Artifact) -> Shard:
    """Open the shard in a verified artifact, its file mapped read-only; WhetstoneError: an earlier version of this code wrote it."""
    if "expansion_search" not in artifact.facts:
        raise WhetstoneError(f"{artifact.path} holds an index of an older kind: run `whetstone build --select search_index`")
    index = Index.restore(artifact.path / INDEX_FILE, view=True)
    product_ids = pd.read_parquet(artifact.path / PRODUCTS_FILE)["product_id"].to_numpy(dtype=object)
    return Shard(index, product_ids, artifact.facts["encoder"], artifact.facts["expansion_search"])


def search(shards: Sequence[Shard], query_vectors: Vectors, query_ids: Sequence[str], k: int) -> pd.DataFrame:
    """The run of the k nearest products of every query (q, d) over one open shard or more, as if they were one; fewer if they hold fewer.

    Each shard gives its own k best, and the best of all of them together are the answer, ties by product_id. Queries go in batches, so
    memory does not grow with their number times that of the shards.
    WhetstoneError: a query that is zero, not finite or of other dimensions.
    """
    queries = unit_rows(query_vectors, [f"query {row}" for row in range(len(query_vectors))])
    # Factorised, because a product that changed its category may still lie in two shards.
    places, product_ids = pd.factorize(np.concatenate([shard.product_ids for shard in shards]))
    starts = np.cumsum([0, *map(len, shards[:-1])])

    def found() -> Iterator[Hits]:
        for first in range(0, len(queries), BATCH):
            by_shard = [shard.find(queries[first : first + BATCH], k) for shard in shards]
            for hits in zip(*by_shard, strict=True):
                near = np.concatenate([start + positions for start, (positions, _) in zip(starts, hits, strict=True)])
                yield places[near], np.concatenate([scores for _, scores in hits])

    return top_k(found(), product_ids.tolist(), query_ids, k)
