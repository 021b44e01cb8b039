"""All figures of a log on one page."""

from __future__ import annotations

from matplotlib.figure import Figure

from gradwatch import summary
from gradwatch.log import Log
from gradwatch.plots import canvas
from gradwatch.plots.depth_profile import depth_profile
from gradwatch.plots.heatmap import heatmap
from gradwatch.plots.nonfinite import nonfinite
from gradwatch.plots.norms import norms
from gradwatch.plots.update_ratio import update_ratio
from gradwatch.rules.base import plural


def overview(log: Log, *, figure: Figure | None = None) -> Figure:
    """Draws the norms, the heatmap, the depth profile and the NaN and Inf of a log, and the update ratios if taken.

    Read the norms first, then find the layer in the heatmap below.

    Args:
        log: The log.
        figure: An empty figure to draw in, such as `plt.figure(figsize=(13, 13), layout="constrained")`. By default a
            new one that pyplot has closed already: it shows itself once, as the last value of a notebook cell, and is
            written with `figure.savefig`, but `plt.show` does not know it.

    Returns:
        The figure.
    """
    has_ratios = not canvas.absence(log, "update_norm", "weight_norm")
    has_bad = any(mask is not None and mask.any() for mask in map(summary.nonfinite, log.segments))
    heights = [4.0, 4.5, 4.2, 3.4 if has_bad else 1.4, *([4.0] if has_ratios else [])]  # inches
    if figure is None:
        figure = canvas.closed_figure(13.0, sum(heights))
    rows = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    norms(log, rows[0].add_subplot())
    heatmap(log, rows[1].add_subplot(), by="layer")
    depth_profile(log, rows[2].add_subplot())
    nonfinite(log, rows[3].add_subplot())
    if has_ratios:
        update_ratio(log, rows[4].add_subplot())
    name = f"{log.info.model}: " if log.info.model else ""
    counts = f"{plural(log.num_steps, 'recorded step')}, {plural(len(log.variable_infos), 'variable')}"
    figure.suptitle(f"{name}{counts}", x=0.01, ha="left", fontsize=13)
    return figure
