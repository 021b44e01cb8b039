"""The checks of TheDeepChecker.

Ben Braiek, Khomh: "Testing Feedforward Neural Networks Training Programs", ACM TOSEM 32(4), 2023.

It checks before training, and at each N-th batch; what is seen first is named first. Of its checks those are here that
judge magnitudes of gradients and updates and the course of the loss; those that need the model to be changed are not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from benchmarks.faults.peers.evidence import (
    NONFINITE,
    Judgement,
    Look,
    Recording,
    VariableLook,
    Verdict,
    gaps,
    is_bad,
    once_each,
    vanished,
)

VANISHING_MEAN, EXPLODING_MEAN = 1e-6, 1e6
DECAY, GROWTH = 0.5, 2.0
"""Of the mean absolute gradient from a layer to the one before it."""

CHECKS = 5
"""Checks in a row over which something has to last; also the window of the loss."""

LEAST_LOG_RATIO, GREATEST_LOG_RATIO = -4.0, -1.0
STAGNATION, DIVERGENCE = 0.05, 2.0
INITIAL_LOSS_OFF = 1.0
"""How far the first loss may be off that of equal odds, as a share of it."""


def judge(recording: Recording) -> Judgement:
    """What TheDeepChecker says of a training.

    Args:
        recording: What was seen of it.

    Returns:
        Its verdicts, the earliest first.
    """
    reasons = gaps(recording)
    if len(recording.batch_looks) < CHECKS:
        reasons += (f"what has to last: {len(recording.batch_looks)} of {CHECKS} checks",)
    return Judgement(once_each(_verdicts(recording)), reasons)


def _verdicts(recording: Recording) -> Iterator[Verdict]:
    looks = recording.batch_looks
    if looks and recording.num_classes and "categorical_crossentropy" in recording.loss:
        expected = math.log(recording.num_classes)
        if abs(looks[0].loss - expected) > INITIAL_LOSS_OFF * expected:
            yield Verdict("unexpected initial loss", ("OutputActivation", "InputScale"))
    for number, look in enumerate(looks):
        yield from _of_look(look)
        window = looks[max(0, number + 1 - CHECKS) : number + 1]
        if len(window) == CHECKS:
            yield from _of_window(window)
        best = min((before.loss for before in looks[: number + 1] if not math.isnan(before.loss)), default=math.nan)
        if best > 0 and look.loss >= DIVERGENCE * best:
            yield Verdict("diverging loss", ("UnstableLoss",))


def _of_look(look: Look) -> Iterator[Verdict]:
    if is_bad(look.loss):
        yield Verdict("NaN loss", NONFINITE)
    for variable in look.variables.values():
        if not variable.weights_finite:
            yield Verdict("NaN weight", NONFINITE, (variable.layer,))
        if not variable.finite:
            yield Verdict("NaN gradient", NONFINITE, (variable.layer,))
    for variable in look.kernels.values():
        if variable.mean_abs < VANISHING_MEAN:
            yield Verdict("vanishing gradient", vanished(variable), (variable.layer,))
        if variable.mean_abs > EXPLODING_MEAN:
            yield Verdict("exploding gradient", ("ExplodingGradient",), (variable.layer,))


def _of_window(window: list[Look]) -> Iterator[Verdict]:
    rates = [_growth(list(look.kernels.values())) for look in window]
    if all(rate <= DECAY for rate in rates):
        first = next(iter(window[-1].kernels.values()))
        yield Verdict("gradient decays from layer to layer", ("VanishingGradient",), (first.layer,))
    if all(rate >= GROWTH for rate in rates):
        first = next(iter(window[-1].kernels.values()))
        yield Verdict("gradient grows from layer to layer", ("ExplodingGradient",), (first.layer,))
    for path, variable in window[-1].kernels.items():
        seen = [look.variables[path].update_ratio for look in window if path in look.variables]
        logs = [math.log10(ratio) if ratio > 0 else -math.inf for ratio in seen if not math.isnan(ratio)]
        if len(logs) == CHECKS and max(logs) < LEAST_LOG_RATIO:
            yield Verdict("slow updates", ("UpdateTooSmall", "UnchangedVariable"), (variable.layer,))
        if len(logs) == CHECKS and min(logs) > GREATEST_LOG_RATIO:
            yield Verdict("fast updates", ("UpdateTooLarge",), (variable.layer,))
    first_loss, last_loss = window[0].loss, window[-1].loss
    if abs(first_loss - last_loss) < STAGNATION * abs(first_loss):
        yield Verdict("stagnating loss", ("StalledLoss",))


def _growth(kernels: list[VariableLook]) -> float:
    """The mean factor from the gradient of a layer to that of the one before it; NaN for less than two layers."""
    means = [kernel.mean_abs for kernel in kernels]
    if len(means) < 2 or means[-1] <= 0 or means[0] < 0 or not all(map(math.isfinite, means)):
        return math.nan
    return (means[0] / means[-1]) ** (1 / (len(means) - 1))
