import dataclasses

import numpy as np
import pytest

from gradwatch.log import Log
from gradwatch.records import Output
from gradwatch.rules import DeadUnits, SaturatedActivation, Skip
from gradwatch.testing import findings_of, synthetic_log

STEPS = np.arange(60)
SPARSE = np.where(STEPS % 5 == 0, 1.0, np.nan)


def with_activations(log, *, ending="linear", **activations):
    """The log with the activation after each layer, and the one at the end of the model."""
    infos = [dataclasses.replace(info, activation=activations.get(info.layer, "")) for info in log.variable_infos]
    output = dataclasses.replace(log.info.output, activation=ending)
    return Log(infos, log.segments, dataclasses.replace(log.info, output=output))


def dead_log(share, *, activation="relu", ending="linear", **values):
    head = values.pop("head", 0.0)
    zeros = {"dense/kernel": share, "head/kernel": head}
    log = synthetic_log(dead_fraction={"dense/bias": share, "head/bias": head}, zero_fraction=zeros, **values)
    return with_activations(log, dense=activation, ending=ending)


def test_most_of_a_layer_is_dead():
    (finding,) = findings_of(DeadUnits(), dead_log(np.where(STEPS < 30, 0.0, 0.75) * SPARSE))
    assert finding.layers == ("dense",)
    assert finding.variables == ("dense/kernel", "dense/bias")
    assert (finding.value, finding.threshold, finding.severity) == (0.75, 0.7, "warning")
    assert finding.message.startswith("75% of the units of dense got a gradient of exactly zero")


def test_some_dead_units_are_usual():
    assert findings_of(DeadUnits(), dead_log(0.69)) == ()


def test_units_that_wake_up_again_are_not_dead():
    assert findings_of(DeadUnits(), dead_log(np.where(STEPS < 40, 1.0, 0.0))) == ()


def test_one_dead_logit_is_enough():
    (finding,) = findings_of(DeadUnits(), dead_log(0.0, head=0.1, ending="relu"))
    assert finding.layers == ("head",)
    assert findings_of(DeadUnits(), dead_log(0.0, head=0.1, ending="softmax")) == ()


def test_the_dead_layer_nearest_to_the_output_comes_first():
    shapes = {f"layer_{i}/{name}": shape for i in range(3) for name, shape in [("kernel", (4, 4)), ("bias", (4,))]}
    log = synthetic_log(variables=shapes, dead_fraction={"layer_0/bias": 1.0, "layer_1/bias": 1.0}, zero_fraction=1.0)
    (finding,) = findings_of(DeadUnits(), with_activations(log, layer_0="relu", layer_1="relu"))
    assert finding.layers == ("layer_1", "layer_0")
    assert finding.message.startswith("All units of layer_1")


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "gelu"])
def test_without_a_relu_nothing_is_dead(activation):
    assert findings_of(DeadUnits(), dead_log(1.0, activation=activation)) == ()


def test_nothing_is_dead_where_the_loss_gives_no_gradient_at_all():
    assert findings_of(DeadUnits(), dead_log(1.0, head=1.0, ending="softmax")) == ()
    assert findings_of(DeadUnits(), dead_log(1.0, head=1.0, ending="relu"))


def test_dead_units_need_looks():
    with pytest.raises(Skip, match="not taken"):
        findings_of(DeadUnits(), synthetic_log(dead_fraction=None))
    with pytest.raises(Skip, match="often enough"):
        findings_of(DeadUnits(), synthetic_log(dead_fraction=np.full(60, np.nan)))


def test_flat_activations():
    log = with_activations(synthetic_log(saturation={"dense/kernel": 0.9}), dense="tanh")
    (finding,) = findings_of(SaturatedActivation(), log)
    assert (finding.layers, finding.value, finding.threshold) == (("dense",), 0.9, 0.5)
    assert "90% of the activations of dense sit where tanh is flat" in finding.message


def test_activations_that_are_seldom_flat():
    assert findings_of(SaturatedActivation(), synthetic_log(saturation={"dense/kernel": 0.4})) == ()
    assert findings_of(SaturatedActivation(), synthetic_log(saturation=np.where(STEPS < 30, 1.0, 0.1))) == ()


def test_a_flat_end_is_a_sure_prediction():
    assert findings_of(SaturatedActivation(), synthetic_log(saturation={"head/kernel": 1.0})) == ()


def test_flat_activations_need_looks():
    with pytest.raises(Skip, match="needs 5, the log has 4"):
        findings_of(SaturatedActivation(), synthetic_log(num_steps=4))
    unseen = np.full(60, np.nan)
    with pytest.raises(Skip, match="not seen under XLA"):
        findings_of(SaturatedActivation(), synthetic_log(saturation=unseen, input_rms=unseen))
    assert findings_of(SaturatedActivation(), synthetic_log(saturation=unseen)) == ()


def test_how_a_model_ends_may_be_unknown():
    log = synthetic_log(saturation={"head/kernel": 1.0})
    unknown = Log(log.variable_infos, log.segments, dataclasses.replace(log.info, output=None))
    assert findings_of(SaturatedActivation(), unknown)
    assert Output("head", "linear", 1) == Output("head", "linear", 1, "", False, None, None)


def test_a_bias_that_cancels_out_is_not_dead():
    log = synthetic_log(dead_fraction={"dense/bias": 1.0}, zero_fraction={"dense/bias": 1.0})
    assert findings_of(DeadUnits(), with_activations(log, dense="relu")) == ()
