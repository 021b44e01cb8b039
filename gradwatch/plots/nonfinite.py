"""Where and when there were NaN and Inf."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from gradwatch import summary
from gradwatch.log import Log
from gradwatch.plots import canvas, grid
from gradwatch.plots.grid import Grid, Quantity
from gradwatch.records import Segment
from gradwatch.rules.base import plural

TITLE = "NaN and Inf in gradients"
KINDS = {"NaN": ("nan_count", "x", canvas.ALARM, -0.16), "Inf": ("inf_count", "^", canvas.PALETTE[0], 0.16)}
"""For each kind its statistic, marker, colour and shift from the middle of the row."""
ROW_HEIGHT = 13.0  # points
NOT_APPLIED = "update not applied"


def nonfinite(log: Log, ax: Axes | None = None, *, max_rows: int = 20) -> Axes:
    """Draws at which steps the gradients of which layers held NaN or Inf, and how many entries in all.

    Read it from the left: the layers that turn bad first are the ones to look at. The numbers at the right edge count
    entries over the whole run. Layers are in model order, those that never had a bad entry are left out. If every layer
    turns bad at the same step, the NaN was in the forward pass or in the loss. The lowest row, if there is one, shows
    the steps whose update did not reach the weights.

    Args:
        log: The log.
        ax: Where to draw; `None` for the current axes if empty, else a new figure.
        max_rows: How many layers to show, those that turn bad first.

    Returns:
        The axes; x in optimizer calls, y one row a layer.
    """
    if not log.num_steps:
        return canvas.note(ax, str(canvas.absence(log)), title=TITLE)
    if ax is not None:
        max_rows = min(max_rows, max(2, int(canvas.room(ax)[1] / ROW_HEIGHT)))
    grids = {kind: grid.make(log, _entries(kind), by="layer", max_bins=500) for kind in KINDS}
    rows, num_bad = _first_bad(grids, max_rows)
    withheld = _not_applied(log)
    if not len(rows) and not len(withheld):
        text = f"No NaN and no Inf in any gradient\non {plural(log.num_steps, 'recorded step')}."
        return canvas.note(ax, text, title=TITLE)
    ax = canvas.axes(ax, size=(9.0, float(np.clip(1.8 + 0.3 * (len(rows) + 1), 2.4, 7.5))))
    more = f": the first {len(rows)} of {plural(num_bad, 'layer')}" if num_bad > len(rows) else ""
    ax.set_title(TITLE + more, loc="left")
    for kind, data in grids.items():
        _mark(ax, data, rows, kind)
    if len(withheld):
        height = np.full(len(withheld), len(rows))
        ax.plot(withheld, height, "|", color=canvas.MUTED, markersize=7)
    names = canvas.short_names(grids["NaN"].names)
    _finish(ax, log, [*(names[row] for row in rows), *([NOT_APPLIED] if len(withheld) else [])])
    _count(ax, log, rows)
    return ax


def _entries(kind: str) -> Quantity:
    """How many entries of each layer were NaN, or Inf; 1 if it is only known that there were some."""

    def entries(log: Log, segment: Segment) -> npt.NDArray:
        name = KINDS[kind][0]
        if name in segment.values:
            table = summary.values(segment, name)
        else:
            norms = summary.values(segment, "grad_norm")
            taken = "grad_norm" in segment.values
            table = (np.isnan(norms) if kind == "NaN" else np.isinf(norms)).astype(np.float64) * taken
        return grid.summed(log, segment, table)

    return entries


def _first_bad(grids: dict[str, Grid], max_rows: int) -> tuple[npt.NDArray[np.int64], int]:
    """The layers that turn bad first, in model order, and how many ever do."""
    bad = np.logical_or.reduce([data.high > 0 for data in grids.values()])  # [bins, layers]
    ever = np.flatnonzero(bad.any(axis=0)) if len(bad) else np.zeros(0, np.int64)
    early = ever[np.argsort(bad[:, ever].argmax(axis=0), kind="stable")] if len(ever) else ever
    return np.sort(early[:max_rows]), len(ever)


def _not_applied(log: Log) -> npt.NDArray[np.int64]:
    steps = [segment.steps["step"][~segment.steps["applied"].astype(bool)] for segment in log.segments]
    return np.unique(np.concatenate(steps))


def _mark(ax: Axes, data: Grid, rows: npt.NDArray[np.int64], kind: str) -> None:
    _, marker, color, shift = KINDS[kind]
    bins, places = np.nonzero(data.high[:, rows] > 0)
    if len(bins):
        ax.plot(data.first[bins], places + shift, marker, color=color, markersize=4, linestyle="none", label=kind)


def _count(ax: Axes, log: Log, rows: npt.NDArray[np.int64]) -> None:
    """Writes the number of NaN and Inf entries of each layer at the right edge, where they were counted."""
    names = grid.column_names(log, "layer")
    counted = [kind for kind in KINDS if any(KINDS[kind][0] in segment.values for segment in log.segments)]
    totals = {kind: dict.fromkeys(names, 0.0) for kind in counted}
    for kind in counted:
        for segment in log.segments:
            if segment.variables:
                sums = _entries(kind)(log, segment).sum(axis=0)
                for layer, number in zip(summary.layers(log, segment), sums, strict=True):
                    totals[kind][layer] += number
    for place, row in enumerate(rows):
        parts = [f"{totals[kind][names[row]]:,.0f} {kind}" for kind in counted if totals[kind][names[row]]]
        ax.text(1.01, place, ", ".join(parts), transform=ax.get_yaxis_transform(), va="center", fontsize=8)


def _finish(ax: Axes, log: Log, labels: list[str]) -> None:
    ax.set_yticks(range(len(labels)), labels, fontsize=8)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    steps = [segment.steps["step"] for segment in log.segments]
    low, high = min(s.min() for s in steps if len(s)), max(s.max() for s in steps if len(s))
    ax.set_xlim(low - 0.02 * (high - low) - 0.5, high + 0.02 * (high - low) + 0.5)
    ax.grid(axis="y", color=canvas.MUTED, alpha=0.25, linewidth=0.6)
    canvas.step_axis(ax, np.unique([low, high]))
    canvas.legend_above(ax)
