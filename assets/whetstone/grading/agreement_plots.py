"""The pictures of the agreement report: the confusion matrix, and the reliability diagram before and after calibration.

Figures belong to no window (the Figure API, not pyplot): they are for `platform.plots.figure_png`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

LONGEST_NAME = 20


def confusion_figure(report: Mapping[str, Any]) -> Figure:
    """Counts of an `agreement_report` with their share of the human level's pairs: rows human, columns machine, best level first."""
    counts = np.array(report["confusion"])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…" for name in report["levels"]]
    figure = Figure(figsize=(2.2 + 0.8 * len(names), 1.8 + 0.6 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    # to matplotlib dollars are mathematics, but a level may be called "under $5 or $6"
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        axes.text(column, row, f"{count:,}\n{share:.0%}", ha="center", va="center", color="w" if share > 0.6 else "k", fontsize="small")
    axes.set(xlabel="machine", ylabel="human", title=f"{report['pairs']:,} pairs of {report['queries']:,} queries")
    return figure


def reliability_figure(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> Figure:
    """Share right by confidence before and after calibration, two `reliability` lists; on the dashed line confidence is honest."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    above.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle="--")
    for name, rows, colour, side in (("before", before, "tab:orange", 0.0), ("after", after, "tab:blue", 0.5)):
        filled = [row for row in rows if row["pairs"]]
        above.plot([row["confidence"] for row in filled], [row["share_right"] for row in filled], color=colour, marker="o", label=name)
        widths = [(row["high"] - row["low"]) / 2 for row in rows]
        left = [row["low"] + side * (row["high"] - row["low"]) for row in rows]
        below.bar(left, [row["pairs"] for row in rows], widths, align="edge", color=colour)
    above.set(ylabel="share right", xlim=(0, 1), ylim=(0, 1.02))
    above.legend(title="calibration", fontsize="small")
    below.set(xlabel="confidence", ylabel="pairs")
    return figure
