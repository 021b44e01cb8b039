import dataclasses

import numpy as np
import pytest

from gradwatch import diagnose
from gradwatch.log import Log
from gradwatch.rules import LossScaleCollapse, NonFiniteWeight, Skip
from gradwatch.testing import findings_of, synthetic_log

STEPS = np.arange(60)


def scaled_log(missed, **values):
    """A log under a loss scale with updates that were left out because of an overflow."""
    scale = 2.0 ** (15 - np.cumsum(missed))
    bad = np.where(missed, 1, 0)
    return synthetic_log(loss_scale=scale, overflow=missed, applied=~missed, inf_count=bad, **values)


def test_a_scale_that_keeps_falling():
    (finding,) = findings_of(LossScaleCollapse(), scaled_log(STEPS >= 20))
    assert (finding.value, finding.threshold, finding.severity) == (1.0, 0.5, "error")
    assert (finding.first_step, finding.last_step) == (20, 59)
    assert "100% of the last 30 updates" in finding.message


def test_a_scale_that_finds_its_level():
    assert findings_of(LossScaleCollapse(), scaled_log(STEPS < 12)) == ()
    assert findings_of(LossScaleCollapse(), scaled_log(STEPS % 10 == 3)) == ()
    assert findings_of(LossScaleCollapse(), synthetic_log()) == ()


def test_a_collapse_comes_before_the_gradients_it_makes():
    findings = diagnose(scaled_log(STEPS >= 20)).findings
    assert findings[0].rule == "LossScaleCollapse"


def test_a_short_run_under_a_scale_is_not_judged():
    with pytest.raises(Skip, match="needs 30 recorded steps, the log has 10"):
        findings_of(LossScaleCollapse(), synthetic_log(num_steps=10, loss_scale=1.0))
    with pytest.raises(Skip, match="No step"):
        findings_of(LossScaleCollapse(), synthetic_log(num_steps=0))


def test_weights_that_are_nan_by_themselves():
    norm = np.where(STEPS < 30, 1.0, np.nan)
    log = synthetic_log(weight_norm={"dense/kernel": norm})
    (finding,) = findings_of(NonFiniteWeight(), log)
    assert (finding.variables, finding.layers) == (("dense/kernel",), ("dense",))
    assert (finding.first_step, finding.last_step, finding.value) == (30, 59, 1)


def test_the_state_of_an_optimizer_at_the_end():
    log = synthetic_log()
    info = dataclasses.replace(log.info, nonfinite_variables=("adam/dense_kernel_velocity",))
    (finding,) = findings_of(NonFiniteWeight(), Log(log.variable_infos, log.segments, info))
    assert (finding.variables, finding.first_step) == (("adam/dense_kernel_velocity",), 59)


def test_weights_that_a_gradient_spoiled_are_its_matter():
    norm = np.where(STEPS < 30, 1.0, np.nan)
    log = synthetic_log(weight_norm={"dense/kernel": norm}, nan_count={"head/kernel": STEPS == 29})
    assert findings_of(NonFiniteWeight(), log) == ()
    seldom = np.where(STEPS % 7 == 0, 1.0, np.nan)
    assert findings_of(NonFiniteWeight(), synthetic_log(weight_norm=seldom, update_norm=seldom)) == ()
    with pytest.raises(Skip, match="No step"):
        findings_of(NonFiniteWeight(), synthetic_log(num_steps=0))
