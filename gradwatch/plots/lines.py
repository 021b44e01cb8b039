"""A few named lines over steps, and a grey band for all the others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from gradwatch.plots import canvas
from gradwatch.plots.grid import Grid
from gradwatch.rules.base import plural


def draw(ax: Axes, grid: Grid, named: list[str]) -> None:
    """Draws the columns in `named` as lines, with their names in the legend, and the range of the rest as a band.

    Args:
        ax: The axes; becomes logarithmic in y.
        grid: What to draw. Where a bin holds several steps a line shows the largest value and a shade the smallest.
        named: Names of the columns to tell apart.
    """
    seen = grid.recorded.sum(axis=0) > 0
    chosen = [i for i, name in enumerate(grid.names) if name in set(named) and seen[i]]
    others = np.setdiff1d(np.flatnonzero(seen), chosen)
    ax.margins(x=0.01)
    lift = canvas.log_scale(ax, grid.high, grid.low)
    if len(others):
        _band(ax, grid, others, lift(grid.low), lift(grid.high))
    labels = canvas.short_names(grid.names)
    for rank, column in enumerate(chosen):
        rows = grid.recorded[:, column] > 0
        style = canvas.STYLES[rank // len(canvas.PALETTE) % len(canvas.STYLES)]
        color = canvas.PALETTE[rank % len(canvas.PALETTE)]
        steps, high = grid.first[rows], lift(grid.high[rows, column])
        ax.plot(
            steps,
            high,
            color=color,
            linestyle=style,
            linewidth=1.1,
            label=labels[column],
        )
        alone = _alone(high)
        ax.plot(steps[alone], high[alone], ".", color=color, markersize=5)
        if grid.binned:
            ax.fill_between(steps, lift(grid.low[rows, column]), high, color=color, alpha=0.15, linewidth=0)


def _band(ax: Axes, grid: Grid, others: npt.NDArray, low: npt.NDArray, high: npt.NDArray) -> None:
    """Range and median of the columns `others`; bins in which none of them was recorded are left out."""
    rows = np.isfinite(high[:, others]).any(axis=1)
    steps = grid.first[rows]
    low, high = low[np.ix_(rows, others)], high[np.ix_(rows, others)]
    label = f"{plural(len(others), 'other')}: range and median"
    ax.fill_between(
        steps, np.nanmin(low, axis=1), np.nanmax(high, axis=1), color=canvas.MUTED, alpha=0.25, linewidth=0, label=label
    )
    ax.plot(steps, np.nanmedian(high, axis=1), color=canvas.MUTED, linewidth=1.0, zorder=1.5)


def _alone(values: npt.NDArray) -> npt.NDArray[np.bool_]:
    """Where a value has no finite neighbour, so that a line would not show it."""
    finite = np.concatenate([[False], np.isfinite(values), [False]])
    return finite[1:-1] & ~finite[:-2] & ~finite[2:]
