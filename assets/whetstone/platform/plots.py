"""Figures for asset metadata and reports: small PNGs that can be embedded as a data URI (under 50 kB, see the event log)."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure_png(figure: Figure, dpi: int = 70) -> bytes:
    """Render a figure to PNG bytes; `dpi` is kept low so that the picture fits the event log."""
    out = BytesIO()
    figure.savefig(out, format="png", dpi=dpi, bbox_inches="tight", metadata={"Software": None})
    return out.getvalue()


def data_uri(png: bytes) -> str:
    """PNG bytes as a `data:` URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def embed(png: bytes, alt: str = "plot") -> str:
    """PNG bytes as a Markdown image that carries its own data."""
    return f"![{alt}]({data_uri(png)})"
