import numpy as np
import pytest

from gradwatch.glance.history import History
from gradwatch.testing import merged_log, synthetic_log

VARIABLES = {"a/kernel": (2, 2), "a/bias": (2,), "b/kernel": (2, 2)}


def history(*logs):
    found = History()
    for log in logs:
        found.add(log)
    return found


def test_lines_against_the_log():
    norms = np.random.default_rng(0).lognormal(size=(40, 3))
    losses = np.linspace(3, -1, 40)
    found = history(synthetic_log(num_steps=40, variables=VARIABLES, grad_norm=norms, loss=losses))
    np.testing.assert_allclose(found.loss("adam").points, losses)
    np.testing.assert_allclose(found.norm("adam").points, np.sqrt((norms**2).sum(axis=1)))
    np.testing.assert_allclose(found.layer("a").points, np.hypot(norms[:, 0], norms[:, 1]))
    assert found.layer("b").last == pytest.approx(norms[-1, 2])
    assert found.loss("adam").last == -1
    assert (found.step, found.epoch, found.num_bad("a")) == (39, 0, 0)


def test_parts_give_what_the_whole_gives():
    log = synthetic_log(num_steps=500, variables=VARIABLES, loss=np.arange(500.0))
    half = [segment.take(slice(0, 300)) for segment in log.segments]
    rest = [segment.take(slice(300, None)) for segment in log.segments]
    whole, parts = history(log), history(*(type(log)(log.variable_infos, part) for part in (half, rest)))
    np.testing.assert_allclose(parts.loss("adam").points, whole.loss("adam").points)
    np.testing.assert_allclose(parts.layer("b").points, whole.layer("b").points)
    assert len(whole.loss("adam").points) <= 120


def test_nan_and_inf_are_marks_and_not_points():
    log = synthetic_log(num_steps=4, variables=VARIABLES, nan_count={"b/kernel": [0, 1, 1, 0]}, loss=[1, np.nan, 2, 3])
    found = history(log)
    assert found.layer("b").bad.tolist() == [False, True, True, False]
    assert np.isnan(found.layer("b").points[1:3]).all()
    assert not found.layer("a").bad.any()
    assert found.norm("adam").bad.tolist() == [False, True, True, False]
    assert found.loss("adam").bad.tolist() == [False, True, False, False]
    assert (found.num_bad("b"), found.num_bad("a")) == (2, 0)


def test_a_line_for_each_optimizer():
    first = synthetic_log(num_steps=5, variables={"d/kernel": (2, 2)}, optimizer="d", step=range(0, 10, 2), loss=1.0)
    second = synthetic_log(num_steps=5, variables={"g/kernel": (2, 2)}, optimizer="g", step=range(1, 10, 2), loss=2.0)
    found = history(merged_log(first, second))
    assert found.optimizers == ("d", "g")
    assert found.loss("d").points.tolist() == [1.0] * 5
    assert found.loss("g").points.tolist() == [2.0] * 5
    assert found.step == 9


def test_what_was_not_taken_is_missing():
    found = history(synthetic_log(num_steps=3, grad_norm=None, loss=None))
    assert found.norm("adam").last is None
    assert found.loss("adam").last is None
    assert np.isnan(found.loss("adam").points).all()
    assert not len(found.layer("nowhere").points)
    assert history(synthetic_log(num_steps=0)).step is None
