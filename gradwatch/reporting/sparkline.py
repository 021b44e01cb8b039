"""A line as small as a word: a gradient norm over the steps, logarithmic."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

WIDTH, HEIGHT = 112, 22
MARGIN = 2
MIN_DECADES = 2.0
BLOCKS = "▁▂▃▄▅▆▇█"


def svg(points: Sequence[float], bad: Sequence[bool], span: tuple[float, float] | None = None) -> Markup:
    """A line for HTML; breaks where nothing was recorded, a mark in the colour of errors where there was NaN or Inf.

    Each line is drawn on a scale of its own. With `span` it carries what a style needs to move it to one scale for all
    lines: the factor `--k` and the shift `--d`. Zeros lie on the lower edge in both.

    Args:
        points: The values; NaN is left out.
        bad: Where there was NaN or Inf.
        span: The smallest and the largest positive value of all lines.
    """
    if not any(bad) and not np.isfinite(points).any():
        return Markup("")
    left = np.linspace(1.5, WIDTH - 1.5, len(points)) if len(points) > 1 else np.array([WIDTH / 2])
    top = HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * _levels(points)
    zero = np.asarray(points) == 0
    marks = "".join(f"M{left[i]:.0f} 1v{HEIGHT - 2}" for i in np.flatnonzero(bad))
    return Markup(
        f'<svg class="gw-spark" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" aria-hidden="true"'
        + (f' style="{_to_one_scale(points, span)}">' if span else ">")
        + _path("gw-bad", marks)
        + _path("gw-zero", _line(left, np.where(zero, top, np.nan)))
        + _path("gw-norm", _line(left, np.where(zero, np.nan, top)))
        + "</svg>"
    )


def text(points: Sequence[float], bad: Sequence[bool], *, width: int = 16) -> str:
    """A line of block characters for Markdown; ✗ where there was NaN or Inf, · where nothing was recorded.

    >>> text([1.0, 10.0, 100.0, float("nan")], [False, False, False, True])
    '▁▄█✗'
    """
    levels = _levels(points)
    groups = np.array_split(np.arange(len(points)), min(width, len(points))) if len(points) else []
    return "".join(_block(levels[group], np.asarray(bad)[group]) for group in groups)


def _block(levels: npt.NDArray, bad: npt.NDArray) -> str:
    if bad.any():
        return "✗"
    if not np.isfinite(levels).any():
        return "·"
    return BLOCKS[int(np.nanmax(levels) * (len(BLOCKS) - 1))]


def _path(name: str, line: str) -> str:
    return f'<path class="{name}" d="{line}"/>' if line else ""


def _line(left: npt.NDArray, top: npt.NDArray) -> str:
    """A path through the points; one that stands alone is a dot."""
    lines = []
    for seen, run in itertools.groupby(range(len(top)), key=lambda i: bool(np.isfinite(top[i]))):
        if seen:
            corners = [f"{left[i]:.0f} {top[i]:.1f}" for i in run]
            lines.append("M" + "L".join(corners) + ("h.01" if len(corners) == 1 else ""))
    return "".join(lines)


def _to_one_scale(points: Sequence[float], span: tuple[float, float]) -> str:
    """The factor and the shift that take heights on the line's own scale to heights on that of `span`."""
    start, decades = _range(points)
    low = np.log10(span[0])
    total = max(np.log10(span[1]) - low, MIN_DECADES)
    bottom, room = HEIGHT - MARGIN, HEIGHT - 2 * MARGIN
    factor = decades / total
    shift = bottom * (1 - factor) - room * (start - low) / total
    return f"--k:{factor:.3g};--d:{shift:.1f}px"


def _range(points: Sequence[float]) -> tuple[float, float]:
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


def _levels(points: Sequence[float]) -> npt.NDArray[np.float64]:
    """The logarithms, from 0 at the lower edge to 1 at the upper; zeros lie on the lower edge."""
    values = np.asarray(points, dtype=np.float64)
    start, decades = _range(points)
    logs = np.log10(np.where(np.isfinite(values) & (values > 0), values, np.nan))
    return np.where(values == 0, 0.0, (logs - start) / decades)
