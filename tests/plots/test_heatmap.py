import itertools

import numpy as np
import pytest

from gradwatch.plots import heatmap
from gradwatch.testing import synthetic_log


def cells(ax, which=0):
    """The painted cells of a mesh, NaN where none."""
    return np.ma.filled(ax.collections[which].get_array().astype(float), np.nan)


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()] if ax.get_legend() else []


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("by", ["variable", "layer"])
def test_draws_any_log(any_log, ax, by):
    assert heatmap(any_log, ax, by=by) is ax
    ax.figure.draw_without_rendering()


def test_cells_are_the_norms_one_row_a_variable_from_top_to_bottom(ax):
    heatmap(synthetic_log(num_steps=3, grad_norm={"dense/bias": [1.0, 2.0, 3.0]}), ax)
    assert cells(ax).shape == (4, 3)
    np.testing.assert_array_equal(cells(ax)[1], [1.0, 2.0, 3.0])
    assert [label.get_text() for label in ax.get_yticklabels()][:2] == ["dense/kernel", "dense/bias"]
    assert ax.yaxis_inverted()


def test_colour_is_logarithmic_with_units(ax):
    heatmap(synthetic_log(), ax)
    assert type(ax.collections[0].norm).__name__ == "LogNorm"
    assert "loss per unit of weight" in ax.figure.axes[-1].get_ylabel()


def test_nonfinite_zero_and_detached_are_marked(ax):
    bad = np.arange(60) == 7
    heatmap(
        synthetic_log(detached=["dense/kernel"], zero_fraction={"head/bias": 1.0}, nan_count={"head/kernel": bad}), ax
    )
    assert legend(ax) == ["NaN or Inf", "zero", "no gradient"]
    assert np.argwhere(cells(ax, 1) == 1).tolist() == [[2, 7]]
    assert set(np.argwhere(cells(ax, 2) == 1)[:, 0]) == {3}
    assert np.isnan(cells(ax)[0]).all()
    crosses = [line.get_xydata().tolist() for line in ax.lines if line.get_marker() == "x"]
    assert crosses == [[[7.5, 2.0]]]  # not by colour alone


def test_healthy_log_has_no_legend(ax):
    heatmap(synthetic_log(), ax)
    assert legend(ax) == []


def test_300_variables_have_few_labels(make_log, ax):
    heatmap(make_log("large"), ax)
    ax.figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in ax.get_yticklabels()]
    assert 10 < len(boxes) < 60
    assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))


def test_one_nan_survives_downsampling(ax):
    heatmap(synthetic_log(num_steps=20_000, nan_count={"head/bias": np.arange(20_000) == 12_345}), ax)
    assert cells(ax).shape[1] <= 400
    assert (cells(ax, 1) == 1).sum() == 1


def test_two_optimizers_leave_no_stripes(make_log, ax):
    heatmap(make_log("gan"), ax)
    assert np.isfinite(cells(ax)).all()
