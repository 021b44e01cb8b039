import numpy as np
import pytest

from gradwatch.plots import update_ratio
from gradwatch.testing import synthetic_log


def lines(ax):
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


@pytest.mark.filterwarnings("error")
def test_draws_any_log(any_log, ax):
    assert update_ratio(any_log, ax) is ax
    ax.figure.draw_without_rendering()


def test_says_how_to_record_it(ax):
    update_ratio(synthetic_log(update_norm=None), ax)
    assert "statistics='full'" in ax.texts[0].get_text()


def test_lines_are_the_ratios(ax):
    update_ratio(synthetic_log(num_steps=3, weight_norm=2.0, update_norm={"head/bias": [2.0, 4.0, 6.0]}), ax)
    np.testing.assert_allclose(lines(ax)["head/bias"].get_ydata(), [1.0, 2.0, 3.0])
    assert ax.get_yscale() == "log"


def test_no_ratio_where_the_weights_are_zero(ax):
    update_ratio(synthetic_log(num_steps=3, update_norm=1e-3, weight_norm={"head/bias": [0.0, 1.0, 1.0]}), ax)
    assert np.isnan(lines(ax)["head/bias"].get_ydata()).tolist() == [True, False, False]
