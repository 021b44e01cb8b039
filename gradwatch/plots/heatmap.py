"""Variables by steps, the gradient norm as colour."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap, LogNorm
from matplotlib.patches import Patch

from gradwatch.log import Log
from gradwatch.plots import canvas, grid
from gradwatch.plots.grid import Grid

MAX_CROSSES = 300
LABEL_HEIGHT = 10.0  # points


def heatmap(log: Log, ax: Axes | None = None, *, by: str = "variable", max_bins: int = 400) -> Axes:
    """Draws the gradient norm of each variable (row) at each step (column) as colour.

    Read it by rows: the model runs from top to bottom, so a picture that darkens upwards shows a gradient that vanishes
    on its way back to the input. A row that changes colour is a variable whose gradient changes its size. Red cells
    with a cross hold NaN or Inf, black cells have norm zero, hatched ones have no gradient at all. In a long run a cell
    is the largest value of its bin.

    Args:
        log: The log.
        ax: Where to draw; `None` for the current axes if empty, else a new figure.
        by: "variable" or "layer".
        max_bins: Largest number of columns.

    Returns:
        The axes; x in optimizer calls, y one row a variable in model order, colour the L2 norm, logarithmic.
    """
    rows = len(grid.column_names(log, by))
    title = f"Gradient norm of each {by}"
    if reason := canvas.absence(log, "grad_norm"):
        return canvas.note(ax, reason, title=title)
    ax = canvas.axes(ax, size=(9.0, float(np.clip(2.4 + 0.2 * rows, 3.4, 9.0))))
    ax.set_title(title, loc="left")
    data = grid.make(log, grid.norms(by), by=by, max_bins=max_bins, complete=True)
    _cells(ax, data)
    _row_labels(ax, [info.layer for info in log.variable_infos] if by == "variable" else None, data.names)
    canvas.step_axis(ax, data.edges)
    return ax


def _cells(ax: Axes, data: Grid) -> None:
    high = data.high.T  # [rows, bins]
    bad = data.nonfinite.T > 0
    positive = high[high > 0]
    low, top = (positive.min(), positive.max()) if len(positive) else (0.1, 1.0)
    borders = np.arange(len(data.names) + 1) - 0.5
    mesh = ax.pcolormesh(
        data.edges,
        borders,
        np.ma.masked_where(~(high > 0) | bad, high),
        norm=LogNorm(low, top if top > low else low * 10),
        cmap=_colors(),
        rasterized=True,
    )
    ax.set_facecolor("none")
    ax.patch.set(hatch="////", edgecolor=canvas.MUTED, alpha=0.35)
    handles = [
        _paint(ax, data, bad, canvas.ALARM, canvas.ALARM_LABEL),
        _paint(ax, data, (high == 0) & ~bad, "black", "zero"),
        Patch(facecolor="none", edgecolor=canvas.MUTED, hatch="////", label="no gradient")
        if (data.recorded == 0).any()
        else None,
    ]
    _crosses(ax, data, bad)
    shown = [handle for handle in handles if handle is not None]
    canvas.legend_above(ax, handles=shown)
    bar = ax.figure.colorbar(mesh, ax=ax, label=canvas.NORM_LABEL, pad=0.01, fraction=0.03, aspect=40)
    bar.ax.tick_params(which="both", labelsize=8)
    ax.set_ylim(len(data.names) - 0.5, -0.5)


def _paint(ax: Axes, data: Grid, where: np.ndarray, color: str, label: str) -> Patch | None:
    """Paints the cells `[rows, bins]` in one colour; gives a handle for the legend if there are any."""
    if not where.any():
        return None
    borders = np.arange(len(data.names) + 1) - 0.5
    ones = np.ma.masked_where(~where, np.ones(where.shape))
    ax.pcolormesh(data.edges, borders, ones, cmap=ListedColormap([color]), rasterized=True)
    return Patch(facecolor=color, edgecolor=canvas.MUTED, label=label)


def _crosses(ax: Axes, data: Grid, bad: np.ndarray) -> None:
    """A cross in each bad cell, unless they are too many to be told apart: not by colour alone."""
    rows, bins = np.nonzero(bad)
    if 0 < len(rows) <= MAX_CROSSES:
        middle = (data.edges[:-1] + data.edges[1:]) / 2
        ax.plot(middle[bins], rows, "x", color="white", markersize=4, markeredgewidth=1.0, linestyle="none")


def _colors() -> Colormap:
    """Viridis without its darkest part, which is too near to the black of a zero."""
    return ListedColormap(colormaps["viridis"](np.linspace(0.12, 1.0, 256)))


def _row_labels(ax: Axes, layers: list[str] | None, names: tuple[str, ...]) -> None:
    """Names every row if there is room; else the first row of each layer, as many as there is room for."""
    room = max(2, int(canvas.room(ax)[1] / LABEL_HEIGHT))
    starts = np.arange(len(names))
    labels = np.array(canvas.short_names(names), dtype=object)
    if layers is not None:
        starts = np.flatnonzero([i == 0 or layers[i] != layers[i - 1] for i in range(len(layers))])
        if len(starts) <= room:
            for start in starts[1:]:
                ax.axhline(start - 0.5, color="white", linewidth=0.6, alpha=0.7)
    if len(names) > room:
        if layers is not None:
            labels = np.array(canvas.short_names(layers), dtype=object)
        chosen = starts[:: -(-len(starts) // room)]
    else:
        chosen = np.arange(len(names))
    ax.set_yticks(chosen, labels[chosen], fontsize=8)
