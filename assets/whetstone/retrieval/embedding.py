"""One encoder with its cache: product vectors by (encoder version, text hash), query vectors made on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from whetstone.platform.precision import pick_device
from whetstone.platform.registry import Encoder
from whetstone.retrieval.encode import encode, load_encoder
from whetstone.retrieval.vectors import VectorStore


@dataclass(frozen=True)
class Embedder:
    """Turns products and queries into unit vectors of one encoder.

    Attributes:
        encoder: which one.
        cache: folder of the vector store, shared by all encoders.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        progress: show a progress bar.
    """

    encoder: Encoder
    cache: Path
    device: str = "auto"
    progress: bool = False

    def products(self, products: pd.DataFrame) -> npt.NDArray[np.float32]:
        """Vectors (n, d) of the rows of a products frame (text, text_hash); only texts never seen are encoded."""
        store = VectorStore(self.cache)
        return store.get(self.encoder.version, products["text_hash"].tolist(), products["text"].tolist(), self.texts)

    def texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Vectors (n, d) of any texts, not cached."""
        model = load_encoder(self.encoder.path, pick_device(self.device))
        return encode(model, texts, progress=self.progress and len(texts) > 1000)
