import numpy as np
import pytest
from rules.deep import DEEP, HEALTHY, STEPS

from gradwatch.rules import ZeroGradient
from gradwatch.testing import findings_of, synthetic_log


@pytest.mark.parametrize("name", [name for name in HEALTHY if name != "perfect"])
def test_healthy_is_not_zero(name):
    assert findings_of(ZeroGradient(), HEALTHY[name]) == ()


def test_zero_in_the_layers_before_a_dead_one():
    dead = {path: np.where(STEPS < 20, 0.0, 1.0) for path in DEEP if path < "layer_3"}
    (finding,) = findings_of(ZeroGradient(), synthetic_log(variables=DEEP, zero_fraction=dead))
    assert finding.layers == ("layer_2", "layer_1", "layer_0")
    assert finding.variables[:2] == ("layer_2/kernel", "layer_2/bias")
    assert (finding.first_step, finding.last_step, finding.value, finding.threshold) == (20, 59, 40, 10)
    assert "6 variables in layer_2, layer_1 and layer_0" in finding.message


@pytest.mark.parametrize("streak", [9, 10])
def test_zero_needs_a_streak_up_to_the_end(streak):
    zeros = np.where(STEPS[::-1] < streak, 1.0, 0.0)
    assert len(findings_of(ZeroGradient(), synthetic_log(zero_fraction=zeros))) == (streak == 10)
    assert findings_of(ZeroGradient(), synthetic_log(zero_fraction=zeros[::-1].copy())) == ()


def test_scale_is_said_beside_a_shift_of_its_size():
    log = synthetic_log(
        variables={"norm/gamma": (3,), "norm/beta": (3,), "head/kernel": (3, 2)}, zero_fraction={"norm/gamma": 1.0}
    )
    (finding,) = findings_of(ZeroGradient(), log)
    assert finding.variables == ("norm/gamma",)


def test_units_that_get_the_same_gradient_stay_one():
    log = synthetic_log(unit_spread={"dense/bias": 1e-7, "head/bias": 0.5})
    (finding,) = findings_of(ZeroGradient(), log)
    assert (finding.layers, finding.value, finding.threshold) == (("dense",), 1e-7, 1e-5)
    assert finding.remedy.startswith("Let the weights start different")


def test_units_that_differ_at_times_are_several():
    log = synthetic_log(unit_spread={"dense/bias": np.where(STEPS == 30, 1e-2, 0.0)})
    assert findings_of(ZeroGradient(), log) == ()
    one = synthetic_log(variables={"a/kernel": (4, 1), "a/bias": (1,)}, unit_spread=0.0)
    assert findings_of(ZeroGradient(), one) == ()
