"""What the figures share: where to draw, colours, a logarithmic axis that shows zero, notes and legends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterMathtext, LogLocator, MaxNLocator, NullLocator

from gradwatch.log import Log

# Okabe and Ito's palette without yellow and black: told apart with any colour vision, visible on white and on black.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9")
STYLES = ("-", "--")
ALARM = "#D55E00"
MUTED = "#808080"
NORM_LABEL = "gradient L2 norm\n(loss per unit of weight)"
ALARM_LABEL = "NaN or Inf"
NOTE_SIZE = (9.0, 1.8)
NARROW = 430.0  # points


def axes(ax: Axes | None, *, size: tuple[float, float] = (9.0, 4.5)) -> Axes:
    """The axes to draw in: those given, else the current ones if still empty, else those of a new figure."""
    if ax is not None:
        return ax
    from matplotlib import pyplot as plt  # chooses a backend: only where a figure must show itself

    if plt.get_fignums():
        current = plt.gca()
        if not (current.has_data() or current.texts):
            return current
    return plt.figure(figsize=size, layout="constrained").add_subplot()


def closed_figure(width: float, height: float) -> Figure:
    """A figure that a notebook can show, for its backend is loaded, but does not show by itself."""
    from matplotlib import pyplot as plt

    with plt.ioff():
        figure = plt.figure(figsize=(width, height), layout="constrained")
    plt.close(figure)
    return figure


def note(ax: Axes | None, text: str, *, title: str) -> Axes:
    """Says in the axes, or in those of a small new figure, why there is nothing to see."""
    ax = axes(ax, size=NOTE_SIZE)
    ax.set_title(title, loc="left")
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_color(MUTED)
        spine.set_alpha(0.5)
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=MUTED)
    return ax


def absence(log: Log, *statistics: str) -> str | None:
    """Why there is nothing to draw of these statistics, or `None` if there is something."""
    if not log.num_steps:
        return "Nothing recorded yet."
    if not any(segment.num_steps and segment.variables for segment in log.segments):
        return "No variable had a gradient on any recorded step:\nall of them are detached from the loss."
    having = [segment for segment in log.segments if segment.num_steps and segment.variables]
    if not any(set(statistics) <= set(segment.values) for segment in having):
        return f"Not recorded: {', '.join(statistics)}.\nRecord it with statistics='full'."
    return None


def log_scale(ax: Axes, *arrays: npt.NDArray) -> Callable[[npt.NDArray], npt.NDArray]:
    """Makes the y axis logarithmic, with a tick labelled 0 a decade below the smallest value where there are zeros.

    Args:
        ax: The axes.
        arrays: All that will be drawn.

    Returns:
        A function that lifts the zeros of an array to where the tick is; all else it leaves alone.
    """
    values = np.concatenate([np.ravel(array) for array in arrays] or [np.zeros(0)])
    values = values[np.isfinite(values)]
    positive = values[values > 0]
    ax.set_yscale("log")
    if len(positive) == len(values):
        return lambda array: array
    lowest, highest = (positive.min(), positive.max()) if len(positive) else (1.0, 1.0)
    floor = 10.0 ** max(np.floor(np.log10(lowest)) - 1.0, -300.0)
    ax.yaxis.set_major_locator(_ZeroLocator(floor))
    ax.yaxis.set_major_formatter(_ZeroFormatter(floor))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_ylim(floor / 2, 10.0 ** (np.ceil(np.log10(highest)) + 0.3))
    ax.axhline(floor, color=MUTED, linewidth=0.8, linestyle=":", zorder=0.5)
    return lambda array: np.where(array == 0, floor, array)


def room(ax: Axes) -> tuple[float, float]:
    """Width and height of the axes in points, before the figure is laid out."""
    extent = ax.get_window_extent()
    dpi = ax.figure.dpi
    return extent.width / dpi * 72, extent.height / dpi * 72


def step_axis(ax: Axes, steps: npt.NDArray) -> None:
    """Labels the x axis as one of steps, which are whole numbers."""
    ax.set_xlabel("step (optimizer calls)")
    ax.xaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True))
    if len(steps) == 1:
        ax.set_xlim(steps[0] - 1, steps[0] + 1)


class _ZeroLocator(LogLocator):
    """Ticks at powers of ten, and one at the floor that stands for zero."""

    def __init__(self, floor: float) -> None:
        super().__init__(numticks=8)
        self._floor = floor

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        ticks = np.asarray(super().tick_values(vmin, vmax))
        return np.append(self._floor, ticks[ticks > 2 * self._floor])  # type: ignore[return-value]


class _ZeroFormatter(LogFormatterMathtext):
    """Powers of ten, and 0 for the floor."""

    def __init__(self, floor: float) -> None:
        super().__init__()
        self._floor = floor

    def __call__(self, x: float, pos: int | None = None) -> str:
        return "0" if np.isclose(x, self._floor, atol=0.0) else super().__call__(x, pos)


def mark_top(ax: Axes, steps: npt.NDArray, label: str) -> None:
    """Marks steps with a cross along the upper edge."""
    if len(steps):
        height = np.full(len(steps), 0.97)
        ax.plot(
            steps, height, "x", transform=ax.get_xaxis_transform(), color=ALARM, markersize=5, label=label, zorder=4
        )


def legend(ax: Axes) -> None:
    """Puts the legend beside the axes where the figure makes room for it, and inside where it does not."""
    if not ax.get_legend_handles_labels()[0]:
        return
    if ax.figure.get_layout_engine() is None:
        handles, labels = ax.get_legend_handles_labels()
        names = [shorten(label, 26) for label in labels]
        ax.legend(handles, names, loc="upper right", fontsize=6.5, handlelength=2.0, labelspacing=0.2, framealpha=0.6)
    else:
        ax.legend(
            loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, handlelength=2.4, frameon=False, borderaxespad=0.3
        )


def legend_above(ax: Axes, handles: Sequence[Artist] | None = None) -> None:
    """Puts the legend in one line above the axes, under the title where both do not fit beside each other."""
    handles = ax.get_legend_handles_labels()[0] if handles is None else handles
    if handles:
        if room(ax)[0] < NARROW:
            ax.set_title(ax.get_title(loc="left"), loc="left", pad=22.0)
        ax.legend(
            handles=handles, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(handles), fontsize=8,
            frameon=False, borderaxespad=0.2, columnspacing=1.2,
        )  # fmt: skip


def short_names(names: Sequence[str], width: int = 32) -> list[str]:
    """Names without the leading path that all of them share, and with their middle left out where still too long.

    >>> short_names(["model/dense/kernel", "model/dense_1/kernel"])
    ['dense/kernel', 'dense_1/kernel']
    """
    paths = [name.split("/") for name in names]
    shared = 0
    if len(set(names)) > 1:
        while all(len(path) > shared + 1 and path[shared] == paths[0][shared] for path in paths):
            shared += 1
    return [shorten("/".join(path[shared:]), width) for path in paths]


def shorten(name: str, width: int = 32) -> str:
    """The name with its middle left out if it is longer than `width`.

    >>> shorten("transformer/block_12/attention/query/kernel", 24)
    'transforme…/query/kernel'
    """
    if len(name) <= width:
        return name
    tail = (width - 1) * 3 // 5
    return f"{name[: width - 1 - tail]}…{name[len(name) - tail :]}"
