import numpy as np
import pytest

from gradwatch.plots import nonfinite
from gradwatch.testing import synthetic_log


def line(ax, label):
    (found,) = [line for line in ax.lines if line.get_label() == label]
    return found


@pytest.mark.filterwarnings("error")
def test_draws_any_log(any_log, ax):
    assert nonfinite(any_log, ax) is ax
    ax.figure.draw_without_rendering()


def test_says_so_if_there_are_none(ax):
    nonfinite(synthetic_log(), ax)
    assert ax.texts[0].get_text() == "No NaN and no Inf in any gradient\non 60 recorded steps."


def test_rows_steps_and_counts(ax):
    steps = np.arange(60)
    nonfinite(
        synthetic_log(nan_count={"head/kernel": 3 * (steps == 7)}, inf_count={"dense/bias": 2 * (steps >= 58)}), ax
    )
    assert [label.get_text() for label in ax.get_yticklabels()] == ["dense", "head"]
    assert line(ax, "NaN").get_xdata().tolist() == [7]
    assert np.round(line(ax, "NaN").get_ydata()).tolist() == [1]
    assert line(ax, "Inf").get_xdata().tolist() == [58, 59]
    assert [text.get_text() for text in ax.texts] == ["4 Inf", "3 NaN"]


def test_updates_that_were_not_applied_have_a_row(ax):
    nonfinite(synthetic_log(applied=np.arange(60) != 5), ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["update not applied"]
    assert ax.lines[0].get_xdata().tolist() == [5]


def test_without_counts_the_norms_tell(ax):
    norm = np.where(np.arange(60) == 3, np.nan, 1.0)
    nonfinite(synthetic_log(nan_count=None, inf_count=None, grad_norm={"head/bias": norm}), ax)
    assert line(ax, "NaN").get_xdata().tolist() == [3]


def test_many_layers_show_those_that_turn_bad_first(ax):
    variables = {f"layer_{i}/kernel": (2, 2) for i in range(300)}
    bad = np.arange(60)[:, None] >= np.arange(300)[None, ::-1] / 10
    nonfinite(synthetic_log(variables=variables, nan_count=bad), ax, max_rows=11)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == [f"layer_{i}" for i in range(289, 300)]
    assert "the first 11 of 300 layers" in ax.get_title(loc="left")
