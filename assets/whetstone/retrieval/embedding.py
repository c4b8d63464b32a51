"""One encoder with its cache: product vectors by (encoder version, text hash), query vectors made on the spot."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from whetstone.platform.registry import Encoder
from whetstone.platform.vectors import Vectors, VectorStore
from whetstone.retrieval.encode import Side, encode, load_encoder


@dataclass(frozen=True)
class Embedder:
    """Turns products and queries into unit vectors of one encoder; `cache` is the folder of the vector store of all encoders."""

    encoder: Encoder
    cache: Path
    device: str = "auto"
    progress: bool = False

    def products(self, products: pd.DataFrame) -> Vectors:
        """Vectors (n, d) of the rows of a products frame (text, text_hash); only texts never seen are encoded."""
        store = VectorStore(self.cache)
        return store.get(self.encoder.version, products["text_hash"].tolist(), products["text"].tolist(), self._encode)

    def queries(self, texts: Sequence[str]) -> Vectors:
        """Vectors (n, d) of queries, not cached."""
        return self._encode(texts, "query")

    def _encode(self, texts: Sequence[str], side: Side = "product") -> Vectors:
        return encode(load_encoder(self.encoder.path, self.device), texts, side, progress=self.progress and len(texts) > 1000)
