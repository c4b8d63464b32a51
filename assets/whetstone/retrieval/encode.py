"""Texts to unit vectors with a sentence-transformers encoder, under bf16 autocast where the hardware has it; products' vectors are kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from sentence_transformers import SentenceTransformer
from transformers.utils import logging as transformers_logging

from whetstone.platform.compute import map_batches
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.precision import half_precision, pick_device
from whetstone.platform.registry import Encoder
from whetstone.platform.vectors import Vectors, VectorStore
from whetstone.platform.weights import encoder_folder

transformers_logging.disable_progress_bar()  # "Loading weights" a hundred times; training and encoding have bars of their own

CPU_BATCH, GPU_BATCH = 32, 256
"""Texts a forward pass. Measured: on 2 cores a batch of 128 is half as fast as one of 32."""
BATCHES_A_CALL = 32

Side = Literal["query", "product"]
PROMPTS: dict[Side, tuple[str, ...]] = {"query": ("query",), "product": ("document", "passage", "corpus")}
"""Names that models give to the prompt of a side."""


@lru_cache(maxsize=4)
def load_encoder(name_or_path: str, device: str = "auto") -> SentenceTransformer:
    """The encoder (named as for `encoder_folder`) in evaluation mode, the last four kept; WhetstoneError: it can't be found or loaded."""
    where = str(encoder_folder(name_or_path))
    try:
        # `float`: a hub model may be stored in half precision, which is for `half_precision` to choose.
        return SentenceTransformer(where, device=pick_device(device)).float().eval()
    except (OSError, ValueError, RuntimeError) as error:
        raise WhetstoneError(f"encoder {name_or_path!r} could not be loaded from {where!r}: {error}") from error


def prompt_of(encoder: SentenceTransformer, side: Side) -> str | None:
    """What the encoder wants in front of a text of that side, None for nothing.

    The library's own choice for documents ends at the empty prompt `document` that every model has, before a model's own `passage`.
    """
    return next((encoder.prompts[name] for name in PROMPTS[side] if encoder.prompts.get(name)), None)


def encode(encoder: SentenceTransformer, texts: Sequence[str], side: Side = "product", *, progress: bool = False) -> Vectors:
    """Unit vectors of texts, (n, d), (0, d) for none, by the tower and with the prompt of their side; the same call gives the same vectors.

    The encoder cuts what exceeds its window. WhetstoneError: a vector is zero or not finite; the message shows the text.
    """
    if not texts:
        return np.zeros((0, encoder.get_embedding_dimension() or 0), dtype=np.float32)
    size = GPU_BATCH if encoder.device.type == "cuda" else CPU_BATCH
    # Longest first: a batch pads little, and memory runs out early or not at all.
    by_length = np.argsort([-len(text) for text in texts], kind="stable")
    embed, prompt = encoder.encode_query if side == "query" else encoder.encode_document, prompt_of(encoder, side)

    def encode_batch(batch: Sequence[str]) -> Vectors:
        with torch.inference_mode(), half_precision(str(encoder.device)):
            return np.asarray(embed(list(batch), prompt=prompt, batch_size=size, show_progress_bar=False), dtype=np.float32)

    rows = map_batches(encode_batch, [texts[at] for at in by_length], size * BATCHES_A_CALL, "encode" if progress else None)
    vectors = np.empty((len(texts), len(rows[0])), dtype=np.float32)
    vectors[by_length] = rows
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    broken = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
    if len(broken):
        text = texts[broken[0]][:80]
        raise WhetstoneError(f"the encoder gave no usable vector for the text {text!r}: its weights are broken, or it reads no word of it")
    return np.asarray(vectors / norms)


@dataclass(frozen=True)
class Embedder:
    """Turns products and queries into unit vectors of one encoder; `cache` is the folder of the vector store of all encoders."""

    encoder: Encoder
    cache: Path
    device: str = "auto"
    progress: bool = False

    def products(self, products: pd.DataFrame) -> Vectors:
        """Vectors (n, d) of the rows of a products frame (text, text_hash); only texts never seen are encoded."""
        hashes, texts = products["text_hash"].tolist(), products["text"].tolist()
        return VectorStore(self.cache).get(self.encoder.version, hashes, texts, self._encode)

    def queries(self, texts: Sequence[str]) -> Vectors:
        """Vectors (n, d) of queries, not cached."""
        return self._encode(texts, "query")

    def _encode(self, texts: Sequence[str], side: Side = "product") -> Vectors:
        return encode(load_encoder(self.encoder.path, self.device), texts, side, progress=self.progress and len(texts) > 1000)
