"""Vectors on disk by (encoder version, text_hash): a text is encoded once by an encoder, however often it is seen.

A folder per encoder version holds chunks that are written once and never changed, two files each:
    <name>.vectors.npy    (n, d) float32
    <name>.keys.npy       (n,) text hashes, 64 bytes each; written last, so a chunk without it isn't there
The name is half a SHA-256 of the keys and half a SHA-256 of the vectors, so two writers can't clobber each other and
damage shows. A reader opens the keys of all chunks, and the vectors of those that it needs.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

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
_HASH_LENGTH = 64
_KEYS, _VECTORS = ".keys.npy", ".vectors.npy"
_log = logging.getLogger(__name__)


def text_hash(text: str) -> str:
    """SHA-256 of a text's UTF-8 bytes, as 64 hex digits: the key of its vector."""
    return hashlib.sha256(text.encode()).hexdigest()


class VectorStore:
    """Cached vectors of any number of encoder versions under one folder."""

    def __init__(self, folder: Path) -> None:
        """Open the store; the folder is made when something is first written."""
        self.folder = folder

    def get(
        self,
        encoder_version: str,
        text_hashes: Sequence[str],
        texts: Sequence[str],
        encode: Callable[[Sequence[str]], Vectors],
    ) -> Vectors:
        """Vectors of texts, (n, d), row by row; what isn't stored is encoded, each distinct text once, and stored.

        Args:
            encoder_version: names the weights; vectors of two versions never mix.
            text_hashes: `text_hash` of each text.
            texts: n texts.
            encode: texts to vectors (m, d); called with nothing to learn d when there are no texts.

        Raises:
            WhetstoneError: a hash isn't its text's, or `encode` gives vectors of another shape than stored or asked.
        """
        if len(text_hashes) != len(texts):
            raise WhetstoneError(f"{len(text_hashes)} text hashes for {len(texts)} texts; give one each")
        if not texts:
            return encode([])
        keys, first, inverse = np.unique(_as_keys(text_hashes), return_index=True, return_inverse=True)
        folder = self._version_folder(encoder_version)
        vectors, found = self._read(folder, keys)
        missing = np.flatnonzero(~found)
        for start in range(0, len(missing), CHUNK_ROWS):
            rows = missing[start : start + CHUNK_ROWS]
            new_texts = [texts[first[row]] for row in rows]
            _check_hashes(new_texts, keys[rows])
            new = np.asarray(encode(new_texts), dtype=np.float32)
            if new.ndim != 2 or len(new) != len(rows):
                raise WhetstoneError(f"encoder version {encoder_version!r} gave shape {new.shape} for {len(rows)} texts")
            if vectors is None:
                vectors = np.empty((len(keys), new.shape[1]), dtype=np.float32)
            _check_dimension(folder, new, vectors.shape[1])
            _write(folder, keys[rows], new)
            vectors[rows] = new
        if len(missing):
            _compact(folder)
        return np.asarray(vectors)[inverse]

    def _version_folder(self, encoder_version: str) -> Path:
        # Hashed, because a version may be a path or hold anything else that a folder's name can't.
        return self.folder / hashlib.sha256(encoder_version.encode()).hexdigest()[:32]

    def _read(self, folder: Path, keys: Keys) -> tuple[Vectors | None, npt.NDArray[np.bool_]]:
        """Stored vectors of sorted distinct keys, (n, d) or None, and which rows were found, (n,)."""
        found = np.zeros(len(keys), dtype=bool)
        vectors: Vectors | None = None
        for path in sorted(folder.glob(f"*{_KEYS}")):
            if found.all():
                break
            chunk = _open_chunk(path, keys[~found])
            if chunk is None:
                continue
            chunk_keys, chunk_vectors = chunk
            place = np.searchsorted(keys, chunk_keys).clip(max=len(keys) - 1)
            wanted = keys[place] == chunk_keys
            if vectors is None:
                vectors = np.empty((len(keys), chunk_vectors.shape[1]), dtype=np.float32)
            _check_dimension(folder, chunk_vectors, vectors.shape[1])
            vectors[place[wanted]] = chunk_vectors[wanted]
            found[place[wanted]] = True
        return vectors, found


def _open_chunk(path: Path, wanted: Keys | None) -> tuple[Keys, Vectors] | None:
    """A chunk by its keys' path; None if it holds nothing wanted, is gone by now, or is damaged (and so removed)."""
    vectors_path = path.with_name(path.name.removesuffix(_KEYS) + _VECTORS)
    name = path.name.removesuffix(_KEYS)
    try:
        key_bytes = path.read_bytes()
        if _half_sha256(key_bytes) == name[:32]:
            keys = _load(key_bytes)
            if wanted is not None and not np.isin(wanted, keys).any():
                return None
            vector_bytes = vectors_path.read_bytes()
            if _half_sha256(vector_bytes) == name[32:]:
                return keys, _load(vector_bytes)
    except FileNotFoundError:
        return None
    _log.warning("dropped a damaged chunk of the vector cache, its texts are encoded again: %s", path)
    path.unlink(missing_ok=True)
    vectors_path.unlink(missing_ok=True)
    return None


def _write(folder: Path, keys: Keys, vectors: Vectors) -> Path:
    key_bytes, vector_bytes = _dump(keys), _dump(vectors)
    name = _half_sha256(key_bytes) + _half_sha256(vector_bytes)
    atomic_write(folder / f"{name}{_VECTORS}", vector_bytes)
    path = folder / f"{name}{_KEYS}"
    atomic_write(path, key_bytes)
    return path


def _compact(folder: Path) -> None:
    """Merge the small chunks into one when they are many; the old go only after the new is there."""
    limit = CHUNK_ROWS // 4 * _HASH_LENGTH
    small = sorted(path for path in folder.glob(f"*{_KEYS}") if path.exists() and path.stat().st_size < limit)
    if len(small) <= MOST_SMALL_CHUNKS:
        return
    opened = {path: chunk for path in small if (chunk := _open_chunk(path, None))}
    keys, first = np.unique(np.concatenate([keys for keys, _ in opened.values()]), return_index=True)
    merged = _write(folder, keys, np.concatenate([vectors for _, vectors in opened.values()])[first])
    for path in opened:
        if path != merged:
            path.unlink(missing_ok=True)
            path.with_name(path.name.removesuffix(_KEYS) + _VECTORS).unlink(missing_ok=True)


def _as_keys(text_hashes: Sequence[str]) -> Keys:
    wrong = next((each for each in text_hashes if len(each) != _HASH_LENGTH or not each.isascii()), None)
    if wrong is not None:
        raise WhetstoneError(f"{wrong[:80]!r} is not a text hash; it is the SHA-256 of the text as 64 hex digits")
    return np.array(list(text_hashes), dtype=f"S{_HASH_LENGTH}")


def _check_hashes(texts: Sequence[str], keys: Keys) -> None:
    for text, key in zip(texts, keys, strict=True):
        if text_hash(text) != key.decode():
            raise WhetstoneError(f"text hash {key.decode()} is not that of the text {text[:80]!r}; hash the text that is encoded")


def _check_dimension(folder: Path, vectors: Vectors, dimension: int) -> None:
    if vectors.shape[1] != dimension:
        raise WhetstoneError(
            f"vectors of {vectors.shape[1]} and of {dimension} dimensions under one encoder version, in {folder}; "
            "give another encoder another version"
        )


def _half_sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _dump(array: npt.NDArray[np.generic]) -> bytes:
    out = BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


def _load(content: bytes) -> Any:
    return np.load(BytesIO(content), allow_pickle=False)
