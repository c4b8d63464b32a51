"""Plots of a report: one figure a question, drawn through the Figure API (no pyplot, no global state, no display)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from whetstone.evaluation.report import Report
from whetstone.platform.printable import printable

OTHER, TRAINED, CHAMPION = "#8a94a0", "#2f6fb0", "#d1602b"
LONGEST_NAME = 40


def systems_figure(report: Report) -> Figure:
    """Mean and interval of every system's NDCG@10, one line each in the report's order."""
    champion, systems = report["champion"], report["systems"]
    places = range(len(systems))
    colours = [CHAMPION if name == champion else TRAINED if name.startswith("encoder_") else OTHER for name in systems]
    mean, low, high = (np.array([each["ndcg@10"][key] for each in systems.values()], dtype=float) for key in ("mean", "low", "high"))
    figure = Figure(figsize=(6.4, 1.1 + 0.3 * len(systems)))
    axes = figure.add_subplot()
    axes.hlines(places, low, high, color=colours, linewidth=1.6)
    axes.scatter(mean, places, color=colours, s=25)
    labels = [printable(f"{name} (champion)" if name == champion else name, LONGEST_NAME) for name in systems]
    axes.set_yticks(places, labels, parse_math=False)
    axes.set(ylim=(len(systems) - 0.4, -0.6), xlim=(0, None), xlabel="ndcg@10 of the test queries")
    _style(axes, "x")
    return figure


def separability_figure(pairs: pd.DataFrame, encoders: Sequence[str]) -> Figure:
    """Violins of the cosine by label, a panel for each encoder, of judged pairs (system, label, cosine)."""
    figure = Figure(figsize=(3.2 * len(encoders), 3.6))
    panels = figure.subplots(1, len(encoders), sharey=True, squeeze=False)[0]
    for axes, encoder in zip(panels, encoders, strict=True):
        own = pairs[pairs["system"] == encoder].groupby("label")["cosine"]
        labels = list(own.groups)
        axes.violinplot([part.to_numpy() for _, part in own], positions=labels, widths=0.8, showmedians=True)
        axes.set_xticks(labels, [f"label {label}\nn = {count:,}" for label, count in own.size().items()])
        axes.set_title(printable(encoder, LONGEST_NAME), fontsize=9, parse_math=False)
        _style(axes, "y")
    panels[0].set(ylabel="cosine of query and product")
    return figure


def _style(axes: Axes, grid: Literal["x", "y"]) -> None:
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="#e3e6ea")
