"""Each peer has a hit and a miss for each of its verdicts, on recordings made by hand."""

import math

import pytest

from benchmarks.faults.peers import PEERS
from benchmarks.faults.peers.evidence import Epoch, LayerLook, Look, Recording, VariableLook

PATHS = ("net/first", "net/second", "net/output")
NAN = float("nan")


def recording(num_epochs=20, looks_in_epoch=1, variable=None, layer=None, epoch=None, look=None, **facts):
    """A healthy training; functions may give other numbers for a variable, a layer, an epoch or a look."""

    def changed(change, defaults, *where):
        return {**defaults, **((change and change(*where)) or {})}

    healthy = {"mean_abs": 1e-2, "norm": 0.1, "zeros": 0.1, "weight_norm": 1.0, "update_norm": 1e-2, "size": 100}
    fine = {"activation": "relu", "negative_or_zero": 0.4, "zeros": 0.4, "dead_units": 0.0, "beyond_five": 0.0}
    epochs, looks = [], []
    for number in range(num_epochs):
        progress = number / num_epochs
        numbers = {"loss": 1.0 - 0.9 * progress, "accuracy": 0.5 + 0.5 * progress, "learning_rate": 0.01}
        epochs.append(Epoch(**changed(epoch, numbers, number)))
        for at_epoch_end in (*[False] * looks_in_epoch, True):
            time = len(looks)
            seen = {"output_min": 0.0, "output_max": 1.0, "row_sums_off": 0.0, "loss": numbers["loss"]}
            variables, layers = {}, {}
            for depth, path in enumerate(PATHS):
                here = {**healthy, "mean_abs": 1e-2 * (1 + time / 100), "weight_mean": time / 10, "layer": path}
                variables[f"{path}/kernel"] = VariableLook(**changed(variable, here, depth, number))
                own = {**fine, "mean": 0.5 + time / 100, "activation": "softmax" if path == PATHS[-1] else "relu"}
                layers[path] = LayerLook(**changed(layer, own, depth, number))
            step = 10 * time + 1
            where = {"step": step, "epoch": number, "at_epoch_end": at_epoch_end}
            looks.append(Look(**where, variables=variables, layers=layers, **changed(look, seen, number)))
    known = {
        "input_min": 0.0,
        "input_max": 1.0,
        "target_min": 0.0,
        "target_max": 1.0,
        "num_classes": 3,
        "loss": "categorical_crossentropy",
        "last_layer": PATHS[-1],
        "last_activation": "softmax",
        "num_epochs": num_epochs,
    }
    return Recording(epochs=epochs, looks=looks, **{**known, **facts})


def first_layer(**numbers):
    return lambda depth, number: numbers if depth == 0 else {}


def every(**numbers):
    return lambda *where: numbers


def poor(number):
    return {"accuracy": 0.3 + 0.02 * (number % 2)}


def relu_to_tanh(**numbers):
    return lambda depth, number: {"activation": "tanh", **numbers} if depth == 0 else {}


REGRESSION = {"loss": "mean_squared_error", "num_classes": None}

