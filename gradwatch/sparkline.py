"""A row of numbers as a line as small as a word, logarithmic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

MIN_DECADES = 2.0
BLOCKS = "▁▂▃▄▅▆▇█"


def text(points: Sequence[float], bad: Sequence[bool], *, width: int = 16) -> str:
    """A line of block characters; ✗ where there was NaN or Inf, · where nothing was recorded.

    >>> text([1.0, 10.0, 100.0, float("nan")], [False, False, False, True])
    '▁▄█✗'
    """
    heights = levels(points)
    groups = np.array_split(np.arange(len(points)), min(width, len(points))) if len(points) else []
    return "".join(_block(heights[group], np.asarray(bad)[group]) for group in groups)


def range_of(points: Sequence[float]) -> tuple[float, float]:
    """Logarithm at the lower edge, and how many decades there are from there to the upper one.

    They are at least `MIN_DECADES`, so that noise looks small.
    """
    values = np.asarray(points, dtype=np.float64)
    positive = values[np.isfinite(values) & (values > 0)]
    if not len(positive):
        return 0.0, MIN_DECADES
    low, high = np.log10(positive.min()), np.log10(positive.max())
    spare = max(0.0, MIN_DECADES - (high - low)) / 2
    return float(low - spare), float(max(high - low, MIN_DECADES))


def levels(points: Sequence[float]) -> npt.NDArray[np.float64]:
    """The logarithms, from 0 at the lower edge to 1 at the upper; zeros lie on the lower edge."""
    values = np.asarray(points, dtype=np.float64)
    start, decades = range_of(points)
    logs = np.log10(np.where(np.isfinite(values) & (values > 0), values, np.nan))
    return np.where(values == 0, 0.0, (logs - start) / decades)


def _block(heights: npt.NDArray, bad: npt.NDArray) -> str:
    if bad.any():
        return "✗"
    if not np.isfinite(heights).any():
        return "·"
    return BLOCKS[int(np.nanmax(heights) * (len(BLOCKS) - 1))]
