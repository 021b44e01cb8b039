"""A line as small as a word: a gradient norm over the steps, logarithmic."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from gradwatch.sparkline import MIN_DECADES, levels, range_of, text

__all__ = ["svg", "text"]

WIDTH, HEIGHT = 112, 22
MARGIN = 2


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
    top = HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * levels(points)
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
    start, decades = range_of(points)
    low = np.log10(span[0])
    total = max(np.log10(span[1]) - low, MIN_DECADES)
    bottom, room = HEIGHT - MARGIN, HEIGHT - 2 * MARGIN
    factor = decades / total
    shift = bottom * (1 - factor) - room * (start - low) / total
    return f"--k:{factor:.3g};--d:{shift:.1f}px"