HITS = [
    ("AUTOTRAINER", "exploding gradient: NaN or Inf", {"variable": first_layer(finite=False)}),
    ("AUTOTRAINER", "exploding gradient: NaN or Inf", {"epoch": lambda n: {"loss": NAN} if n == 3 else {}}),
    ("AUTOTRAINER", "vanishing gradient", {"variable": first_layer(norm=1e-5), "epoch": poor}),
    ("AUTOTRAINER", "exploding gradient", {"variable": first_layer(norm=8.0), "epoch": poor}),
    ("AUTOTRAINER", "dying ReLU", {"variable": every(zeros=0.8), "epoch": poor}),
    ("AUTOTRAINER", "improper activation", {"look": every(row_sums_off=0.5), "epoch": poor}),
    ("AUTOTRAINER", "slow convergence", {"epoch": every(accuracy=0.4)}),
    ("AUTOTRAINER", "oscillating loss", {"epoch": lambda n: {"accuracy": 0.9 - 0.2 * (n % 2)}}),
    ("SageMaker Debugger", "DeadRelu", {"layer": first_layer(dead_units=0.6)}),
    ("SageMaker Debugger", "ExplodingTensor", {"variable": first_layer(weights_finite=False)}),
    ("SageMaker Debugger", "SaturatedActivation", {"layer": relu_to_tanh(saturated_units=0.6)}),
    ("SageMaker Debugger", "VanishingGradient", {"variable": first_layer(mean_abs=1e-8)}),
    ("SageMaker Debugger", "WeightUpdateRatio: large", {"variable": first_layer(update_norm=11.0)}),
    ("SageMaker Debugger", "WeightUpdateRatio: small", {"variable": first_layer(update_norm=1e-9)}),
    ("SageMaker Debugger", "AllZero", {"variable": first_layer(mean_abs=1.0, zeros=1.0)}),
    ("SageMaker Debugger", "LossNotDecreasing", {"look": every(loss=1.0)}),
    ("SageMaker Debugger", "UnchangedTensor", {"variable": first_layer(unchanged=True)}),
    ("DeepDiagnosis", "out of range", {"last_activation": "relu"}),
    ("DeepDiagnosis", "out of range", {"last_activation": "relu", "target_min": -1.0, **REGRESSION}),
    ("DeepDiagnosis", "out of range", {"last_activation": "linear", "look": every(output_max=99.0), **REGRESSION}),
    ("DeepDiagnosis", "numerical error forward", {"layer": first_layer(finite=False)}),
    ("DeepDiagnosis", "numerical error forward: zero", {"layer": first_layer(mean=0.0)}),
    ("DeepDiagnosis", "dead node", {"layer": first_layer(negative_or_zero=0.75)}),
    ("DeepDiagnosis", "saturated activation", {"layer": relu_to_tanh(beyond_five=0.6)}),
    ("DeepDiagnosis", "unchanged weight: layer output", {"layer": first_layer(mean=0.5)}),
    ("DeepDiagnosis", "invalid loss", {"epoch": every(loss=math.inf)}),
    ("DeepDiagnosis", "loss not decreasing", {"epoch": every(loss=0.5)}),
    ("DeepDiagnosis", "invalid accuracy", {"epoch": every(accuracy=0.0)}),
    ("DeepDiagnosis", "accuracy not increasing", {"epoch": every(accuracy=0.4)}),
    ("DeepDiagnosis", "numerical error backward", {"variable": first_layer(finite=False)}),
    ("DeepDiagnosis", "vanishing gradient", {"variable": first_layer(mean_abs=1e-8)}),
    ("TheDeepChecker", "unexpected initial loss", {"look": lambda n: {"loss": 9.0 - n}}),
    ("TheDeepChecker", "NaN loss", {"look": every(loss=NAN)}),
    ("TheDeepChecker", "NaN gradient", {"variable": first_layer(finite=False)}),
    ("TheDeepChecker", "NaN weight", {"variable": first_layer(weights_finite=False)}),
    ("TheDeepChecker", "vanishing gradient", {"variable": first_layer(mean_abs=1e-7)}),
    ("TheDeepChecker", "exploding gradient", {"variable": first_layer(mean_abs=1e7)}),
    ("TheDeepChecker", "gradient decays from layer to layer", {"variable": first_layer(mean_abs=1e-3)}),
    ("TheDeepChecker", "gradient grows from layer to layer", {"variable": first_layer(mean_abs=1.0)}),
    ("TheDeepChecker", "slow updates", {"variable": first_layer(update_norm=1e-5)}),
    ("TheDeepChecker", "fast updates", {"variable": first_layer(update_norm=0.5)}),
    ("TheDeepChecker", "stagnating loss", {"look": every(loss=1.0)}),
    ("TheDeepChecker", "diverging loss", {"look": lambda n: {"loss": 1.0 + 0.1 * n}}),
    ("DeepLocalize", "error forward: NaN or Inf", {"layer": first_layer(mean=NAN)}),
    ("DeepLocalize", "error forward: zero", {"layer": first_layer(mean=0.0)}),
    ("DeepLocalize", "error forward: unchanged", {"layer": first_layer(mean=0.5)}),
    ("DeepLocalize", "error in the loss", {"look": every(loss=NAN)}),
    ("DeepLocalize", "error backward: NaN or Inf", {"variable": first_layer(finite=False)}),
    ("DeepLocalize", "error backward: zero", {"variable": first_layer(mean_abs=0.0)}),
    ("DeepLocalize", "error backward: unchanged", {"variable": first_layer(mean_abs=1e-3)}),
    ("DeepLocalize", "error in weights: NaN or Inf", {"variable": first_layer(weights_finite=False)}),
    ("DeepLocalize", "error in weights: unchanged", {"variable": first_layer(weight_mean=0.5)}),
    ("UMLAUT", "input not normalized", {"input_max": 255.0}),
    ("UMLAUT", "NaN in the loss", {"epoch": every(loss=NAN)}),
    ("UMLAUT", "no softmax before the loss", {"last_activation": "relu"}),
    ("UMLAUT", "last layer of a regression is not linear", {"last_activation": "relu", **REGRESSION}),
    ("UMLAUT", "learning rate is high", {"epoch": every(learning_rate=0.02)}),
    ("UMLAUT", "learning rate is low", {"epoch": every(learning_rate=1e-8)}),
]

