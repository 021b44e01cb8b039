"""A log made small enough to draw: one quantity, binned over steps, with nothing rare lost.

A bin keeps the largest and the smallest finite value and how many calls had NaN or Inf. A single spike, zero or NaN in
a hundred thousand steps is therefore still there when the picture has a thousand columns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from gradwatch import summary
from gradwatch.log import Log
from gradwatch.records import Segment

Quantity = Callable[[Log, Segment], npt.NDArray]
"""Takes a log and one of its segments, returns `[steps, variables]` or `[steps, layers]`."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """One quantity, bins of steps by columns (variables or layers).

    Args:
        names: Name of each column, in model order.
        first: First step of each bin `[bins]`.
        last: Last step of each bin `[bins]`.
        high: Largest finite value `[bins, columns]`; NaN where there is none.
        low: Smallest finite value `[bins, columns]`; NaN where there is none.
        recorded: How many calls had a gradient for the column `[bins, columns]`.
        nonfinite: On how many of these the gradient held NaN or Inf `[bins, columns]`.
    """

    names: tuple[str, ...]
    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    high: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    recorded: npt.NDArray[np.int64]
    nonfinite: npt.NDArray[np.int64]

    @property
    def binned(self) -> bool:
        """Whether some bin holds several calls of a column."""
        return bool((self.recorded > 1).any())

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """Borders of the bins on the axis of steps `[bins + 1]`."""
        width = np.median(np.diff(self.first)) if len(self.first) > 1 else 1.0
        end = max(float(self.last[-1]) + 1.0, float(self.first[-1]) + float(width))
        return np.append(self.first.astype(np.float64), end)


def make(log: Log, quantity: Quantity, *, by: str = "variable", max_bins: int = 400, complete: bool = False) -> Grid:
    """Bins a quantity.

    Args:
        log: The log.
        quantity: Gives `[steps, variables]` of a segment, or `[steps, layers]` with `by="layer"`.
        by: "variable" or "layer".
        max_bins: Largest number of bins.
        complete: Make bins wide enough that each holds a call of every optimizer.
    """
    names = column_names(log, by)
    steps = np.unique(np.concatenate([segment.steps["step"] for segment in log.segments] or [np.zeros(0, np.int64)]))
    size = max(_stride(log, steps) if complete else 1, -(-len(steps) // max_bins))  # steps a bin
    first = steps[::size]
    if complete and len(first) > 1 and len(steps) % size:
        first = first[:-1]  # the rest goes to the bin before: alone it may lack an optimizer
    last = np.append(steps[np.searchsorted(steps, first[1:]) - 1], steps[-1:])
    shape = (len(first), len(names))
    high, low = np.full(shape, np.nan), np.full(shape, np.nan)
    recorded, nonfinite = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for columns, values, bad, numbers in _blocks(log, quantity, names, by):
        order = np.argsort(numbers, kind="stable")
        rows, starts = np.unique(np.searchsorted(first, numbers[order], side="right") - 1, return_index=True)
        where = np.ix_(rows, np.array(columns))
        finite = np.where(np.isfinite(values), values, np.nan)[order]
        high[where] = np.fmax(high[where], np.fmax.reduceat(finite, starts, axis=0))
        low[where] = np.fmin(low[where], np.fmin.reduceat(finite, starts, axis=0))
        recorded[where] += np.diff(np.append(starts, len(numbers)))[:, None]
        nonfinite[where] += np.add.reduceat(bad[order], starts, axis=0, dtype=np.int64)
    return Grid(names, first, last, high, low, recorded, nonfinite)


def norms(by: str) -> Quantity:
    """The gradient norms of variables or of layers as a quantity."""
    return summary.layer_norms if by == "layer" else statistic("grad_norm")


def statistic(name: str) -> Quantity:
    """A statistic of the log as a quantity."""
    return lambda log, segment: summary.values(segment, name)


def column_names(log: Log, by: str) -> tuple[str, ...]:
    """Paths of the variables, or of the layers, in model order."""
    if by not in ("variable", "layer"):
        raise ValueError(f"Unknown grouping. Received: by={by!r}. Expected 'variable' or 'layer'.")
    return tuple(dict.fromkeys(info.path if by == "variable" else info.layer for info in log.variable_infos))


def detached(log: Log, by: str = "variable") -> list[str]:
    """Names of the variables, or layers, that never had a gradient though an optimizer was given them."""
    table = log.variables()
    table = table[table["optimizer"].notna()]
    alone = table.groupby(by, sort=False)["detached"].all()
    return list(alone.index[alone.to_numpy(bool)])


def summed(log: Log, segment: Segment, table: npt.NDArray) -> npt.NDArray:
    """Sums a table `[steps, variables]` over the variables of each layer.  # [steps, layers]."""
    members = summary.layers(log, segment).values()
    return np.stack([table[:, columns].sum(axis=1) for columns in members], axis=1)


def _stride(log: Log, steps: npt.NDArray[np.int64]) -> int:
    """How many steps there are from one call of an optimizer to its next, for the rarest one."""
    calls: dict[str, list[npt.NDArray]] = {}
    for segment in log.segments:
        calls.setdefault(segment.optimizer, []).append(np.searchsorted(steps, segment.steps["step"]))
    gaps = [np.diff(np.sort(np.concatenate(places))) for places in calls.values()]
    return max([1, *(int(np.ceil(np.median(gap))) for gap in gaps if len(gap))])


def _blocks(
    log: Log, quantity: Quantity, names: tuple[str, ...], by: str
) -> Iterator[tuple[list[int], npt.NDArray, npt.NDArray, npt.NDArray]]:
    """For each segment the columns it fills, its values, where they come from NaN or Inf, and its steps."""
    place = {name: column for column, name in enumerate(names)}
    for segment in log.segments:
        if not segment.num_steps or not segment.variables:
            continue
        values = quantity(log, segment)
        mask = summary.nonfinite(segment)
        bad = np.zeros((segment.num_steps, len(segment.variables)), bool) if mask is None else mask
        labels = [log.variable_infos[index].path for index in segment.variables]
        if by == "layer":
            labels, bad = list(summary.layers(log, segment)), summed(log, segment, bad) > 0
        yield [place[label] for label in labels], values, bad | np.isinf(values), segment.steps["step"]
