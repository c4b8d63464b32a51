"""The picture of one stage's training: loss by step, dev NDCG@10 by step, and which checkpoint was kept."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Curve = Sequence[tuple[int, float]]


def plot_training(loss: Curve, dev: Curve, best_step: int, title: str) -> Figure:
    """Loss curve above dev curve.

    Args:
        loss: (step, mean loss since the point before).
        dev: (step, NDCG@10 on dev queries); step 0 is the stage's start.
        best_step: the step whose weights were kept; marked.
        title: usually the stage's name.

    Returns:
        A figure that belongs to no window (the Figure API, not pyplot), for `platform.plots.figure_png`.
    """
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    figure.suptitle(title)
    above.plot(*_axes(loss), color="tab:blue", marker=".")
    above.set_ylabel("loss")
    below.plot(*_axes(dev), color="tab:green", marker="o")
    below.axhline(dev[0][1], color="grey", linewidth=0.8, linestyle="--", label=f"start {dev[0][1]:.4f}")
    best = dict(dev)[best_step]
    below.plot(
        [best_step],
        [best],
        color="tab:red",
        marker="*",
        markersize=12,
        linestyle="none",
        label=f"kept {best:.4f}, step {best_step}",
    )
    below.set_ylabel("dev NDCG@10")
    below.set_xlabel("step")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    below.legend(fontsize="small")
    return figure


def _axes(curve: Curve) -> tuple[list[int], list[float]]:
    return [step for step, _ in curve], [value for _, value in curve]
