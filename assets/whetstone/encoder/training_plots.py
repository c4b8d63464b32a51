"""The picture of one stage's training: loss by step, dev NDCG@10 by step, and which checkpoint was kept."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Curve = Sequence[tuple[int, float]]


def plot_training(loss: Curve, dev: Curve, best_step: int, title: str) -> Figure:
    """Loss above dev NDCG@10, both as (step, value); step 0 of dev is the stage's start, `best_step` (marked) is what was kept."""
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    figure.suptitle(title)
    above, below = figure.subplots(2, 1, sharex=True)
    above.plot(*np.reshape(loss, (-1, 2)).T, color="tab:blue", marker=".")
    above.set_ylabel("loss")
    below.plot(*np.reshape(dev, (-1, 2)).T, color="tab:green", marker="o")
    below.axhline(dev[0][1], color="grey", linewidth=0.8, linestyle="--", label=f"start {dev[0][1]:.4f}")
    best = dict(dev)[best_step]
    below.plot(best_step, best, "*", color="tab:red", markersize=12, label=f"kept {best:.4f}, step {best_step}")
    below.set(xlabel="step", ylabel="dev NDCG@10")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    below.legend(fontsize="small")
    return figure
