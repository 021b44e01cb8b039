"""Two runs in one figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradwatch import summary
from gradwatch.log import Log
from gradwatch.plots import canvas
from gradwatch.plots.depth_profile import name_layers

NAMES = ("a", "b")


def side_by_side(a: Log, b: Log, *, names: Sequence[str] = NAMES) -> Figure:
    """Draws the gradient norm of two runs over the steps, and by layer.

    Read the upper part for where they part, the lower one for the layers that differ. Steps with NaN or Inf have no
    point; crosses at the upper edge mark them.

    Args:
        a: The log of one run.
        b: The log of the other.
        names: What to call them.

    Returns:
        A figure that pyplot has closed already, as `overview`.
    """
    figure = canvas.closed_figure(11.0, 8.0)
    fill(figure, a, b, names)
    return figure


def fill(figure: Figure, a: Log, b: Log, names: Sequence[str]) -> None:
    """Draws both into a figure, as `side_by_side`."""
    upper, lower = figure.subplots(2, 1)
    labels = canvas.short_names(list(names), 60)
    _over_steps(upper, (a, b), labels)
    _by_layer(lower, (a, summary.named_as(b, a)), labels)


def _over_steps(ax: Axes, logs: Sequence[Log], labels: Sequence[str]) -> None:
    ax.set_title("Gradient norm of the whole model", loc="left")
    tables = [log.steps() for log in logs]
    norms = [table["global_norm"].to_numpy(dtype=float) for table in tables]
    steps = [table["step"].to_numpy() for table in tables]
    lift = canvas.log_scale(ax, *norms)
    for where, values, label, color, style in zip(steps, norms, labels, canvas.PALETTE, canvas.STYLES, strict=False):
        finite = np.isfinite(values)
        ax.plot(where, np.where(finite, lift(values), np.nan), style, color=color, label=label, linewidth=1.2)
    bad = [where[~np.isfinite(values)] for where, values in zip(steps, norms, strict=True)]
    canvas.mark_top(ax, np.unique(np.concatenate(bad)), canvas.ALARM_LABEL)
    canvas.step_axis(ax, np.unique(np.concatenate(steps)))
    ax.set_ylabel(canvas.NORM_LABEL)
    canvas.legend_above(ax)


def _by_layer(ax: Axes, logs: Sequence[Log], labels: Sequence[str]) -> None:
    ax.set_title("Median gradient norm by depth", loc="left")
    medians = [summary.layer_medians(log) for log in logs]
    layers = list(dict.fromkeys(layer for each in medians for layer in each.index))
    values = [each.reindex(layers).to_numpy(dtype=float) for each in medians]
    lift = canvas.log_scale(ax, *values)
    for each, label, color, style in zip(values, labels, canvas.PALETTE, canvas.STYLES, strict=False):
        ax.plot(np.arange(len(layers)), lift(each), style, marker="o", markersize=4, color=color, label=label)
    if layers:
        name_layers(ax, layers)
    ax.set_ylabel(canvas.NORM_LABEL)
    canvas.legend_above(ax)
