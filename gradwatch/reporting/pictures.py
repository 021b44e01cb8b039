"""The pictures of a report as SVG that takes its ink from the page, for light and dark."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.style
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from gradwatch import plots, summary
from gradwatch.log import Log
from gradwatch.plots import canvas
from gradwatch.plots.side_by_side import fill as fill_side_by_side

INK = "#010203"
"""A colour no figure uses: it becomes the page's text colour."""
MAX_ROWS = 40

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "figure.dpi": 100,
    "savefig.dpi": 130,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "hatch.color"), INK
    ),
}


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture of a report.

    Args:
        name: Name of the figure's function.
        title: What it shows, in a few words.
        caption: How to read it.
        svg: The picture; empty if it could not be drawn.
        problem: Why it could not be drawn; empty if it could.
    """

    name: str
    title: str
    caption: str
    svg: str = ""
    problem: str = ""


def draw(log: Log) -> tuple[Picture, ...]:
    """Draws the pictures of a log; one that fails says so in its place."""
    if not log.num_steps:
        return ()
    bad = any(mask is not None and mask.any() for mask in map(summary.nonfinite, log.segments))
    held = any(not segment.steps["applied"].all() for segment in log.segments)
    ratios = not canvas.absence(log, "update_norm", "weight_norm")
    chosen = [] if canvas.absence(log, "grad_norm") else ["norms", "heatmap", "depth_profile"]
    chosen += ["nonfinite"] if bad or held else []
    chosen += ["update_ratio"] if ratios else []
    return tuple(_of_one(log, name) for name in chosen)


def draw_both(a: Log, b: Log, names: Sequence[str]) -> Picture:
    """Draws two runs in one picture; if that fails, it says so.

    Args:
        a: The log of one run.
        b: The log of the other.
        names: What to call them.
    """
    return _picture("side_by_side", (10.0, 7.0), lambda figure: fill_side_by_side(figure, a, b, names))


TITLES = {
    "norms": "gradient norms over the steps",
    "heatmap": "gradient norms as colour, the model from top to bottom",
    "depth_profile": "gradient norm by depth",
    "nonfinite": "steps and layers with NaN or Inf",
    "update_ratio": "size of the updates against the weights",
    "side_by_side": "gradient norms of both runs, over the steps and by depth",
}

CAPTIONS = {
    "norms": "A line that falls steadily is a vanishing gradient, one that climbs or jumps by decades an exploding "
    "one; crosses at the upper edge are steps with NaN or Inf.",
    "heatmap": "The model runs from top to bottom: a picture that darkens upwards shows a gradient that vanishes on "
    "its way back to the input.",
    "depth_profile": "The gradient travels from right to left: a line that falls by decades towards the left is "
    "vanishing, one that climbs is exploding. The band is how much it varies over the steps.",
    "nonfinite": "The layers that turn bad first are the ones to look at; the numbers at the right count entries over "
    "the run.",
    "update_ratio": "Near 1e-3 is usual: lines far above the shaded strip say that the learning rate is too high, far "
    "below that it is too low.",
    "side_by_side": "Above, look for the step at which the lines part; below, for the layers that differ.",
}


def _of_one(log: Log, name: str) -> Picture:
    function: Callable[..., Axes] = getattr(plots, name)
    by = {"by": "layer"} if name == "heatmap" and len(log.variable_infos) > MAX_ROWS else {}
    return _picture(name, (10.0, _height(log, name)), lambda figure: function(log, figure.add_subplot(), **by))


def _picture(name: str, size: tuple[float, float], fill: Callable[[Figure], object]) -> Picture:
    try:
        return Picture(name, TITLES[name], CAPTIONS[name], svg=_svg(name, size, fill))
    except Exception as error:  # the words of a report are worth more than its pictures
        return Picture(name, TITLES[name], CAPTIONS[name], problem=f"{type(error).__name__}: {error}")


def _svg(name: str, size: tuple[float, float], fill: Callable[[Figure], object]) -> Markup:
    with matplotlib.style.context(["default", {**_STYLE, "svg.hashsalt": name}]):
        figure = Figure(figsize=size, layout="constrained")
        fill(figure)
        file = io.StringIO()
        FigureCanvasSVG(figure).print_svg(file, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return Markup(_inlined(file.getvalue(), TITLES[name]))


def _height(log: Log, name: str) -> float:
    """Height of the figure in inches."""
    layers = len({info.layer for info in log.variable_infos})
    if name == "heatmap":
        rows = len(log.variable_infos) if len(log.variable_infos) <= MAX_ROWS else layers
        return float(np.clip(2.2 + 0.2 * rows, 3.0, 8.0))
    return {"nonfinite": float(np.clip(1.8 + 0.25 * layers, 2.4, 5.0)), "depth_profile": 4.4}.get(name, 4.0)


def _inlined(svg: str, title: str) -> str:
    """The SVG as part of an HTML page: no prologue, no address, ids of its own, ink from the page."""
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", svg)
    svg = svg.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")
    svg = re.sub(r'<svg width="[^"]*" height="[^"]*"|<svg height="[^"]*"', "<svg", svg, count=1)
    svg = re.sub(r'( viewBox="[^"]*") width="[^"]*"', r"\1", svg, count=1)
    return svg.replace("<svg", f'<svg class="gw-picture" role="img" aria-label="{title}"', 1).strip()
