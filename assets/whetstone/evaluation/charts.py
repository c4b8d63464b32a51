"""Plots of a report: one figure a question, drawn through the Figure API (no pyplot, no global state, no display)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from whetstone.evaluation.report import Report
from whetstone.evaluation.systems import BASELINES, SEGMENTS
from whetstone.evaluation.tables import metrics_of, printable
from whetstone.platform.plots import figure_png

MAIN = "ndcg@10"
DPI = 110  # sharper than asset metadata: these plots go to a file, not to the event log
BASELINE, TRAINED, CHAMPION = "#8a94a0", "#2f6fb0", "#d1602b"
# Okabe & Ito's colours, told apart by every kind of sight; with the markers, more systems than colours stay distinct.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000")
LONGEST_NAME = 40
MARKERS = ("o", "s", "^", "D", "v")


def report_plots(report: Report) -> dict[str, bytes]:
    """Caption -> PNG of the report's plots, in the page's order; a plot whose metrics were not measured is left out."""
    metrics = metrics_of(report)
    plots = {}
    if MAIN in metrics:
        plots[f"{MAIN} by system, with 95 % intervals"] = systems_figure(report)
        plots[f"{MAIN} by segment, with 95 % intervals"] = segments_figure(report)
    if any(name.startswith("recall@") for name in metrics):
        plots["Recall by cutoff"] = recall_figure(report)
    return {caption: figure_png(figure, dpi=DPI) for caption, figure in plots.items()}


def systems_figure(report: Report, metric: str = MAIN) -> Figure:
    """Mean and interval of every system, one line each, in the report's order."""
    systems: Mapping[str, Any] = report["systems"]
    figure, axes = _figure(height=0.9 + 0.32 * len(systems))
    for place, (name, system) in enumerate(systems.items()):
        colour = CHAMPION if name == report["champion"] else BASELINE if name in BASELINES else TRAINED
        _interval(axes, system[metric], place, colour, "o")
        if system[metric]["mean"] is not None:
            label = f"{system[metric]['mean']:.3f}"
            axes.annotate(label, (system[metric]["mean"], place), (0, 6), textcoords="offset points", ha="center", fontsize=8)
    _name_places(axes, [f"{name} (champion)" if name == report["champion"] else name for name in systems])
    axes.set_xlabel(metric)
    return figure


def segments_figure(report: Report, metric: str = MAIN) -> Figure:
    """Mean and interval of every system within every segment, segments below one another."""
    systems: Mapping[str, Any] = report["systems"]
    segments = [segment for segment in SEGMENTS if any(segment in each["segments"] for each in systems.values())]
    figure, axes = _figure(height=1.2 + 0.17 * (len(systems) + 1) * max(1, len(segments)))
    for index, (name, system) in enumerate(systems.items()):
        shift = (index - (len(systems) - 1) / 2) * 0.8 / len(systems)
        colour, marker = _look(index)
        for place, segment in enumerate(segments):
            if segment in system["segments"]:
                _interval(axes, system["segments"][segment][metric], place + shift, colour, marker)
        axes.plot([], [], color=colour, marker=marker, linestyle="none", label=_shown(name))
    first = next(iter(systems.values()))["segments"]
    _name_places(axes, [f"{name} (n = {first[name]['queries']})" if name in first else name for name in segments])
    axes.set_xlabel(metric)
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure


def recall_figure(report: Report) -> Figure:
    """Mean recall of every system at each cutoff measured."""
    cutoffs = sorted(int(name.removeprefix("recall@")) for name in metrics_of(report) if name.startswith("recall@"))
    figure, axes = _figure(height=3.6)
    for index, (name, system) in enumerate(report["systems"].items()):
        colour, marker = _look(index)
        means = [system[f"recall@{k}"]["mean"] for k in cutoffs]
        axes.plot(cutoffs, np.array(means, dtype=float), color=colour, marker=marker, markersize=5, label=_shown(name))
    axes.set_xticks(cutoffs, [str(k) for k in cutoffs])
    axes.set_xlabel("cutoff k")
    axes.set_ylabel("recall@k")
    axes.set_ylim(0, 1.02)
    axes.grid(axis="y", color="#e3e6ea")
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, height))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _interval(axes: Axes, figures: Mapping[str, float | None], place: float, colour: str, marker: str) -> None:
    """A dot at the mean on a lying bar from low to high; no bar where there is no interval, nothing where no mean."""
    mean, low, high = (figures[key] for key in ("mean", "low", "high"))
    if mean is None:
        return
    if low is not None and high is not None:
        axes.plot([low, high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
    axes.plot([mean], [place], color=colour, marker=marker, markersize=5)


def _name_places(axes: Axes, names: Sequence[str]) -> None:
    """Names at 0, 1, ... from the top down."""
    axes.set_yticks(range(len(names)), [_shown(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.grid(axis="x", color="#e3e6ea")


def _shown(name: str) -> str:
    """A name shown literally: to matplotlib dollars are mathematics, and a leading underscore hides a legend entry."""
    return _shorten(printable(name), LONGEST_NAME).replace("$", r"\$").lstrip("_")


def _shorten(name: str, length: int) -> str:
    """The name, or its beginning with an ellipsis where it is longer."""
    return name if len(name) <= length else name[: length - 1] + "…"


def _look(index: int) -> tuple[str, str]:
    return COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
