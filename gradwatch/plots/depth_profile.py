"""Gradient norm against the order of the layers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from gradwatch import summary
from gradwatch.log import Log
from gradwatch.plots import canvas, grid

TITLE = "Gradient norm by depth"
LABEL_WIDTH = 13.0  # points


def depth_profile(log: Log, ax: Axes | None = None, *, quantiles: tuple[float, float] = (0.1, 0.9)) -> Axes:
    """Draws the typical gradient norm of each layer, in the order of the model.

    Read it from right to left, the way the gradient travels: a line that falls by decades towards the input is a
    vanishing gradient, one that climbs an exploding one; a healthy profile stays within one or two decades. The line is
    the median over the recorded steps, the band reaches between the two quantiles, so a wide band means a restless
    layer. Crosses mark layers with NaN or Inf on some step, squares at the lower edge layers without any gradient.

    Args:
        log: The log.
        ax: Where to draw; `None` for the current axes if empty, else a new figure.
        quantiles: Lower and upper border of the band.

    Returns:
        The axes; x the layers in model order, y the L2 norm in units of loss per unit of weight, logarithmic.
    """
    if reason := canvas.absence(log, "grad_norm"):
        return canvas.note(ax, reason, title=TITLE)
    ax = canvas.axes(ax, size=(9.0, 5.0))
    ax.set_title(TITLE, loc="left")
    layers = list(grid.column_names(log, "layer"))
    low, middle, high, bad = _profile(log, layers, quantiles)
    lift = canvas.log_scale(ax, low, middle, high)
    places = np.arange(len(layers))
    band = f"{quantiles[0]:.0%} to {quantiles[1]:.0%} of steps"
    ax.fill_between(places, lift(low), lift(high), color=canvas.PALETTE[0], alpha=0.2, linewidth=0, label=band)
    marker = "o" if len(layers) <= 60 else ""
    ax.plot(places, lift(middle), color=canvas.PALETTE[0], marker=marker, markersize=4, label="median")
    canvas.mark_top(ax, places[bad], canvas.ALARM_LABEL)
    _mark_detached(ax, [layers.index(name) for name in grid.detached(log, "layer")])
    name_layers(ax, layers)
    ax.set_ylabel(canvas.NORM_LABEL)
    canvas.legend_above(ax)
    return ax


def _profile(
    log: Log, layers: list[str], quantiles: tuple[float, float]
) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray, npt.NDArray[np.bool_]]:
    """For each layer the lower quantile, median and upper quantile over finite steps, and whether it had NaN."""
    norms: dict[str, list[npt.NDArray]] = {layer: [] for layer in layers}
    for segment in log.segments:
        for layer, column in zip(summary.layers(log, segment), summary.layer_norms(log, segment).T, strict=True):
            norms[layer].append(column)
    shape = np.full((3, len(layers)), np.nan)
    bad = np.zeros(len(layers), bool)
    for place, parts in enumerate(norms.values()):
        values = np.concatenate(parts or [np.zeros(0)])
        finite = values[np.isfinite(values)]
        bad[place] = len(finite) < len(values)
        if len(finite):
            shape[:, place] = np.quantile(finite, (quantiles[0], 0.5, quantiles[1]))
    return shape[0], shape[1], shape[2], bad


def _mark_detached(ax: Axes, places: list[int]) -> None:
    if places:
        height = np.full(len(places), 0.03)
        lower_edge = ax.get_xaxis_transform()
        ax.plot(places, height, "s", color=canvas.MUTED, markersize=5, label="no gradient", transform=lower_edge)


def name_layers(ax: Axes, layers: list[str]) -> None:
    """Names the layers below the axes, as many as there is room for."""
    room = max(2, int(canvas.room(ax)[0] / LABEL_WIDTH))
    chosen = np.arange(0, len(layers), -(-len(layers) // room))
    ax.set_xlim(-0.5, len(layers) - 0.5)
    names = canvas.short_names(layers, 22)
    upright = len(chosen) <= 8 and max(len(names[place]) for place in chosen) <= 9
    ax.set_xticks(chosen, [names[place] for place in chosen], rotation=0 if upright else 90, fontsize=8)
    ax.set_xlabel("layer, input to output")
