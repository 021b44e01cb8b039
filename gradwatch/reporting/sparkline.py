"""A line as small as a word: a gradient norm over the steps, logarithmic."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from gradwatch.sparkline import levels, text

__all__ = ["svg", "text"]

WIDTH, HEIGHT = 96, 20


def svg(points: Sequence[float], bad: Sequence[bool]) -> Markup:
    """A line for HTML; breaks where nothing was recorded, a mark in the colour of errors where there was NaN or Inf.

    Args:
        points: The values; zeros lie on the lower edge, NaN is left out.
        bad: Where there was NaN or Inf.
    """
    if not any(bad) and not np.isfinite(points).any():
        return Markup("")
    left = np.linspace(1.5, WIDTH - 1.5, len(points)) if len(points) > 1 else np.array([WIDTH / 2])
    top = HEIGHT - 2 - (HEIGHT - 4) * levels(points)
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
