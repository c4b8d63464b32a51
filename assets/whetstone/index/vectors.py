"""Reading a vectors artifact: unit vectors (n, d) and the products they belong to, row by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd


def load_vectors(folder: Path) -> tuple[npt.NDArray[np.float32], pd.DataFrame]:
    """Vectors (n, d) and a frame of product_id and text_hash with n rows."""
    return np.load(folder / "vectors.npy"), pd.read_parquet(folder / "products.parquet")
