"""The errors of DeepLocalize.

Wardat, Le, Rajan: "DeepLocalize: Fault Localization for Deep Neural Networks", ICSE 2021.

After a batch it looks at the mean of each layer's output, gradient and weights: one that is NaN or Inf is an error at
once, one that is zero in half of the batches or does not change over several is one too. It stops at the first and
names the layer and the phase, not the fault.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from benchmarks.faults.peers.evidence import NONFINITE, Judgement, Look, Recording, Verdict, gaps, is_bad

ZERO_BATCHES = 0.5
UNCHANGED_LOOKS = 5
FEWEST_LOOKS = 2
"""Before so many looks nothing can be zero in half of them."""


def judge(recording: Recording) -> Judgement:
    """What DeepLocalize says of a training.

    Args:
        recording: What was seen of it.

    Returns:
        Its verdict, one at the most.
    """
    looks = recording.looks
    for number in range(len(looks)):
        verdict = next(_errors(looks[: number + 1]), None)
        if verdict is not None:
            return Judgement((verdict,), gaps(recording))
    return Judgement((), gaps(recording))


def _errors(looks: list[Look]) -> Iterator[Verdict]:
    now = looks[-1]
    for path, layer in now.layers.items():
        means = [look.layers[path].mean for look in looks if path in look.layers]
        if is_bad(layer.mean):
            yield Verdict("error forward: NaN or Inf", NONFINITE, (path,))
        if _is_often_zero(means):
            yield Verdict("error forward: zero", ("DeadUnits", "ZeroGradient"), (path,))
        if _is_constant(means) and layer.activation != "softmax":  # whose mean is the same whatever it is given
            yield Verdict("error forward: unchanged", ("StalledLoss", "UnchangedVariable"), (path,))
    if is_bad(now.loss):
        yield Verdict("error in the loss", NONFINITE)
    for path, variable in reversed(now.with_grad.items()):
        means = [look.variables[path].mean_abs for look in looks if path in look.variables]
        if not variable.finite:
            yield Verdict("error backward: NaN or Inf", NONFINITE, (variable.layer,))
        if _is_often_zero(means):
            yield Verdict("error backward: zero", ("ZeroGradient", "VanishingGradient"), (variable.layer,))
        if _is_constant(means):
            yield Verdict("error backward: unchanged", ("StalledLoss", "UnchangedVariable"), (variable.layer,))
    for path, variable in now.variables.items():
        if not variable.weights_finite:
            yield Verdict("error in weights: NaN or Inf", NONFINITE, (variable.layer,))
        if _is_constant([look.variables[path].weight_mean for look in looks if path in look.variables]):
            yield Verdict("error in weights: unchanged", ("UnchangedVariable", "StalledLoss"), (variable.layer,))


def _is_often_zero(means: list[float]) -> bool:
    zeros = sum(mean == 0 for mean in means)
    return len(means) >= FEWEST_LOOKS and zeros >= ZERO_BATCHES * len(means) and means[-1] == 0


def _is_constant(means: list[float]) -> bool:
    recent = means[-UNCHANGED_LOOKS:]
    return len(recent) == UNCHANGED_LOOKS and len(set(recent)) == 1 and not math.isnan(recent[0])
