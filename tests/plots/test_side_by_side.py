import numpy as np
from matplotlib import pyplot as plt

from gradwatch import plots, testing


def test_two_lines_in_each_part_and_a_name_for_each_run():
    a, b = testing.synthetic_log(), testing.synthetic_log(nan_count={"head/kernel": 1})
    figure = plots.side_by_side(a, b, names=("before", "after"))
    upper, lower = figure.axes
    for ax in (upper, lower):
        labels = [text.get_text() for text in ax.get_legend().get_texts()]
        assert labels[:2] == ["before", "after"]
    norms = a.steps()["global_norm"].to_numpy(float)
    np.testing.assert_allclose(upper.lines[0].get_ydata(), norms)
    layers = list(dict.fromkeys(info.layer for info in a.variable_infos))
    assert len(lower.lines[0].get_xdata()) == len(layers)
    assert not plt.get_fignums()


def test_logs_without_anything():
    empty = testing.synthetic_log(num_steps=0)
    figure = plots.side_by_side(empty, empty)
    figure.canvas.draw()
