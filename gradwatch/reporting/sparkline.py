"""A line as small as a word: a gradient norm over the steps, logarithmic."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

WIDTH, HEIGHT = 96, 20
MIN_DECADES = 2.0
BLOCKS = "▁▂▃▄▅▆▇█"


def svg(points: Sequence[float], bad: Sequence[bool]) -> Markup:
    """A line for HTML; breaks where nothing was recorded, a mark in the colour of errors where there was NaN or Inf.

    Args:
        points: The values; zeros lie on the lower edge, NaN is left out.
        bad: Where there was NaN or Inf.
    """
    if not any(bad) and not np.isfinite(points).any():
        return Markup("")
    left = np.linspace(1.5, WIDTH - 1.5, len(points)) if len(points) > 1 else np.array([WIDTH / 2])
    top = HEIGHT - 2 - (HEIGHT - 4) * _levels(points)
    lines = []
    for seen, run in itertools.groupby(range(len(points)), key=lambda i: bool(np.isfinite(top[i]))):
        if seen:
            corners = [f"{left[i]:.0f} {top[i]:.1f}" for i in run]
            lines.append("M" + "L".join(corners) + ("h.01" if len(corners) == 1 else ""))
    marks = "".join(f"M{left[i]:.0f} 1v{HEIGHT - 2}" for i in np.flatnonzero(bad))
    return Markup(
        f'<svg class="gw-spark" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" aria-hidden="true">'
        + (f'<path class="gw-bad" d="{marks}"/>' if marks else "")
        + (f'<path d="{"".join(lines)}"/>' if lines else "")
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


def _levels(points: Sequence[float]) -> npt.NDArray[np.float64]:
    """The logarithms, from 0 at the lower edge to 1; the range is at least `MIN_DECADES`, so that noise looks small."""
    values = np.asarray(points, dtype=np.float64)
    positive = values[np.isfinite(values) & (values > 0)]
    if not len(positive):
        return np.where(values == 0, 0.0, np.nan)
    low, high = np.log10(positive.min()), np.log10(positive.max())
    spare = max(0.0, MIN_DECADES - (high - low)) / 2
    decades = np.log10(np.where(values > 0, values, np.nan))
    return np.where(values == 0, 0.0, (decades - low + spare) / max(high - low, MIN_DECADES))
