"""How far each update moves the weights."""

from __future__ import annotations

from matplotlib.axes import Axes

from gradwatch import summary
from gradwatch.log import Log
from gradwatch.plots import canvas, grid, lines
from gradwatch.plots.norms import conspicuous

TITLE = "Update-to-weight ratios"
USUAL = (1e-4, 1e-2)
"""Ratios seen in most healthy runs; a custom of the field, not a law."""


def update_ratio(log: Log, ax: Axes | None = None, *, max_lines: int = 10) -> Axes:
    """Draws the size of each update relative to its weights, `update_norm / weight_norm`.

    Read it against the shaded strip: most healthy runs stay near 1e-3. Lines far above say that the learning rate is
    too high, far below that it is too low or that the variable hardly learns. Variables that start at zero, such as
    biases, begin high and come down; where the weights are exactly zero there is no ratio and no point.

    Args:
        log: The log.
        ax: Where to draw; `None` for the current axes if empty, else a new figure.
        max_lines: How many lines to name; the others are a grey band.

    Returns:
        The axes; x in optimizer calls, y a pure number, logarithmic.

    References:
        Karpathy, CS231n, Babysitting the learning process: ratio of weights to updates.
    """
    if reason := canvas.absence(log, "update_norm", "weight_norm"):
        return canvas.note(ax, reason, title=TITLE)
    ax = canvas.axes(ax)
    ax.set_title(TITLE, loc="left")
    taken = summary.where_taken(log, "update_norm")
    data = grid.make(taken, summary.update_ratio, complete=len(log.variable_infos) > max_lines)
    lines.draw(ax, data, conspicuous(log, by="variable", number=max_lines))
    ax.axhspan(*USUAL, color=canvas.PALETTE[2], alpha=0.12, linewidth=0, zorder=0, label="usual: 1e-4 to 1e-2")
    canvas.step_axis(ax, data.first)
    ax.set_ylabel("update norm / weight norm")
    canvas.legend(ax)
    return ax
