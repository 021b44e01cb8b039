import itertools

import numpy as np
import pytest

from gradwatch.plots import depth_profile
from gradwatch.testing import synthetic_log


def line(ax, label):
    (found,) = [line for line in ax.lines if line.get_label() == label]
    return found


@pytest.mark.filterwarnings("error")
def test_draws_any_log(any_log, ax):
    assert depth_profile(any_log, ax) is ax
    ax.figure.draw_without_rendering()


def test_median_and_band_over_steps_in_model_order(ax):
    norm = np.arange(1.0, 12.0)
    log = synthetic_log(
        num_steps=11, grad_norm={"dense/kernel": norm, "dense/bias": 0.0, "head/kernel": 3.0, "head/bias": 4.0}
    )
    depth_profile(log, ax)
    np.testing.assert_allclose(line(ax, "median").get_ydata(), [6.0, 5.0])
    heights = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert heights.min() == pytest.approx(np.quantile(norm, 0.1))
    assert heights.max() == pytest.approx(np.quantile(norm, 0.9))
    assert [label.get_text() for label in ax.get_xticklabels()] == ["dense", "head"]
    assert ax.get_yscale() == "log"


def test_nonfinite_steps_are_left_out_and_marked(make_log, ax):
    depth_profile(make_log("some_nan"), ax)
    assert np.isfinite(line(ax, "median").get_ydata()).all()
    assert line(ax, "NaN or Inf").get_xdata().tolist() == [1]


def test_detached_layers_are_marked(make_log, ax):
    depth_profile(make_log("detached"), ax)
    assert line(ax, "no gradient").get_xdata().tolist() == [0]


def test_300_layers_have_labels_that_do_not_overlap(make_log, ax):
    depth_profile(make_log("large"), ax)
    ax.figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
    assert 10 < len(boxes) < 60
    assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))
