"""The pictures of the agreement report: the confusion matrix, and the reliability diagram before and after calibration.

Figures belong to no window (the Figure API, not pyplot): they are for `platform.plots.figure_png`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from whetstone.platform.printable import printable


def confusion_figure(report: Mapping[str, Any]) -> Figure:
    """Counts of an `agreement_report` with their share of the human level's pairs: rows human, columns machine, best level first."""
    counts = np.array(report["confusion"])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [printable(name, 20) for name in report["levels"]]
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


def reliability_figure(report: Mapping[str, Any]) -> Figure:
    """Share right by confidence before and after calibration (a dot's area: its pairs); on the dashed line confidence is honest."""
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="confidence", ylabel="share right", xlim=(0, 1), ylim=(0, 1.02))
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle="--")
    for when in ("before", "after"):
        bins = pd.DataFrame(report[f"reliability_{when}"])
        axes.plot(bins["confidence"], bins["share_right"], label=when)
        axes.scatter(bins["confidence"], bins["share_right"], s=400 * bins["pairs"] / report["pairs"])
    axes.legend(title="calibration", fontsize="small")
    return figure
