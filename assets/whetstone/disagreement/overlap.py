"""How much two channels find in common: the lower, the more there is to mine ([A] section 3: 13-15 % at depth 500).

Of the two sets A and B of products found for a query:
    overlap = |A and B| / min(|A|, |B|)        share of the smaller one that the other finds too
    jaccard = |A and B| / |A or B|
Both are averaged over the queries for which either channel found something; where one found nothing they are 0. [A] is arXiv 2606.23911.
"""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from whetstone.platform.errors import WhetstoneError

PAIR = ["query_id", "product_id"]


def overlap(runs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Overlap of every pair of channels: left, right, overlap, jaccard (null without queries), count_queries; in their order.

    Runs (query_id, product_id) are cut to the depth to compare at. WhetstoneError: one has a product twice for a query.
    """
    for name, run in runs.items():
        if run.duplicated(PAIR).any():
            raise WhetstoneError(f"the run of channel {name!r} has a product twice for one query; a run holds each once")
    rows = []
    for left, right in combinations(runs, 2):
        both = runs[left][PAIR].merge(runs[right][PAIR])
        found = {"left": runs[left], "right": runs[right], "both": both}
        sizes = pd.DataFrame({name: run["query_id"].value_counts() for name, run in found.items()}).fillna(0)
        smaller = sizes[["left", "right"]].min(axis=1)
        shares = (sizes["both"] / smaller.where(smaller > 0)).fillna(0)
        jaccard = sizes["both"] / (sizes["left"] + sizes["right"] - sizes["both"])
        rows.append((left, right, shares.mean(), jaccard.mean(), len(sizes)))
    return pd.DataFrame(rows, columns=["left", "right", "overlap", "jaccard", "count_queries"])


def heatmap(table: pd.DataFrame) -> Figure:
    """The shares of an `overlap` table as a symmetric heat map, channel by channel, with the numbers written in."""
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
        shown = f"{share:.0%}" if np.isfinite(share) else "-"
        axes.text(column, row, shown, ha="center", va="center", color="w" if share < 0.6 else "k")
    axes.set_title("Found by both, share of the smaller run")
    figure.colorbar(picture, shrink=0.8)
    return figure
