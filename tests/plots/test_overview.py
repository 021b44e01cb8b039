import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from gradwatch.plots import overview
from gradwatch.records import RunInfo
from gradwatch.testing import synthetic_log


def titles(figure):
    return [ax.get_title(loc="left") for ax in figure.axes if ax.get_title(loc="left")]


@pytest.mark.filterwarnings("error")
def test_draws_any_log_without_pyplot_knowing(any_log):
    figure = overview(any_log)
    assert isinstance(figure, Figure)
    assert plt.get_fignums() == []
    figure.draw_without_rendering()


def test_composes_the_figures(make_log):
    names = ["Gradient norms", "Gradient norm of each layer", "Gradient norm by depth", "NaN and Inf in gradients"]
    assert titles(overview(synthetic_log(update_norm=None))) == names
    assert titles(overview(make_log("full"))) == [*names, "Update-to-weight ratios"]


def test_says_which_run():
    figure = overview(synthetic_log(info=RunInfo(model="digits")))
    assert figure.get_suptitle() == "digits: 60 recorded steps, 4 variables"


def test_draws_in_a_given_figure():
    figure = Figure(figsize=(8, 8), layout="constrained")
    assert overview(synthetic_log(), figure=figure) is figure
