"""The rules of SageMaker Debugger, with the defaults of their documentation.

Rauschmayr et al.: "Amazon SageMaker Debugger: A System for Real-Time Insights into Machine Learning Model Training",
MLSys 2021.

Its rules run side by side on what was saved of a step, so what is seen first is named first; of one step, in the order
of its documentation. Of the rules for deep learning these are here: DeadRelu, ExplodingTensor, SaturatedActivation,
VanishingGradient, WeightUpdateRatio, AllZero, LossNotDecreasing, UnchangedTensor.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.faults.peers.evidence import (
    NONFINITE,
    Judgement,
    Look,
    Recording,
    Verdict,
    gaps,
    is_bad,
    once_each,
    vanished,
)

VANISHING_MEAN = 1e-7
DEAD_LAYER, SATURATED_LAYER = 0.5, 0.5
"""Share of the units of a layer."""

SMALL_UPDATE, LARGE_UPDATE = 1e-8, 10.0
UNCHANGED_LOOKS = 3
LOSS_STEPS, LOSS_FALL = 10, 0.001
"""Steps over which the loss has to fall, and the share by which."""


def judge(recording: Recording) -> Judgement:
    """What SageMaker Debugger says of a training.

    Args:
        recording: What was seen of it.

    Returns:
        Its verdicts, the earliest first.
    """
    return Judgement(once_each(_verdicts(recording)), gaps(recording))


def _verdicts(recording: Recording) -> Iterator[Verdict]:
    batches = recording.batch_looks
    for number, look in enumerate(batches):
        yield from _of_look(look)
        earlier = [before for before in batches[:number] if look.step - before.step >= LOSS_STEPS]
        if earlier and look.loss > earlier[-1].loss * (1 - LOSS_FALL):
            yield Verdict("LossNotDecreasing", ("StalledLoss", "UnstableLoss"))
        yield from _unchanged(batches[max(0, number + 1 - UNCHANGED_LOOKS) : number + 1])


def _of_look(look: Look) -> Iterator[Verdict]:
    for path, layer in look.layers.items():
        if layer.activation == "relu" and layer.dead_units > DEAD_LAYER:
            yield Verdict("DeadRelu", ("DeadUnits",), (path,))
    for path, layer in look.layers.items():
        if not layer.finite:
            yield Verdict("ExplodingTensor", NONFINITE, (path,))
    for variable in look.variables.values():
        if not (variable.finite and variable.weights_finite):
            yield Verdict("ExplodingTensor", NONFINITE, (variable.layer,))
    if is_bad(look.loss):
        yield Verdict("ExplodingTensor", NONFINITE)
    for path, layer in look.layers.items():
        if layer.saturated_units > SATURATED_LAYER:
            yield Verdict("SaturatedActivation", ("SaturatedActivation",), (path,))
    for variable in look.with_grad.values():
        if variable.mean_abs < VANISHING_MEAN:
            yield Verdict("VanishingGradient", vanished(variable), (variable.layer,))
    for variable in look.variables.values():
        if variable.is_kernel and variable.update_ratio > LARGE_UPDATE:
            yield Verdict("WeightUpdateRatio: large", ("UpdateTooLarge",), (variable.layer,))
        if variable.is_kernel and variable.update_ratio < SMALL_UPDATE:
            yield Verdict("WeightUpdateRatio: small", ("UpdateTooSmall", "UnchangedVariable"), (variable.layer,))
    for variable in look.with_grad.values():
        if variable.zeros == 1:
            yield Verdict("AllZero", ("ZeroGradient",), (variable.layer,))


def _unchanged(looks: list[Look]) -> Iterator[Verdict]:
    if len(looks) < UNCHANGED_LOOKS:
        return
    for path, variable in looks[-1].kernels.items():
        if all(path in look.variables and look.variables[path].unchanged for look in looks):
            yield Verdict("UnchangedTensor", ("UnchangedVariable", "UpdateTooSmall"), (variable.layer,))
