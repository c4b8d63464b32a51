"""Vectors on disk by (encoder version, text hash): a text is encoded once by an encoder, however often it is seen.

One SQLite file holds the vectors of all encoders, a row each: float32 bytes beside their CRC-32, so that damage shows. Its transactions
and locks keep it whole under a kill and under builds side by side, and a look-up reads only what it asks for.
"""

import hashlib
import json
import logging
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from whetstone.platform.errors import WhetstoneError

Vectors = npt.NDArray[np.float32]

CHUNK_ROWS = 16_384  # texts encoded between two writes: what a killed build can lose
LOCK_PATIENCE_S = 60.0
_TABLE = "create table if not exists vectors (encoder text, text_hash text, vector blob, crc integer, primary key (encoder, text_hash))"
_WANTED = "select text_hash, vector, crc from vectors where encoder = ? and text_hash in (select value from json_each(?))"
_STORED = "insert or replace into vectors values (?, ?, ?, ?)"
_log = logging.getLogger(__name__)


def text_hash(text: str) -> str:
    """SHA-256 of a text's UTF-8 bytes, as 64 hex digits: the key of its vector; DuckDB's `sha256(text)` is the same."""
    return hashlib.sha256(text.encode()).hexdigest()


class VectorStore:
    """Cached vectors of any number of encoder versions, in a folder that is made at the first look-up."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "vectors.sqlite"

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
        vectors: dict[str, Vectors] = {}
        for key, vector, crc in self._run(_WANTED, [(encoder_version, json.dumps(list(text_hashes)))]):
            if zlib.crc32(vector) == crc:
                vectors[key] = np.frombuffer(vector, dtype=np.float32)
            else:
                _log.warning("damaged vector in %s, its text is encoded again: %s", self.path, key)
        missing = [(key, text) for key, text in dict(zip(text_hashes, texts, strict=True)).items() if key not in vectors]
        for start in range(0, len(missing), CHUNK_ROWS):
            chunk = missing[start : start + CHUNK_ROWS]
            for key, text in chunk:
                if text_hash(text) != key:
                    raise WhetstoneError(f"text hash {key} is not that of the text {text[:80]!r}; hash the text that is encoded")
            new = np.asarray(encode([text for _, text in chunk]), dtype=np.float32)
            if new.ndim != 2 or len(new) != len(chunk):
                raise WhetstoneError(f"encoder version {encoder_version!r} gave shape {new.shape} for {len(chunk)} texts")
            if len(known := next(iter(vectors.values()), new[0])) != new.shape[1]:
                raise WhetstoneError(
                    f"vectors of {new.shape[1]} and of {len(known)} dimensions under encoder version {encoder_version!r} in {self.path}; "
                    "give another encoder another version"
                )
            made = {key: vector for (key, _), vector in zip(chunk, new, strict=True)}
            self._run(_STORED, ((encoder_version, key, vector.tobytes(), zlib.crc32(vector)) for key, vector in made.items()))
            vectors |= made
        return np.stack([vectors[key] for key in text_hashes])

    def keep(self, text_hashes: Iterable[str], encoders: Iterable[str] | None = None, dry_run: bool = False) -> tuple[int, int]:
        """Remove the vectors of other texts, and of other encoders if those are named (a dry run only counts them); number and bytes."""
        if not self.path.exists():
            return 0, 0
        others, kept = "from vectors where text_hash not in (select value from json_each(?))", [json.dumps(sorted(text_hashes))]
        if encoders is not None:
            others, kept = f"{others} or encoder not in (select value from json_each(?))", [*kept, json.dumps(sorted(encoders))]
        [(count, size)] = self._run(f"select count(*), coalesce(sum(length(vector)), 0) {others}", [tuple(kept)])
        if count and not dry_run:
            self._run(f"delete {others}", [tuple(kept)])
            self._run("vacuum", [()])
        return count, size

    def _run(self, statement: str, rows: Iterable[tuple[str | bytes | int, ...]]) -> list[Any]:
        """What a statement gives for rows of parameters, in one transaction; a damaged file is dropped, because it can be made again."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with closing(sqlite3.connect(self.path, timeout=LOCK_PATIENCE_S)) as connection, connection:
                connection.execute(_TABLE)
                return [found for row in rows for found in connection.execute(statement, row)]
        except sqlite3.OperationalError as error:
            raise WhetstoneError(f"the vector cache {self.path} can't be used: {error}; free the disk, or end what holds it") from error
        except sqlite3.DatabaseError as error:
            _log.warning("dropped the damaged vector cache %s, its texts are encoded again: %s", self.path, error)
            self.path.unlink(missing_ok=True)
            return []