MISSES = [
    ("AUTOTRAINER", {"variable": first_layer(norm=1e-5)}),  # the accuracy is fine
    ("AUTOTRAINER", {"variable": first_layer(norm=1e-5), "epoch": every(accuracy=None)}),
    ("AUTOTRAINER", {"epoch": lambda n: {"accuracy": 0.9 - 0.02 * (n % 2)}}),
    ("SageMaker Debugger", {"layer": first_layer(dead_units=0.4), "variable": first_layer(mean_abs=1e-6)}),
    ("SageMaker Debugger", {"variable": first_layer(weight_norm=0.0, update_norm=1.0)}),
    ("DeepDiagnosis", {"layer": first_layer(negative_or_zero=0.6), "variable": first_layer(mean_abs=1e-6)}),
    ("DeepDiagnosis", {"last_activation": "linear", "from_logits": True}),
    ("TheDeepChecker", {"variable": lambda depth, n: {"mean_abs": 1e-3} if depth == 0 and n % 2 else {}}),
    ("TheDeepChecker", {"variable": first_layer(update_norm=1e-3)}),
    ("DeepLocalize", {"variable": first_layer(has_grad=False, mean_abs=NAN)}),
    ("UMLAUT", {"last_activation": "linear", **REGRESSION}),
    ("UMLAUT", {"last_activation": "linear", "from_logits": True}),
]


@pytest.mark.parametrize(("name", "said", "changes"), HITS, ids=lambda value: value if isinstance(value, str) else "")
def test_hit(name, said, changes):
    judgement = PEERS[name](recording(**changes))
    assert judgement.verdicts[0].said == said
    assert judgement.verdicts[0].rules


@pytest.mark.parametrize(("name", "changes"), MISSES, ids=lambda value: value if isinstance(value, str) else "")
def test_miss(name, changes):
    changes.setdefault("epoch", lambda number: {"accuracy": 0.7 + 0.015 * number})
    assert PEERS[name](recording(**changes)).verdicts == ()


@pytest.mark.parametrize("name", PEERS)
def test_healthy(name):
    judgement = PEERS[name](recording())
    assert judgement.verdicts == ()
    assert judgement.not_judged == ()


@pytest.mark.parametrize("name", PEERS)
def test_what_was_not_seen_is_not_judged(name):
    judgement = PEERS[name](Recording(not_seen=["data: a generator"]))
    assert judgement.verdicts == ()
    assert "data: a generator" in judgement.not_judged
    assert any("never looked at" in reason for reason in judgement.not_judged)


@pytest.mark.parametrize("name", ["SageMaker Debugger", "DeepDiagnosis", "TheDeepChecker", "DeepLocalize"])
def test_layer_is_named(name):
    verdict = PEERS[name](recording(variable=first_layer(mean_abs=0.0, zeros=1.0))).verdicts[0]
    assert verdict.layers == (PATHS[0],)
    assert "ZeroGradient" in verdict.rules


def test_deepdiagnosis_recommends_a_fix():
    bad = {"layer": first_layer(finite=False)}
    judge = PEERS["DeepDiagnosis"]
    assert judge(recording(**bad, input_max=9.0)).verdicts[1].rules == ("InputScale",)
    assert judge(recording(**bad, epoch=every(learning_rate=10.0))).verdicts[1].rules == ("UpdateTooLarge",)
    assert judge(recording(**bad, epoch=every(learning_rate=1e-6))).verdicts[1].rules == ("UpdateTooSmall",)
    assert len(judge(recording(**bad)).verdicts) == 1


def test_same_words_are_one_verdict_with_all_layers():
    verdicts = PEERS["SageMaker Debugger"](recording(variable=every(mean_abs=1e-8))).verdicts
    assert [verdict.said for verdict in verdicts] == ["VanishingGradient"]
    assert verdicts[0].layers == PATHS


@pytest.mark.parametrize("name", PEERS)
def test_no_loss_among_the_metrics_is_no_bad_loss(name):
    assert PEERS[name](recording(epoch=every(loss=None))).verdicts == ()


@pytest.mark.parametrize("name", ["DeepDiagnosis", "DeepLocalize"])
def test_mean_of_a_softmax_never_changes(name):
    assert PEERS[name](recording(layer=first_layer(activation="softmax", mean=0.1))).verdicts == ()
