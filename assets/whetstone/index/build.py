"""Writing a category's shard: from nothing, or from the shard before and what changed.

Products are added by one thread in the order of their keys, so the same products and vectors give the same bytes in whatever order they
come (on one kind of processor). Defaults are the smallest that held recall@10 >= 0.99 with room on real categories: with USearch's own
expansions (128, 64) a category of 1,900 products fell to 0.93.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import usearch
from usearch.index import Index

from whetstone.index.shard import INDEX_FILE, KEYS_FILE, MANIFEST_FILE, ShardInfo, open_shard, product_key, unit_rows
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.files import atomic_write, file_sha256

DTYPES = ("bf16", "f16", "f32", "i8")


def build_shard(
    folder: Path,
    vectors: npt.NDArray[np.floating],
    product_ids: Sequence[str],
    *,
    dtype: str = "bf16",
    connectivity: int = 16,
    expansion_add: int = 512,
    expansion_search: int = 256,
    encoder_version: str = "",
    text_hashes: Sequence[str] | None = None,
) -> ShardInfo:
    """Write the shard of one category into an existing folder; an empty category has vectors of shape (0, d).

    Vectors (n, d) of n different ids are scaled to unit length and stored as one of `DTYPES`. `connectivity` is HNSW's M, edges a node
    keeps; the expansions are the beam widths when a vector is added and searched (wider for large k). What made the vectors and the hash of
    the text behind each are kept, so that an edit can be seen.
    WhetstoneError: a repeated product id, a zero or non-finite vector, two ids with one key, an unknown dtype.
    """
    if dtype not in DTYPES:
        raise WhetstoneError(f"index dtype {dtype!r} is unknown: choose one of {', '.join(DTYPES)}")
    rows, table = unit_rows(vectors, product_ids), _key_table(product_ids, text_hashes)
    index = Index(ndim=max(rows.shape[1], 1), metric="cos", dtype=dtype, connectivity=connectivity, expansion_add=expansion_add)
    if len(rows):
        index.add(table["key"].to_numpy(), rows[table.index], threads=1)
    return _write(folder, index, table, dtype, expansion_search, encoder_version)


def update_shard(
    source: Path,
    folder: Path,
    category: str,
    *,
    vectors: npt.NDArray[np.floating],
    product_ids: Sequence[str],
    removed: Collection[str] = (),
    text_hashes: Sequence[str] | None = None,
) -> ShardInfo:
    """Write the shard in `source` to another folder with products added or replaced (m, d) or removed, touching the graph for these alone.

    Parameters and encoder stay those of `source`. Slots of removed products are used again by later additions; after many edits a build
    from nothing gives a tighter graph. WhetstoneError: as in `build_shard` and `open_shard` (which names `category`); other dimensions; a
    removed product that isn't there or is also given a vector.
    """
    shard = open_shard(source, category, view=False)
    index, info = shard.index, shard.info
    rows, table = unit_rows(vectors, product_ids), _key_table(product_ids, text_hashes)
    if len(rows) and rows.shape[1] != info.dimensions:
        raise WhetstoneError(f"vectors of {rows.shape[1]} dimensions for {category!r}, indexed with {info.dimensions}")
    stray = sorted((set(removed) - set(shard.product_ids)) | (set(removed) & set(product_ids)))
    if stray:
        raise WhetstoneError(f"cannot remove {stray[0]!r} from the index of {category!r}: not there, or also added")
    gone = shard.table["product_id"].isin({*removed, *product_ids})
    merged = _distinct(pd.concat([shard.table[~gone], table], ignore_index=True))
    if gone.any():
        index.remove(shard.keys[gone.to_numpy()], threads=1)
    if len(rows):
        index.add(table["key"].to_numpy(), rows[table.index], threads=1)
    return _write(folder, index, merged, info.dtype, info.expansion_search, info.encoder_version)


def _key_table(product_ids: Sequence[str], text_hashes: Sequence[str] | None) -> pd.DataFrame:
    """The key map of these products, sorted by key; its pandas index holds each product's row in the input."""
    hashes = [""] * len(product_ids) if text_hashes is None else text_hashes
    if len(hashes) != len(product_ids):
        raise WhetstoneError(f"{len(hashes)} text hashes for {len(product_ids)} products: give one for each, or none")
    keys = np.array([product_key(product_id) for product_id in product_ids], dtype=np.uint64)
    names = pd.DataFrame({"product_id": list(product_ids), "text_hash": list(hashes)}, dtype=object)
    return _distinct(names.assign(key=keys)[["key", "product_id", "text_hash"]])


def _distinct(table: pd.DataFrame) -> pd.DataFrame:
    """The table sorted by key; a product that occurs twice, or two products with one key, are refused."""
    table = table.sort_values("key")
    twins = table.loc[table["key"].duplicated(keep=False), "product_id"].tolist()
    if twins and twins[0] == twins[1]:
        raise WhetstoneError(f"product {twins[0]!r} occurs twice: an index takes it once")
    if twins:
        raise WhetstoneError(f"products {twins[0]!r} and {twins[1]!r} hash to the same key: rename one of them")
    return table


def _write(folder: Path, index: Index, table: pd.DataFrame, dtype: str, expansion_search: int, encoder_version: str) -> ShardInfo:
    """Save the files, the manifest last: a folder without one was never finished."""
    index.save(folder / INDEX_FILE)
    table.to_parquet(folder / KEYS_FILE, index=False)
    paths = (folder / INDEX_FILE, folder / KEYS_FILE)
    info = ShardInfo(
        count=len(table),
        dimensions=index.ndim,
        dtype=dtype,
        connectivity=index.connectivity,
        expansion_add=index.expansion_add,
        expansion_search=expansion_search,
        encoder_version=encoder_version,
        library=f"usearch {usearch.__version__}",
        files={path.name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)} for path in paths},
    )
    atomic_write(folder / MANIFEST_FILE, json.dumps(asdict(info), indent=1))
    return info
