"""The search index: for each category a USearch HNSW graph over the unit vectors of its products, an artifact that is searched from disk.

- `index.usearch`: the graph with the vectors (n, d) in the dtype of the settings, by key
- `products.parquet`: product_id, key, digest of the vector; sorted by key, which is a hash of the id and stays with it

A shard starts from the one before it where that has the same encoder and parameters: what left or changed is removed by key, what is new or
changed is added. Removed products stay in the graph as way-marks, so it is built from nothing when they become too many. Products are
added by one thread in the order of their keys, so the same products and vectors (and the same shard before) give the same bytes in
whatever order they come (on one kind of processor). Scores are cosine similarities, higher is better. The artifact's manifest holds the
parameters and the SHA-256 of both files, which opening an artifact verifies: USearch loads a file with a flipped byte in silence.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from usearch.index import Index, Matches

from whetstone.platform.artifacts import Artifact
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.vectors import Vectors
from whetstone.retrieval.ranking import Hits, top_k

INDEX_FILE, PRODUCTS_FILE = "index.usearch", "products.parquet"
SENTINEL = 2**64 - 1  # no key: USearch marks removed entries with it
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
        which = f"the vector of {names[bad[0]]!r} (row {bad[0]}) is zero or not finite ({len(bad)} of {len(vectors)} are)"
        raise WhetstoneError(f"{which}: check the encoder's weights and encode these texts again")
    return np.asarray(vectors / lengths[:, None], dtype=np.float32)


def keys_of(product_ids: Iterable[str]) -> dict[str, int]:
    """Key of every product id: 64 bits of its hash, the next free one for ids that share them; never USearch's sentinel, 2^64 - 1."""
    ids: dict[int, str] = {}
    for product_id in sorted(product_ids):
        key = int.from_bytes(hashlib.blake2b(product_id.encode(), digest_size=8).digest(), "big") % SENTINEL
        while key in ids:
            key = (key + 1) % SENTINEL
        ids[key] = product_id
    return {product_id: key for key, product_id in ids.items()}


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
    previous: Artifact | None = None,
    compact_share: float = 0.2,
) -> dict[str, object]:
    """Write the shard of one category into an existing folder, and return the artifact's facts; an empty category has shape (0, d).

    Vectors (n, d) of n different ids are scaled to unit length; `encoder` is the version that made them. `connectivity` is HNSW's M, edges
    a node keeps; the expansions are the beam widths when a vector is added and searched. Defaults are the smallest that held recall@10 >=
    0.99 with room on real categories: with USearch's own expansions (128, 64) a category of 1,900 products fell to 0.93.
    The shard starts from `previous`, a whole one, unless it has another encoder or parameters, or more products than `compact_share` * n
    would have been removed since it was built from nothing (`count_removed`). WhetstoneError: a repeated id, or as in `unit_rows`.
    """
    rows = unit_rows(vectors, product_ids)
    products = pd.DataFrame({"product_id": pd.Series(list(product_ids), dtype=object)})
    if (repeated := products["product_id"].duplicated()).any():
        raise WhetstoneError(f"product {products['product_id'][repeated].iloc[0]!r} occurs twice: an index takes it once")
    products["key"] = products["product_id"].map(keys_of(products["product_id"])).astype(np.uint64)
    products["digest"] = pd.Series([hashlib.blake2b(row.tobytes(), digest_size=8).hexdigest() for row in rows], dtype=object)
    products = products.sort_values("key")
    index = Index(ndim=max(rows.shape[1], 1), metric="cos", dtype=dtype, connectivity=connectivity, expansion_add=expansion_add)
    facts = {"encoder": encoder, "dimensions": index.ndim, "dtype": dtype, "connectivity": connectivity, "expansion_add": expansion_add}
    is_new, count_removed = np.ones(len(products), dtype=bool), 0
    if previous and facts.items() <= previous.facts.items():
        held = pd.read_parquet(previous.path / PRODUCTS_FILE)
        same = held.merge(products)["key"]
        removed = previous.facts["count_removed"] + len(held) - len(same)
        if removed <= compact_share * len(products):
            count_removed = removed
            index.load(previous.path / INDEX_FILE)
            index.remove(held["key"][~held["key"].isin(same)].to_numpy(), threads=1)
            is_new = ~products["key"].isin(same).to_numpy()
    if is_new.any():
        index.add(products["key"][is_new].to_numpy(), rows[products.index[is_new]], threads=1)
    index.save(folder / INDEX_FILE)
    products.to_parquet(folder / PRODUCTS_FILE, index=False)
    counts = {"count": len(products), "count_added": int(is_new.sum()), "count_removed": count_removed}
    return {**counts, **facts, "expansion_search": expansion_search}


class Shard:
    """An open shard, made by `open_shard`: `product_ids` and `keys` (n,), and the version of the encoder that made its vectors."""

    def __init__(self, index: Index, products: pd.DataFrame, encoder: str, expansion_search: int) -> None:
        self.product_ids, self.keys = products["product_id"].to_numpy(dtype=object), products["key"].to_numpy(dtype=np.uint64)
        self.index, self.encoder, self.expansion_search = index, encoder, expansion_search

    def __len__(self) -> int:
        return len(self.product_ids)

    def find(self, queries: Vectors, k: int) -> list[Hits]:
        """The k nearest products of each query (unit rows (q, d)), fewer in a smaller shard: places in `product_ids` and scores, unordered.

        Scores are cosines, equal for equal vectors. The beam is 2k wide at least: USearch widens none. WhetstoneError: other dimensions.
        """
        if len(self) and queries.shape[1] != self.index.ndim:
            mend = f"encode them with the index's own encoder ({self.encoder or 'version unknown'})"
            raise WhetstoneError(f"queries of {queries.shape[1]} dimensions against an index of {self.index.ndim}: {mend}")
        k = min(k, len(self))
        if not k or not len(queries):
            return [(np.empty(0, dtype=np.intp), np.empty(0))] * len(queries)
        self.index.expansion_search = max(self.expansion_search, 2 * k)
        matches = self.index.search(queries, k)
        one_by_one = [matches] if isinstance(matches, Matches) else matches  # one query comes back without its batch
        return [(np.searchsorted(self.keys, each.keys), np.round(1 - each.distances.astype(np.float64), 6)) for each in one_by_one]


def open_shard(artifact: Artifact) -> Shard:
    """Open the shard in a verified artifact, its file mapped read-only; WhetstoneError: an earlier version of this code wrote it."""
    if "count_removed" not in artifact.facts:
        raise WhetstoneError(f"{artifact.path} holds an index of an older kind: run `whetstone build --select search_index`")
    index = Index.restore(artifact.path / INDEX_FILE, view=True)
    return Shard(index, pd.read_parquet(artifact.path / PRODUCTS_FILE), artifact.facts["encoder"], artifact.facts["expansion_search"])


def search(shards: Sequence[Shard], query_vectors: Vectors, query_ids: Sequence[str], k: int) -> pd.DataFrame:
    """The run of the k nearest products of every query (q, d) over one open shard or more, as if they were one; fewer if they hold fewer.

    Each shard gives its k best, the best of all are the answer, ties by product_id. Batches bound the memory. WhetstoneError: as in `find`.
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
