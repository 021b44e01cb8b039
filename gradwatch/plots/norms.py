"""Gradient norms over steps."""

from __future__ import annotations

from matplotlib.axes import Axes

from gradwatch.log import Log
from gradwatch.plots import canvas, grid, lines
from gradwatch.plots.ranking import ranking

TITLE = "Gradient norms"


def norms(log: Log, ax: Axes | None = None, *, by: str = "variable", max_lines: int = 10) -> Axes:
    """Draws the gradient norm of each variable over the steps.

    Read it for three things: lines that fall steadily (vanishing), lines that climb or jump by decades (exploding), and
    crosses along the upper edge (steps with NaN or Inf). With more than `max_lines` variables only the most conspicuous
    ones are named, see `ranking`; a grey band shows the range of the others. An exact zero sits on the dotted line
    labelled 0. In a long run each point is the largest value of its bin and the shade under it reaches to the smallest.

    Args:
        log: The log.
        ax: Where to draw; `None` for the current axes if empty, else a new figure.
        by: "variable" or "layer".
        max_lines: How many lines to name.

    Returns:
        The axes; x in optimizer calls, y the L2 norm in units of loss per unit of weight, logarithmic.
    """
    if reason := canvas.absence(log, "grad_norm"):
        return canvas.note(ax, reason, title=TITLE)
    ax = canvas.axes(ax)
    ax.set_title(TITLE, loc="left")
    crowded = len(grid.column_names(log, by)) > max_lines
    data = grid.make(log, grid.norms(by), by=by, complete=crowded)
    lines.draw(ax, data, conspicuous(log, by=by, number=max_lines))
    bad = data.first[data.nonfinite.any(axis=1)]
    canvas.mark_top(ax, bad, canvas.ALARM_LABEL)
    labels = dict(zip(data.names, canvas.short_names(data.names), strict=True))
    _name_detached(ax, [labels[name] for name in grid.detached(log, by)])
    canvas.step_axis(ax, data.first)
    ax.set_ylabel(canvas.NORM_LABEL)
    canvas.legend(ax)
    return ax


def conspicuous(log: Log, *, by: str, number: int) -> list[str]:
    """Names of the variables or layers that rank worst among those that have a gradient."""
    table = ranking(log)
    table = table[table["recorded"] > 0]
    names = table.index if by == "variable" else table["layer"]
    return list(dict.fromkeys(names))[:number]


def _name_detached(ax: Axes, names: list[str]) -> None:
    """Adds to the legend what has no line because it has no gradient."""
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        label = f"no gradient: {names[0]}{more}"
        ax.plot([], [], linestyle="none", marker="s", markersize=5, color=canvas.MUTED, label=label)
