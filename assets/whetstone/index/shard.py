"""One category's search index as a folder, and how it is opened and asked.

- `index.usearch`: a USearch HNSW graph over the unit vectors, stored in half precision, under 64-bit keys
- `keys.parquet`: key, product_id, text_hash; sorted by key
- `shard.json`: parameters, and size and SHA-256 of both files (USearch loads a file with a flipped byte in silence)

A key is a hash of the product id alone, so that a later edit finds a product's entry without knowing how the shard was built. Vectors are
rows of shape (n, d); scores are cosine similarities, higher is better. `build.py` writes shards.
"""

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
from whetstone.retrieval.vectors import Vectors

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


class Shard:
    """An open shard, made by `open_shard`; `product_ids` and `keys` are aligned and sorted by key."""

    def __init__(self, index: Index, table: pd.DataFrame, info: ShardInfo) -> None:
        self.index, self.table, self.info = index, table, info
        self.keys = table["key"].to_numpy()
        self.product_ids = table["product_id"].to_numpy(dtype=object)

    def __len__(self) -> int:
        return self.info.count

    def vectors(self) -> Vectors:
        """The stored vectors as unit rows, shape (n, d), aligned with `product_ids`; exact up to the shard's dtype."""
        if not len(self):
            return np.empty((0, self.info.dimensions), dtype=np.float32)
        return unit_rows(np.asarray(self.index.get(self.keys, "f32")), self.product_ids.tolist())

    def find(self, queries: Vectors, k: int, *, exact: bool = False) -> pd.DataFrame:
        """The k nearest products of each query (unit rows (q, d)), fewer in a smaller shard, in no promised order.

        The beam is at least 2k wide: USearch does not widen it by itself. `exact` compares with every stored vector instead of walking the
        graph. Returns query_index, product_id, score (cosine; equal vectors have equal scores). WhetstoneError: other dimensions.
        """
        if len(self) and queries.shape[1] != self.info.dimensions:
            raise WhetstoneError(
                f"queries of {queries.shape[1]} dimensions against an index of {self.info.dimensions}: "
                f"encode them with the index's own encoder ({self.info.encoder_version or 'version unknown'})"
            )
        k = min(k, len(self))
        if not k or not len(queries):
            return pd.DataFrame({"query_index": np.empty(0, np.int64), "product_id": self.product_ids[:0], "score": np.empty(0)})
        if exact:
            run = exact_search(queries, self.vectors(), [f"{row:012d}" for row in range(len(queries))], self.product_ids.tolist(), k)
            return run.assign(query_index=run["query_id"].astype(np.int64))[["query_index", "product_id", "score"]]
        self.index.expansion_search = max(self.info.expansion_search, 2 * k)
        matches = self.index.search(queries, k)
        # One query comes back as two vectors of what was found; several as matrices, short rows padded with key 0.
        counts = np.array([len(matches)]) if isinstance(matches, Matches) else np.asarray(matches.counts)
        keys, distances = np.atleast_2d(matches.keys), np.atleast_2d(matches.distances)
        found = np.arange(keys.shape[1]) < counts[:, None]
        product_ids = self.product_ids[np.searchsorted(self.keys, keys[found])]
        scores = np.round(1 - distances[found].astype(np.float64), 6)
        return pd.DataFrame({"query_index": np.nonzero(found)[0], "product_id": product_ids, "score": scores})


def open_shard(folder: Path, category: str, *, view: bool = True) -> Shard:
    """Open the shard of `category`; `view` maps the index file read-only instead of loading it.

    WhetstoneError: a file is missing, truncated, changed (its SHA-256 is verified) or does not fit the others; the message names it and
    the command that mends it.
    """
    mend = f"run `whetstone build --select search_index --category {shlex.quote(category)}`"
    manifest = folder / MANIFEST_FILE
    try:
        info = ShardInfo(**json.loads(manifest.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise WhetstoneError(f"{manifest} is missing or unreadable ({type(error).__name__}): {mend}") from error
    for path in (folder / INDEX_FILE, folder / KEYS_FILE):
        if not path.is_file():
            raise WhetstoneError(f"{path} is missing: {mend}")
        if file_sha256(path) != info.files[path.name]["sha256"]:
            raise WhetstoneError(f"{path} is corrupt, its SHA-256 is not the manifest's: {mend}")
    index, table = Index.restore(folder / INDEX_FILE, view=view), pd.read_parquet(folder / KEYS_FILE)
    if index is None or not len(index) == len(table) == info.count or index.ndim != info.dimensions:
        raise WhetstoneError(f"{manifest} does not fit the files beside it: {mend}")
    index.expansion_add = info.expansion_add
    return Shard(index, table, info)
