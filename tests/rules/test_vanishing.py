import numpy as np
import pytest
from rules.deep import STEPS, deep_log

from gradwatch.rules import Skip, VanishingGradient
from gradwatch.testing import findings_of, merged_log, synthetic_log


def test_optimizer_with_too_few_steps_is_named_beside_a_finding():
    long = deep_log([1e-9] * 4 + [1e-2] * 4)
    short = synthetic_log(variables={"x/kernel": (2, 2)}, optimizer="short", num_steps=3)
    findings = VanishingGradient().check(merged_log(long, short))
    assert next(findings).layers[0] == "layer_3"
    with pytest.raises(Skip, match="optimizer 'short'"):
        next(findings)


def test_gradient_that_vanishes_with_depth():
    log = deep_log([1e-2 * 0.1 ** (7 - i) for i in range(8)])
    (finding,) = findings_of(VanishingGradient(), log)
    assert finding.layers == ("layer_2", "layer_1", "layer_0")
    assert finding.variables == ("layer_2/kernel", "layer_1/kernel", "layer_0/kernel")
    assert finding.value == pytest.approx(1e-9 / 1e-3)
    assert finding.threshold == 1e-3
    assert (finding.first_step, finding.last_step) == (0, 59)
    assert "layer_2, layer_1 and layer_0 is lost on the way back" in finding.message


def test_gradient_that_vanishes_in_every_layer_from_the_start():
    (finding,) = findings_of(VanishingGradient(), deep_log([1e-13] * 8, loss=1))
    assert len(finding.layers) == 8
    assert finding.threshold == 1e-8


def test_gradient_that_collapses_while_the_loss_is_high():
    log = deep_log([np.where(STEPS < 5, 1e-2, 1e-12)] * 8, loss=np.where(STEPS < 35, 1.0, 5.0))
    assert findings_of(VanishingGradient(), log)


def test_small_loss_explains_small_gradients():
    assert findings_of(VanishingGradient(), deep_log([1e-10] * 8, loss=1e-9)) == ()


def test_steps_with_nan_are_left_out_of_the_judgement():
    log = deep_log([np.where(STEPS < 50, 1e-9, np.nan)] * 3 + [1e-2] * 5)
    (finding,) = findings_of(VanishingGradient(), log)
    assert finding.last_step == 49


def test_a_loss_that_is_stalled_needs_less_of_a_difference():
    scales = [1e-5] * 3 + [3e-3] * 5
    assert findings_of(VanishingGradient(), deep_log(scales)) == ()
    (finding,) = findings_of(VanishingGradient(), deep_log(scales, loss=0.25))
    assert finding.layers == ("layer_2", "layer_1", "layer_0")
    assert finding.threshold == 5e-3


def test_what_a_model_learned_without_did_not_matter():
    scales = [1e-2 * 0.1 ** (7 - i) for i in range(8)]
    assert findings_of(VanishingGradient(), deep_log(scales, loss=np.geomspace(1, 1e-4, 60))) == ()
    assert findings_of(VanishingGradient(), deep_log(scales, loss=np.geomspace(1, 0.3, 60)))
