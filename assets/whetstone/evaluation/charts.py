"""Plots of a report: one figure a question, drawn through the Figure API (no pyplot, no global state, no display)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from whetstone.evaluation.metrics import CUTOFFS
from whetstone.evaluation.report import Report
from whetstone.evaluation.systems import BASELINES
from whetstone.evaluation.tables import printable
from whetstone.platform.plots import figure_png

MAIN = "ndcg@10"
DPI = 110  # sharper than asset metadata: these plots go to a file, not to the event log
BASELINE, TRAINED, CHAMPION = "#8a94a0", "#2f6fb0", "#d1602b"
# Okabe & Ito's colours, told apart by every kind of sight; with the markers, more systems than colours stay distinct.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000")
MARKERS = ("o", "s", "^", "D", "v")
LONGEST_NAME = 40


def report_plots(report: Report) -> dict[str, bytes]:
    """Caption -> PNG of the report's plots, in the page's order."""
    plots = {
        f"{MAIN} by system, with 95 % intervals": _systems_figure(report),
        f"{MAIN} by segment, with 95 % intervals": _segments_figure(report),
        "Recall by cutoff": _recall_figure(report),
    }
    return {caption: figure_png(figure, dpi=DPI) for caption, figure in plots.items()}


def _systems_figure(report: Report) -> Figure:
    """Mean and interval of every system, one line each, in the report's order."""
    champion, systems = report["champion"], report["systems"]
    figure, axes = _figure(height=0.9 + 0.32 * len(systems))
    for place, (name, system) in enumerate(systems.items()):
        figures = system[MAIN]
        _intervals(axes, [figures], [place], CHAMPION if name == champion else BASELINE if name in BASELINES else TRAINED)
        if figures["mean"] is not None:
            at, label = (figures["mean"], place), f"{figures['mean']:.3f}"
            axes.annotate(label, at, (0, 6), textcoords="offset points", ha="center", fontsize=8)
    _name_places(axes, [f"{name} (champion)" if name == champion else name for name in systems])
    return figure


def _segments_figure(report: Report) -> Figure:
    """Mean and interval of every system within every segment, segments below one another."""
    systems = report["systems"]
    segments = next(iter(systems.values()))["segments"]  # the same in every system
    figure, axes = _figure(height=1.2 + 0.17 * (len(systems) + 1) * len(segments))
    for index, (name, system) in enumerate(systems.items()):
        places = np.arange(len(segments)) + (index - (len(systems) - 1) / 2) * 0.8 / len(systems)
        _intervals(axes, [each[MAIN] for each in system["segments"].values()], places, *_look(index), _shown(name))
    _name_places(axes, [f"{name} (n = {each['queries']})" for name, each in segments.items()])
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure


def _recall_figure(report: Report) -> Figure:
    """Mean recall of every system at each cutoff."""
    figure, axes = _figure(height=3.6)
    for index, (name, system) in enumerate(report["systems"].items()):
        colour, marker = _look(index)
        means = np.array([system[f"recall@{k}"]["mean"] for k in CUTOFFS], dtype=float)
        axes.plot(CUTOFFS, means, color=colour, marker=marker, markersize=5, label=_shown(name))
    axes.set_xticks(CUTOFFS, [str(k) for k in CUTOFFS])
    axes.set(xlabel="cutoff k", ylabel="recall@k", ylim=(0, 1.02))
    axes.grid(axis="y", color="#e3e6ea")
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, height))
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _intervals(
    axes: Axes, figures: Sequence[Mapping[str, Any]], places: Sequence[float] | np.ndarray, colour: str, marker: str = "o", label: str = ""
) -> None:
    """Dots at the means on lying bars from low to high; nothing where a figure is undefined."""
    mean, low, high = (np.array([each[key] for each in figures], dtype=float) for key in ("mean", "low", "high"))
    axes.hlines(places, low, high, color=colour, linewidth=1.6)
    axes.plot(mean, places, color=colour, marker=marker, markersize=5, linestyle="none", label=label)


def _name_places(axes: Axes, names: Sequence[str]) -> None:
    """Names at 0, 1, ... from the top down."""
    axes.set_yticks(range(len(names)), [_shown(name) for name in names])
    axes.set(ylim=(len(names) - 0.4, -0.6), xlabel=MAIN)
    axes.set_xlim(left=0)
    axes.grid(axis="x", color="#e3e6ea")


def _shown(name: str) -> str:
    """A short name shown literally: to matplotlib dollars are mathematics, and a leading underscore hides a legend entry."""
    name = printable(name)
    short = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
    return short.replace("$", r"\$").lstrip("_")


def _look(index: int) -> tuple[str, str]:
    return COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
