"""Vectors on disk by (encoder version, text_hash): a text is encoded once by an encoder, however often it is seen.

A folder per encoder version holds chunks that are written once and never changed, two files each:
    <name>.vectors.npy    (n, d) float32
    <name>.keys.npy       (n,) text hashes, 64 bytes each; written last, so a chunk without it isn't there
The name is half a SHA-256 of the keys and half a SHA-256 of the vectors, so two writers can't clobber each other and damage shows. A reader
opens the keys of all chunks, and the vectors of those that it needs.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from whetstone.platform.errors import WhetstoneError
from whetstone.platform.files import atomic_write

Vectors = npt.NDArray[np.float32]
Keys = npt.NDArray[np.bytes_]

CHUNK_ROWS = 16_384
"""Texts encoded between two writes: what a killed build can lose."""
MOST_SMALL_CHUNKS = 32
"""More chunks than this under a quarter of CHUNK_ROWS are merged into one."""
_KEYS, _VECTORS = ".keys.npy", ".vectors.npy"
_log = logging.getLogger(__name__)


def text_hash(text: str) -> str:
    """SHA-256 of a text's UTF-8 bytes, as 64 hex digits: the key of its vector; DuckDB's `sha256(text)` is the same."""
    return hashlib.sha256(text.encode()).hexdigest()


class VectorStore:
    """Cached vectors of any number of encoder versions under one folder, which is made when something is first written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(
        self, encoder_version: str, text_hashes: Sequence[str], texts: Sequence[str], encode: Callable[[Sequence[str]], Vectors]
    ) -> Vectors:
        """Vectors of texts, (n, d), row by row; what isn't stored is encoded, each distinct text once, and stored.

        Vectors of two encoder versions never mix. `encode` maps texts to vectors (m, d); it is called with none to learn d when there
        are no texts. WhetstoneError: a hash isn't its text's, or `encode` gives vectors of another shape than stored or asked.
        """
        if len(text_hashes) != len(texts):
            raise WhetstoneError(f"{len(text_hashes)} text hashes for {len(texts)} texts; give one each")
        if not texts:
            return encode([])
        keys, first, inverse = np.unique(np.array(text_hashes, dtype="S64"), return_index=True, return_inverse=True)
        # Hashed, because a version may be a path or hold anything else that a folder's name can't.
        folder = self.folder / hashlib.sha256(encoder_version.encode()).hexdigest()[:32]
        vectors, found = _read(folder, keys)
        missing = np.flatnonzero(~found)
        for start in range(0, len(missing), CHUNK_ROWS):
            rows = missing[start : start + CHUNK_ROWS]
            asked = [texts[first[row]] for row in rows]
            for text, key in zip(asked, keys[rows], strict=True):
                if text_hash(text) != key.decode():
                    raise WhetstoneError(f"text hash {key.decode()} is not that of the text {text[:80]!r}; hash the text that is encoded")
            new = np.asarray(encode(asked), dtype=np.float32)
            if new.ndim != 2 or len(new) != len(rows):
                raise WhetstoneError(f"encoder version {encoder_version!r} gave shape {new.shape} for {len(rows)} texts")
            vectors = _fill(vectors, len(keys), rows, new, folder)
            _write(folder, keys[rows], new)
        if len(missing):
            _compact(folder)
        return np.asarray(vectors)[inverse]


def _read(folder: Path, keys: Keys) -> tuple[Vectors | None, npt.NDArray[np.bool_]]:
    """Stored vectors of sorted distinct keys, (n, d) or None, and which rows were found, (n,)."""
    found = np.zeros(len(keys), dtype=bool)
    vectors: Vectors | None = None
    for path in sorted(folder.glob(f"*{_KEYS}")):
        if found.all():
            break
        if chunk := _open_chunk(path, keys[~found]):
            place = np.searchsorted(keys, chunk[0]).clip(max=len(keys) - 1)
            wanted = keys[place] == chunk[0]
            vectors = _fill(vectors, len(keys), place[wanted], chunk[1][wanted], folder)
            found[place[wanted]] = True
    return vectors, found


def _fill(vectors: Vectors | None, count: int, rows: npt.NDArray[np.intp], new: Vectors, folder: Path) -> Vectors:
    """Put `new` into rows of the `count` vectors, which are made when their dimension is first seen."""
    if vectors is None:
        vectors = np.empty((count, new.shape[1]), dtype=np.float32)
    if new.shape[1] != vectors.shape[1]:
        raise WhetstoneError(
            f"vectors of {new.shape[1]} and of {vectors.shape[1]} dimensions under one encoder version, in {folder}; "
            "give another encoder another version"
        )
    vectors[rows] = new
    return vectors


def _open_chunk(path: Path, wanted: Keys | None) -> tuple[Keys, Vectors] | None:
    """A chunk by its keys' path; None if it holds nothing `wanted`, is gone by now, or is damaged (and so removed)."""
    name = path.name.removesuffix(_KEYS)
    try:
        key_bytes = path.read_bytes()
        if _half_sha256(key_bytes) == name[:32]:
            keys = np.load(BytesIO(key_bytes))
            if wanted is not None and not np.isin(wanted, keys).any():
                return None
            vector_bytes = _vectors_path(path).read_bytes()
            if _half_sha256(vector_bytes) == name[32:]:
                return keys, np.load(BytesIO(vector_bytes))
    except FileNotFoundError:
        return None
    _log.warning("dropped a damaged chunk of the vector cache, its texts are encoded again: %s", path)
    _remove_chunk(path)
    return None


def _write(folder: Path, keys: Keys, vectors: Vectors) -> Path:
    key_bytes, vector_bytes = _dump(keys), _dump(vectors)
    path = folder / f"{_half_sha256(key_bytes)}{_half_sha256(vector_bytes)}{_KEYS}"
    atomic_write(_vectors_path(path), vector_bytes)
    atomic_write(path, key_bytes)
    return path


def _compact(folder: Path) -> None:
    """Merge the small chunks into one when they are many; the old go only after the new is there."""
    small = [path for path in sorted(folder.glob(f"*{_KEYS}")) if path.exists() and path.stat().st_size < CHUNK_ROWS // 4 * 64]
    if len(small) <= MOST_SMALL_CHUNKS:
        return
    opened = {path: chunk for path in small if (chunk := _open_chunk(path, None))}
    if len(opened) < 2:  # another process was faster
        return
    keys, first = np.unique(np.concatenate([keys for keys, _ in opened.values()]), return_index=True)
    merged = _write(folder, keys, np.concatenate([vectors for _, vectors in opened.values()])[first])
    for path in opened.keys() - {merged}:
        _remove_chunk(path)


def _remove_chunk(path: Path) -> None:
    path.unlink(missing_ok=True)
    _vectors_path(path).unlink(missing_ok=True)


def _vectors_path(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(_KEYS) + _VECTORS)


def _half_sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _dump(array: Keys | Vectors) -> bytes:
    out = BytesIO()
    np.save(out, array)
    return out.getvalue()
