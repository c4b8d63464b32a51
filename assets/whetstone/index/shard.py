"""One category's search index as a folder, and how it is opened and asked.

- `index.usearch`: a USearch HNSW graph over the unit vectors, stored in half precision, under 64-bit keys
- `keys.parquet`: key, product_id, text_hash; sorted by key
- `shard.json`: parameters, and size and SHA-256 of both files (USearch loads a file with a flipped byte in silence)

A key is a hash of the product id alone, so that a later edit finds a product's entry without knowing how the shard was
built. Vectors are rows of shape (n, d); scores are cosine similarities, higher is better. `build.py` writes shards.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from usearch.index import Index, Matches

from whetstone.platform.errors import WhetstoneError
from whetstone.platform.files import file_sha256
from whetstone.retrieval.dense import exact_search

Vectors = npt.NDArray[np.float32]
INDEX_FILE, KEYS_FILE, MANIFEST_FILE = "index.usearch", "keys.parquet", "shard.json"


@dataclass(frozen=True)
class ShardInfo:
    """The manifest of a shard: sizes, parameters, and for each file its `bytes` and `sha256`."""

    count: int
    dimensions: int
    dtype: str
    connectivity: int
    expansion_add: int
    expansion_search: int
    encoder_version: str
    library: str
    files: dict[str, dict[str, str | int]]


def product_key(product_id: str) -> int:
    """The stable 64-bit key of a product: eight bytes of its id's SHA-256, never USearch's sentinel 2^64-1."""
    return min(int.from_bytes(hashlib.sha256(product_id.encode()).digest()[:8], "big"), 2**64 - 2)


def unit_rows(vectors: npt.NDArray[np.floating], names: Sequence[str]) -> Vectors:
    """Rows scaled to length 1 as float32, shape (n, d).

    Raises:
        WhetstoneError: not a matrix of one row per name, or a row that is zero or not finite (named).
    """
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


class Shard:
    """An open shard, made by `open_shard`; `product_ids` and `keys` are aligned and sorted by key."""

    def __init__(self, index: Index, table: pd.DataFrame, info: ShardInfo) -> None:
        """Take a verified index with its key map and manifest."""
        self.index, self.table, self.info = index, table, info
        self.keys = table["key"].to_numpy()
        self.product_ids = table["product_id"].to_numpy(dtype=object)

    def __len__(self) -> int:
        """Number of products."""
        return self.info.count

    def vectors(self) -> Vectors:
        """The stored vectors as unit rows, shape (n, d), aligned with `product_ids`; exact up to the shard's dtype."""
        if not len(self):
            return np.empty((0, self.info.dimensions), dtype=np.float32)
        return unit_rows(np.asarray(self.index.get(self.keys, "f32"), dtype=np.float32), self.product_ids.tolist())

    def find(self, queries: Vectors, k: int, *, exact: bool = False) -> pd.DataFrame:
        """The k nearest products of each query, fewer in a smaller shard.

        Args:
            queries: unit rows, shape (q, d).
            k: products a query. The beam is at least 2k wide: USearch does not widen it by itself.
            exact: compare with every stored vector instead of walking the graph.

        Returns:
            query_index, product_id, score (cosine; equal vectors have equal scores); in no promised order.

        Raises:
            WhetstoneError: the queries have other dimensions than the index.
        """
        if len(self) and queries.shape[1] != self.info.dimensions:
            raise WhetstoneError(
                f"queries of {queries.shape[1]} dimensions against an index of {self.info.dimensions}: "
                f"encode them with the index's own encoder ({self.info.encoder_version or 'version unknown'})"
            )
        k = min(k, len(self))
        if k < 1 or not len(queries):
            return _hits(np.empty(0, np.int64), np.empty(0, object), np.empty(0))
        if exact:
            names = [f"{row:012d}" for row in range(len(queries))]
            run = exact_search(queries, self.vectors(), names, self.product_ids.tolist(), k)
            return _hits(run["query_id"].astype(np.int64), run["product_id"], run["score"])
        self.index.expansion_search = max(self.info.expansion_search, 2 * k)
        matches = self.index.search(queries, k)
        # One query comes back as two vectors of what was found; several as matrices, short rows padded with key 0.
        counts = np.array([len(matches)]) if isinstance(matches, Matches) else np.asarray(matches.counts)
        keys, distances = np.atleast_2d(matches.keys), np.atleast_2d(matches.distances)
        found = np.arange(keys.shape[1]) < counts[:, None]
        product_ids = self.product_ids[np.searchsorted(self.keys, keys[found])]
        return _hits(np.nonzero(found)[0], product_ids, np.round(1 - distances[found].astype(np.float64), 6))


def open_shard(folder: Path, category: str, *, view: bool = True) -> Shard:
    """Open the shard of `category`, after checking size and SHA-256 of its files.

    Args:
        folder: what `build_shard` or `update_shard` wrote.
        category: for messages.
        view: map the index file read-only instead of loading it.

    Raises:
        WhetstoneError: a file is missing, truncated, changed or does not fit the others; the message names it and the
            command that mends it.
    """
    mend = f"run `whetstone build --select search_index --category {shlex.quote(category)}`"
    manifest = folder / MANIFEST_FILE
    try:
        info = ShardInfo(**json.loads(manifest.read_text(encoding="utf-8")))
        recorded = {folder / name: info.files[name] for name in (INDEX_FILE, KEYS_FILE)}
        for path, facts in recorded.items():
            if not path.is_file():
                raise WhetstoneError(f"{path} is missing: {mend}")
            if path.stat().st_size != facts["bytes"] or file_sha256(path) != facts["sha256"]:
                raise WhetstoneError(f"{path} is corrupt, its size or SHA-256 is not the manifest's: {mend}")
    except WhetstoneError:
        raise
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise WhetstoneError(f"{manifest} is missing or unreadable ({type(error).__name__}): {mend}") from error
    index, table = Index.restore(folder / INDEX_FILE, view=view), pd.read_parquet(folder / KEYS_FILE)
    if index is None or not len(index) == len(table) == info.count or index.ndim != info.dimensions:
        raise WhetstoneError(f"{manifest} does not fit the files beside it: {mend}")
    index.expansion_add = info.expansion_add
    return Shard(index, table, info)


def _hits(query_rows: npt.ArrayLike, product_ids: npt.ArrayLike, scores: npt.ArrayLike) -> pd.DataFrame:
    return pd.DataFrame({"query_index": query_rows, "product_id": product_ids, "score": scores})
