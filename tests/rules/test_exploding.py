import numpy as np
import pytest
from rules.deep import STEPS, deep_log

from gradwatch.rules import ExplodingGradient
from gradwatch.testing import findings_of


def test_gradient_that_grows_out_of_range():
    growing = np.where(STEPS < 40, 1e-2, 1e-2 * 3.0 ** (STEPS - 40.0))
    (finding,) = findings_of(ExplodingGradient(), deep_log([growing * 10, *[growing] * 7]))
    assert finding.layers[0] == "layer_0"
    assert len(finding.layers) == 8
    assert (finding.last_step, finding.threshold) == (59, 1e3)
    assert finding.value == pytest.approx(3.0**19)
    assert 40 < finding.first_step < 50


def test_short_growth_right_before_nan():
    scale = np.where(STEPS < 40, 1e-2, np.where(STEPS == 40, 1e5, np.nan))
    (finding,) = findings_of(ExplodingGradient(), deep_log([scale] * 8))
    assert (finding.first_step, finding.last_step) == (40, 40)


def test_steps_in_which_nothing_is_learned_are_no_measure():
    log = deep_log([np.where(STEPS < 40, 0, 10.0)] * 8, zero_fraction=0)
    assert findings_of(ExplodingGradient(), log) == ()


def test_layer_far_above_the_others():
    (finding,) = findings_of(ExplodingGradient(), deep_log([1e4] + [1e-2] * 7))
    assert finding.layers == ("layer_0",)
    assert "far larger than in other layers" in finding.message
    assert (finding.value, finding.threshold) == (pytest.approx(1e6), 100)


def test_huge_gradient_from_the_start():
    (finding,) = findings_of(ExplodingGradient(), deep_log([1e8] * 8))
    assert finding.threshold == 1e6


def test_bursts_that_are_no_single_spikes():
    bursts = np.where(STEPS % 10 == 5, 1e4, 1e-1)
    (finding,) = findings_of(ExplodingGradient(), deep_log([bursts] * 8))
    assert (finding.first_step, finding.last_step, finding.severity) == (5, 55, "warning")


def test_a_burst_after_which_most_layers_are_dead():
    scale = np.where(STEPS == 3, 1e5, np.where(STEPS < 3, 1.0, 0.0))
    (finding,) = findings_of(ExplodingGradient(), deep_log([scale] * 6 + [np.where(STEPS == 3, 1e5, 1.0)] * 2))
    assert finding.first_step == 3


def test_a_gradient_that_is_huge_at_first():
    (finding,) = findings_of(ExplodingGradient(), deep_log([np.geomspace(1e7, 3e6, 60)] * 8))
    assert finding.threshold == 1e6
    assert findings_of(ExplodingGradient(), deep_log([np.geomspace(1e5, 1e-3, 60)] * 8)) == ()


def test_growth_by_which_the_loss_falls_is_right():
    wakes = [np.geomspace(1e-4, 10, 60)] * 8
    assert findings_of(ExplodingGradient(), deep_log(wakes, loss=np.geomspace(1, 0.01, 60))) == ()
    assert findings_of(ExplodingGradient(), deep_log(wakes, loss=np.geomspace(1, 0.9, 60)))


def test_one_huge_step_before_nan_is_enough():
    (finding,) = findings_of(ExplodingGradient(), deep_log([np.where(STEPS < 1, 1e8, np.nan)] * 8))
    assert (finding.severity, finding.first_step, finding.threshold) == ("error", 0, 1e6)
    assert findings_of(ExplodingGradient(), deep_log([np.where(STEPS < 1, 1e-2, np.nan)] * 8)) == ()
