"""Plots of a report: one figure a question, drawn through the Figure API (no pyplot, no global state, no display)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from whetstone.evaluation.metrics import CUTOFFS
from whetstone.evaluation.report import Report
from whetstone.evaluation.systems import BASELINES
from whetstone.platform.plots import figure_png
from whetstone.platform.printable import printable

MAIN = "ndcg@10"
DPI = 110  # sharper than asset metadata: these plots go to a file, not to the event log
BASELINE, TRAINED, CHAMPION = "#8a94a0", "#2f6fb0", "#d1602b"
# Okabe & Ito's colours, told apart by every kind of sight; with the markers, more systems than colours stay distinct.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000")
MARKERS = ("o", "s", "^", "D", "v")
LONGEST_NAME = 40


def report_plots(report: Report) -> dict[str, bytes]:
    """Caption -> PNG of the report's plots, in the page's order; none without systems."""
    if not report["systems"]:
        return {}
    plots = {f"{MAIN} by system and segment, with 95 % intervals": _systems_figure(report), "Recall by cutoff": _recall_figure(report)}
    return {caption: figure_png(figure, dpi=DPI) for caption, figure in plots.items()}


def _systems_figure(report: Report) -> Figure:
    """Mean and interval of every system, one line each in the report's order, with a panel for all queries and one for each segment."""
    champion, systems = report["champion"], report["systems"]
    places = range(len(systems))
    colours = [CHAMPION if name == champion else BASELINE if name in BASELINES else TRAINED for name in systems]
    panels = {"all": list(systems.values())}
    for segment in next(iter(systems.values()))["segments"]:  # the same in every system
        panels[segment] = [system["segments"][segment] for system in systems.values()]
    figure = Figure(figsize=(2.4 * len(panels), 1.1 + 0.3 * len(systems)))
    axes = figure.subplots(1, len(panels), sharey=True)
    for each, (name, parts) in zip(axes, panels.items(), strict=True):
        mean, low, high = (np.array([part[MAIN][key] for part in parts], dtype=float) for key in ("mean", "low", "high"))
        each.hlines(places, low, high, color=colours, linewidth=1.6)
        each.scatter(mean, places, color=colours, s=25)
        each.set_title(f"{name} (n = {parts[0]['queries']:,})", fontsize=9)
        each.set_xlim(left=0)
        _style(each, "x")
    axes[0].set_yticks(places, [_shown(f"{name} (champion)" if name == champion else name) for name in systems])
    axes[0].set(ylim=(len(systems) - 0.4, -0.6), xlabel=MAIN)
    return figure


def _recall_figure(report: Report) -> Figure:
    """Mean recall of every system at each cutoff."""
    figure = Figure(figsize=(6.4, 3.6))
    axes = figure.add_subplot()
    for index, (name, system) in enumerate(report["systems"].items()):
        means = np.array([system[f"recall@{k}"]["mean"] for k in CUTOFFS], dtype=float)
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        axes.plot(CUTOFFS, means, color=colour, marker=marker, markersize=5, label=_shown(name))
    axes.set_xticks(CUTOFFS, [str(k) for k in CUTOFFS])
    axes.set(xlabel="cutoff k", ylabel="recall@k", ylim=(0, 1.02))
    _style(axes, "y")
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))
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
        axes.set_title(_shown(encoder), fontsize=9)
        _style(axes, "y")
    panels[0].set(ylabel="cosine of query and product")
    return figure


def _style(axes: Axes, grid: Literal["x", "y"]) -> None:
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="#e3e6ea")


def _shown(name: str) -> str:
    """A short name shown literally: to matplotlib dollars are mathematics, and a leading underscore hides a legend entry."""
    return printable(name, LONGEST_NAME).replace("$", r"\$").lstrip("_")
