"""The training figure shows both curves and the kept step."""

from __future__ import annotations

from matplotlib import pyplot

from whetstone.encoder.training_plots import plot_training
from whetstone.platform.plots import figure_png


def test_figure_shows_both_curves_and_the_kept_checkpoint() -> None:
    figure = plot_training([(2, 1.5), (4, 0.5)], [(0, 0.4), (2, 0.6), (4, 0.5)], best_step=2, title="encoder_mnr")
    loss, dev = figure.axes
    assert loss.lines[0].get_xydata().tolist() == [[2, 1.5], [4, 0.5]]
    assert dev.lines[0].get_xydata().tolist() == [[0, 0.4], [2, 0.6], [4, 0.5]]
    assert any(line.get_xydata().tolist() == [[2, 0.6]] for line in dev.lines)
    assert figure.get_suptitle() == "encoder_mnr"
    assert not pyplot.get_fignums()  # nothing global is left open
    assert figure_png(figure).startswith(b"\x89PNG")


def test_a_skipped_stage_has_a_figure_too() -> None:
    assert plot_training([], [(0, 0.4)], best_step=0, title="skipped").axes
