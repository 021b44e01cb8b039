import pytest
from matplotlib import pyplot as plt

from gradwatch import plots
from gradwatch.testing import synthetic_log

FIGURES = [plots.norms, plots.heatmap, plots.depth_profile, plots.nonfinite, plots.update_ratio]


@pytest.mark.parametrize("figure", FIGURES)
def test_makes_a_figure_that_pyplot_shows(figure):
    ax = figure(synthetic_log())
    assert plt.get_fignums() == [ax.figure.number]


@pytest.mark.parametrize("figure", FIGURES)
def test_draws_in_the_current_axes_if_they_are_empty(figure):
    _, (left, right) = plt.subplots(1, 2)
    assert figure(synthetic_log()) is right
    plt.sca(left)
    assert figure(synthetic_log()) is left


@pytest.mark.parametrize("figure", FIGURES)
def test_two_calls_make_two_figures(figure):
    assert figure(synthetic_log()).figure is not figure(synthetic_log()).figure


def test_legend_is_inside_where_the_figure_makes_no_room():
    figure, ax = plt.subplots()
    plots.norms(synthetic_log(), ax)
    figure.draw_without_rendering()
    box = ax.get_legend().get_window_extent()
    assert ax.get_window_extent().x0 < box.x0 < box.x1 <= ax.get_window_extent().x1
