import dataclasses

import numpy as np
import pytest

from gradwatch.log import Log
from gradwatch.records import Output
from gradwatch.rules import InputScale, OutputActivation, Skip
from gradwatch.testing import findings_of, synthetic_log

STEPS = np.arange(60)


def ending_log(
    activation="linear", loss="mean_squared_error", *, num_units=3, targets=(0.0, 1.0), logits=False, **rest
):
    log = synthetic_log(**rest)
    output = Output("head", activation, num_units, loss, logits, *targets)
    return Log(log.variable_infos, log.segments, dataclasses.replace(log.info, output=output))


def test_inputs_that_are_too_large():
    (finding,) = findings_of(InputScale(), synthetic_log(input_rms={"dense/kernel": 150.0}, loss=2.3))
    assert (finding.layers, finding.value, finding.threshold) == (("dense",), 150, 30)
    assert finding.severity == "warning"
    assert "The inputs of dense have a root mean square of 150" in finding.message


def test_inputs_by_which_the_model_learns_are_an_info():
    (finding,) = findings_of(InputScale(), synthetic_log(input_rms=150.0, loss=np.geomspace(1, 1e-3, 60)))
    assert finding.severity == "info"


def test_inputs_of_later_layers_are_not_inputs():
    assert findings_of(InputScale(), synthetic_log(input_rms={"head/kernel": 150.0})) == ()


def test_targets_that_are_too_large():
    (finding,) = findings_of(InputScale(), ending_log(targets=(-3.0, 9804.0)))
    assert (finding.layers, finding.value, finding.threshold) == (("head",), 9804, 1e3)
    assert (
        findings_of(InputScale(), ending_log("softmax", "sparse_categorical_crossentropy", targets=(0, 50_000))) == ()
    )


def test_both_are_one_finding():
    (finding,) = findings_of(InputScale(), ending_log(targets=(0.0, 1e8), input_rms={"dense/kernel": 58.0}))
    assert finding.layers == ("dense", "head")


def test_input_scale_needs_looks():
    with pytest.raises(Skip, match="not taken"):
        findings_of(InputScale(), synthetic_log(input_rms=None))


FAULTS = {
    "softmax over one unit": ending_log("softmax", num_units=1),
    "softmax over one unit, cross-entropy": ending_log("softmax", "binary_crossentropy", num_units=1),
    "one class": ending_log("sigmoid", "CategoricalCrossentropy", num_units=1),
    "relu before probabilities": ending_log("relu", "categorical_crossentropy"),
    "no activation before probabilities": ending_log("linear", "SparseCategoricalCrossentropy", targets=(0, 2)),
    "tanh before probabilities": ending_log("tanh", "binary_crossentropy", num_units=1),
    "relu before logits": ending_log("relu", "CategoricalCrossentropy", logits=True),
    "sigmoid for large targets": ending_log("sigmoid", targets=(0.0, 9.0)),
    "tanh for large targets": ending_log("tanh", "Huber", targets=(-5.0, 5.0)),
    "relu for negative targets": ending_log("relu", "mean_absolute_error", targets=(-1.0, 2.0)),
}
SOUND = {
    "softmax": ending_log("softmax", "categorical_crossentropy"),
    "sigmoid": ending_log("sigmoid", "binary_crossentropy", num_units=1),
    "an end of one's own": ending_log("", "SparseCategoricalCrossentropy", targets=(0, 2)),
    "logits": ending_log("linear", "SparseCategoricalCrossentropy", logits=True),
    "regression": ending_log(targets=(-9.0, 9.0)),
    "sigmoid for pixels": ending_log("sigmoid", targets=(0.0, 1.0)),
    "relu for counts": ending_log("relu", targets=(0.0, 100.0)),
    "relu for targets that are negative by rounding": ending_log("relu", targets=(-1e-4, 1.0)),
    "tanh, a loss of one's own": ending_log("tanh", "my_loss", targets=(-9.0, 9.0)),
    "targets that were not seen": ending_log("tanh", targets=(None, None)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_ends_that_do_not_fit(name):
    (finding,) = findings_of(OutputActivation(), FAULTS[name])
    assert finding.layers == ("head",)
    assert finding.severity == ("error" if "one " in name.replace("one's", "") else "warning")
    assert finding.message.startswith("Layer head ")


@pytest.mark.parametrize("name", SOUND)
def test_ends_that_fit(name):
    assert findings_of(OutputActivation(), SOUND[name]) == ()


def test_a_sigmoid_for_several_classes_is_an_info():
    (finding,) = findings_of(OutputActivation(), ending_log("sigmoid", "categorical_crossentropy"))
    assert finding.severity == "info"


def test_an_unknown_end_is_skipped():
    log = synthetic_log()
    with pytest.raises(Skip, match="several outputs"):
        findings_of(
            OutputActivation(), Log(log.variable_infos, log.segments, dataclasses.replace(log.info, output=None))
        )
