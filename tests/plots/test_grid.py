import numpy as np

from gradwatch.plots import grid
from gradwatch.testing import synthetic_log


def test_without_binning_every_step_is_a_bin():
    norm = np.arange(1.0, 5.0)
    data = grid.make(
        synthetic_log(num_steps=4, grad_norm={"head/bias": norm}, step=[0, 10, 11, 20]), grid.norms("variable")
    )
    np.testing.assert_array_equal(data.first, [0, 10, 11, 20])
    np.testing.assert_array_equal(data.last, data.first)
    np.testing.assert_array_equal(data.high[:, 3], norm)
    np.testing.assert_array_equal(data.edges, [0, 10, 11, 20, 29])
    assert not data.binned


def test_bins_keep_extremes_and_count_nonfinite():
    norm = np.array([3.0, 1.0, 2.0, np.nan, 9.0, 8.0, 7.0])
    data = grid.make(synthetic_log(num_steps=7, grad_norm={"head/bias": norm}), grid.norms("variable"), max_bins=3)
    assert data.binned
    np.testing.assert_array_equal(data.first, [0, 3, 6])
    np.testing.assert_array_equal(data.last, [2, 5, 6])
    np.testing.assert_array_equal(data.high[:, 3], [3, 9, 7])
    np.testing.assert_array_equal(data.low[:, 3], [1, 8, 7])
    np.testing.assert_array_equal(data.recorded[:, 3], [3, 3, 1])


def test_nonfinite_is_told_by_the_counts():
    data = grid.make(synthetic_log(num_steps=3, nan_count={"head/bias": [0, 1, 0]}), grid.norms("layer"), by="layer")
    np.testing.assert_array_equal(data.nonfinite, [[0, 0], [0, 1], [0, 0]])
    assert data.names == ("dense", "head")
