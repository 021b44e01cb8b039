"""Pictures of a log: one function a figure, each takes a log and returns Matplotlib axes.

Nothing here calls `show`. Given `ax`, a function draws there and touches nothing else. Without it, it draws into the
current axes if these are still empty and into a new figure if not: two calls in a notebook cell make two pictures.
In a figure of several axes give `layout="constrained"`: names of layers and legends then find their room.
"""

from gradwatch.plots.depth_profile import depth_profile
from gradwatch.plots.heatmap import heatmap
from gradwatch.plots.nonfinite import nonfinite
from gradwatch.plots.norms import norms
from gradwatch.plots.overview import overview
from gradwatch.plots.side_by_side import side_by_side
from gradwatch.plots.update_ratio import update_ratio

__all__ = ["depth_profile", "heatmap", "nonfinite", "norms", "overview", "side_by_side", "update_ratio"]
