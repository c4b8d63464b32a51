"""How much two channels find in common: the lower, the more there is to mine ([A] section 3: 13-15 % at depth 500).

Of the two sets A and B of products found for a query:
    overlap = |A and B| / min(|A|, |B|)        share of the smaller one that the other finds too
    jaccard = |A and B| / |A or B|
Both are averaged over the queries for which either channel found something; where one found nothing they are 0. [A] is arXiv 2606.23911.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure


def overlap(found: pd.DataFrame, channels: Sequence[str]) -> pd.DataFrame:
    """Overlap of every pair of channels: left, right, overlap, jaccard (null without queries), count_queries; in their order.

    `found` has a row for each query and product that any channel found: query_id, and `<channel>_rank` of each, null where it didn't.
    """
    has = found.set_index("query_id")[[f"{name}_rank" for name in channels]].notna().set_axis(list(channels), axis=1)
    rows = []
    for left, right in combinations(channels, 2):
        either = has[has[left] | has[right]]
        sizes = either.assign(both=either[left] & either[right]).groupby("query_id").sum()
        shares = (sizes["both"] / sizes[[left, right]].min(axis=1)).fillna(0)
        jaccard = sizes["both"] / (sizes[left] + sizes[right] - sizes["both"])
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
    axes.imshow(grid, vmin=0, vmax=1, cmap="viridis")
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    for (row, column), share in np.ndenumerate(grid):
        shown = f"{share:.0%}" if np.isfinite(share) else "-"
        axes.text(column, row, shown, ha="center", va="center", color="w" if share < 0.6 else "k")
    axes.set_title("Found by both, share of the smaller run")
    return figure
