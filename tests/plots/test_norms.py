import numpy as np
import pytest

from gradwatch.plots import norms
from gradwatch.testing import synthetic_log


def lines(ax):
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("by", ["variable", "layer"])
def test_draws_any_log(any_log, ax, by):
    assert norms(any_log, ax, by=by) is ax
    ax.figure.draw_without_rendering()


def test_lines_are_the_norms(ax):
    log = synthetic_log(grad_norm={"head/bias": np.arange(1.0, 61.0)})
    norms(log, ax)
    assert list(lines(ax)) == ["dense/kernel", "dense/bias", "head/kernel", "head/bias"]
    np.testing.assert_array_equal(lines(ax)["head/bias"].get_xdata(), np.arange(60))
    np.testing.assert_array_equal(lines(ax)["head/bias"].get_ydata(), np.arange(1.0, 61.0))


def test_by_layer_combines_as_the_root_of_the_sum_of_squares(ax):
    norms(synthetic_log(grad_norm={"head/kernel": 3.0, "head/bias": 4.0}), ax, by="layer")
    np.testing.assert_allclose(lines(ax)["head"].get_ydata(), 5.0)


def test_axis_is_logarithmic_and_has_units(ax):
    norms(synthetic_log(), ax)
    assert ax.get_yscale() == "log"
    assert "loss per unit of weight" in ax.get_ylabel()
    assert ax.get_xlabel() == "step (optimizer calls)"


def test_zero_is_shown_at_a_tick_labelled_0(ax):
    norms(synthetic_log(zero_fraction={"head/bias": 1.0}), ax)
    (floor,) = set(lines(ax)["head/bias"].get_ydata())
    smallest = min(line.get_ydata().min() for name, line in lines(ax).items() if name != "head/bias")
    assert 0 < floor < smallest / 9
    ax.figure.draw_without_rendering()
    assert "0" in [tick.label1.get_text() for tick in ax.yaxis.get_major_ticks() if np.isclose(tick.get_loc(), floor)]


def test_nonfinite_steps_are_marked_and_break_the_line(make_log, ax):
    norms(make_log("some_nan"), ax)
    np.testing.assert_array_equal(lines(ax)["NaN or Inf"].get_xdata(), [7])
    assert np.flatnonzero(np.isnan(lines(ax)["head/kernel"].get_ydata())).tolist() == [7]


def test_detached_variables_are_named(make_log, ax):
    norms(make_log("detached"), ax)
    assert "no gradient: dense/kernel and 1 more" in lines(ax)


def test_300_variables_make_10_lines_and_a_band(make_log, ax):
    norms(make_log("large"), ax)
    assert len(lines(ax)) == 10
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "290 others: range and median" in labels
    assert "block_299/dense/kernel" in labels  # without the part of the path that all share


def test_a_spike_survives_downsampling(ax):
    norm = np.ones(20_000)
    norm[12_345] = 77.0
    norms(synthetic_log(num_steps=20_000, grad_norm={"head/bias": norm}), ax)
    line = lines(ax)["head/bias"]
    assert len(line.get_xdata()) <= 400
    assert line.get_ydata().max() == 77.0
    assert line.get_xdata()[line.get_ydata().argmax()] == pytest.approx(12_345, abs=60)


def test_gaps_of_a_gan_do_not_break_its_lines(make_log, ax):
    norms(make_log("gan"), ax)
    assert np.isfinite(lines(ax)["g/kernel"].get_ydata()).all()
    assert len(lines(ax)["g/kernel"].get_xdata()) == 10
    assert len(lines(ax)["d/kernel"].get_xdata()) == 20


def test_unknown_grouping(ax):
    with pytest.raises(ValueError, match=r"Received: by='block'. Expected 'variable' or 'layer'"):
        norms(synthetic_log(), ax, by="block")
