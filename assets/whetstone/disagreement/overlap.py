"""How much two channels find in common: the lower, the more there is to mine ([A] section 3: 13-15 % at depth 500).

Of the two sets A and B of products found for a query:
    overlap = |A and B| / min(|A|, |B|)        share of the smaller one that the other finds too
    jaccard = |A and B| / |A or B|
Both are averaged over the queries for which either channel found something; where one found nothing they are 0.
[A] is arXiv 2606.23911.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from whetstone.platform.errors import WhetstoneError

COLUMNS = ["left", "right", "overlap", "jaccard", "count_queries"]


def overlap(runs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Overlap of every pair of channels.

    Args:
        runs: channel name -> run (query_id, product_id, ...), each pair of ids once; cut to the depth to compare at.

    Returns:
        left, right, overlap, jaccard, count_queries; one row per pair of names, in their order. Means are null without
        queries.

    Raises:
        WhetstoneError: a run has a product twice for a query.
    """
    for name, run in runs.items():
        if run.duplicated(["query_id", "product_id"]).any():
            raise WhetstoneError(f"the run of channel {name!r} has a product twice for one query; a run holds each once")
    rows = [(left, right, *_pair(runs[left], runs[right])) for left, right in combinations(runs, 2)]
    return pd.DataFrame(rows, columns=COLUMNS)


def heatmap(table: pd.DataFrame) -> Figure:
    """The overlap shares as a symmetric heat map, channel by channel, with the numbers written in.

    Args:
        table: what `overlap` returns.
    """
    names = list(dict.fromkeys([*table["left"], *table["right"]]))
    grid = np.eye(len(names))
    for left, right, share in zip(table["left"], table["right"], table["overlap"], strict=True):
        grid[names.index(left), names.index(right)] = grid[names.index(right), names.index(left)] = share
    figure = Figure(figsize=(1.6 + 0.9 * len(names), 1.2 + 0.8 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    picture = axes.imshow(grid, vmin=0, vmax=1, cmap="viridis")
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    for (row, column), share in np.ndenumerate(grid):
        axes.text(
            column,
            row,
            f"{share:.0%}" if np.isfinite(share) else "-",
            ha="center",
            va="center",
            color="w" if share < 0.6 else "k",
        )
    axes.set_title("Found by both, share of the smaller run")
    figure.colorbar(picture, shrink=0.8)
    return figure


def _pair(left: pd.DataFrame, right: pd.DataFrame) -> tuple[float, float, int]:
    both = left[["query_id", "product_id"]].merge(right[["query_id", "product_id"]])
    sizes = pd.DataFrame({name: frame["query_id"].value_counts() for name, frame in (("left", left), ("right", right), ("both", both))})
    sizes = sizes.fillna(0)
    if sizes.empty:
        return float("nan"), float("nan"), 0
    smaller = sizes[["left", "right"]].min(axis=1)
    shares = (sizes["both"] / smaller.where(smaller > 0)).fillna(0)
    jaccard = sizes["both"] / (sizes["left"] + sizes["right"] - sizes["both"])
    return float(shares.mean()), float(jaccard.mean()), len(sizes)
