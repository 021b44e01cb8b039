"""The symptoms and fixes of DeepDiagnosis.

Wardat, Cruz, Le, Rajan: "DeepDiagnosis: Automatically Diagnosing Faults and Recommending Actionable Fixes in Deep
Learning Programs", ICSE 2022.

At the end of each epoch it looks at one batch: outputs of layers forward, then the metrics, then the gradients from the
last layer to the first. At the first symptom it stops the training, names the layer, and recommends a fix; the fix
counts here as a second verdict, where one of our rules says the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.faults.peers.evidence import NONFINITE, Judgement, Look, Recording, Verdict, gaps, is_bad, vanished

VANISHING_MEAN = 1e-7
DEAD_SHARE = 0.7
SATURATED_SHARE = 0.5
CHECKS_EACH, ACCURACY_EACH = 5, 20
"""Epochs from check to check of what takes several epochs to see."""

LEAST_UPDATE, GREATEST_UPDATE = 1e-5, 1e-1
OUTPUT_RANGE = 10.0
"""How many times the range of the labels a linear output may reach over."""

RANGES = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "relu": (0.0, float("inf")), "elu": (-1.0, float("inf"))}


def judge(recording: Recording) -> Judgement:
    """What DeepDiagnosis says of a training.

    Args:
        recording: What was seen of it.

    Returns:
        The first symptom, and the fix that it would recommend.
    """
    for number, look in enumerate(recording.epoch_looks):
        symptom = next(_symptoms(recording, look, number), None)
        if symptom is not None:
            return Judgement((symptom, *_fix(recording, look, symptom)), gaps(recording))
    return Judgement((), gaps(recording))


def _symptoms(recording: Recording, look: Look, number: int) -> Iterator[Verdict]:
    last_epoch = look.epoch + 1 == recording.num_epochs
    several = (look.epoch + 1) % CHECKS_EACH == 0
    for path, layer in look.layers.items():
        if path == recording.last_layer and number == 0 and _is_out_of_range(recording, look):
            yield Verdict("out of range", ("OutputActivation",), (path,))
        if not layer.finite:
            yield Verdict("numerical error forward", NONFINITE, (path,))
        if layer.mean == 0:
            yield Verdict("numerical error forward: zero", ("DeadUnits", "ZeroGradient"), (path,))
        if layer.activation in ("relu", "exponential") and last_epoch and layer.negative_or_zero >= DEAD_SHARE:
            yield Verdict("dead node", ("DeadUnits",), (path,))
        if several and layer.activation in ("sigmoid", "tanh") and layer.beyond_five > SATURATED_SHARE:
            yield Verdict("saturated activation", ("SaturatedActivation",), (path,))
    if several:
        yield from _unchanged_layers(recording, look)
    yield from _of_metrics(recording, look.epoch)
    for variable in reversed(look.kernels.values()):
        if not variable.finite:
            yield Verdict("numerical error backward", NONFINITE, (variable.layer,))
        if variable.mean_abs < VANISHING_MEAN:
            yield Verdict("vanishing gradient", vanished(variable), (variable.layer,))


def _unchanged_layers(recording: Recording, look: Look) -> Iterator[Verdict]:
    looks = [before for before in recording.epoch_looks if look.epoch - CHECKS_EACH < before.epoch <= look.epoch]
    for path in list(look.layers)[:-1]:
        means = {before.layers[path].mean for before in looks if path in before.layers}
        if len(looks) > 1 and len(means) == 1 and look.layers[path].activation != "softmax":
            yield Verdict("unchanged weight: layer output", ("UnchangedVariable", "StalledLoss"), (path,))


def _of_metrics(recording: Recording, epoch: int) -> Iterator[Verdict]:
    epochs = recording.epochs[: epoch + 1]
    if is_bad(epochs[-1].loss):
        yield Verdict("invalid loss", NONFINITE)
    if len(epochs) % CHECKS_EACH == 0 and len({e.loss for e in epochs[-CHECKS_EACH:]} - {None}) == 1:
        yield Verdict("loss not decreasing", ("StalledLoss",))
    accuracy = epochs[-1].accuracy
    if accuracy is not None and (is_bad(accuracy) or accuracy == 0):
        yield Verdict("invalid accuracy", ("StalledLoss",))
    if len(epochs) % ACCURACY_EACH == 0 and len({e.accuracy for e in epochs[-ACCURACY_EACH:]} - {None}) == 1:
        yield Verdict("accuracy not increasing", ("StalledLoss",))


def _is_out_of_range(recording: Recording, look: Look) -> bool:
    """Whether the last activation cannot give the labels, or a linear one is far beyond them."""
    activation = recording.last_activation
    low, high = recording.target_min, recording.target_max
    if activation in ("relu", "linear") and "categorical_crossentropy" in recording.loss:
        return not recording.from_logits
    if activation == "linear":
        return look.output_max - look.output_min > OUTPUT_RANGE * abs(high - low)
    least, greatest = RANGES.get(activation, (-float("inf"), float("inf")))
    return low < least or high > greatest


def _fix(recording: Recording, look: Look, symptom: Verdict) -> Iterator[Verdict]:
    if symptom.said == "out of range":
        return
    if symptom.said != "vanishing gradient" and (recording.input_min < -1 or recording.input_max > 1):
        yield Verdict("fix: normalize the data", ("InputScale",))
        return
    rate = recording.epochs[look.epoch].learning_rate
    steps = [rate * v.norm / v.weight_norm for v in look.with_grad.values() if v.weight_norm]
    if any(step > GREATEST_UPDATE for step in steps):
        yield Verdict("fix: learning rate", ("UpdateTooLarge",))
    elif any(step < LEAST_UPDATE for step in steps):
        yield Verdict("fix: learning rate", ("UpdateTooSmall",))
