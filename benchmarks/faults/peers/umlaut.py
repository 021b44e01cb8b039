"""The heuristics of UMLAUT.

Schoop, Huang, Hartmann: "UMLAUT: Debugging Deep Learning Programs using Program Structure and Model Behavior", CHI
2021.

It looks at data, model and settings more than at gradients, and names settings, no layers.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.faults.peers.evidence import NONFINITE, Judgement, Recording, Verdict, gaps, is_bad, once_each

HIGH_RATE, LOW_RATE = 0.01, 1e-7
LOWEST_INPUT, HIGHEST_INPUT = -1.0, 1.0


def judge(recording: Recording) -> Judgement:
    """What UMLAUT says of a training.

    Args:
        recording: What was seen of it.

    Returns:
        Its verdicts, in its order.
    """
    return Judgement(once_each(_verdicts(recording)), gaps(recording))


def _verdicts(recording: Recording) -> Iterator[Verdict]:
    if recording.input_min < LOWEST_INPUT or recording.input_max > HIGHEST_INPUT:
        yield Verdict("input not normalized", ("InputScale",))
    if any(is_bad(epoch.loss) for epoch in recording.epochs):
        yield Verdict("NaN in the loss", NONFINITE)
    activation = recording.last_activation
    if activation:
        if "crossentropy" in recording.loss and not recording.from_logits and activation not in ("softmax", "sigmoid"):
            yield Verdict("no softmax before the loss", ("OutputActivation",))
        if recording.num_classes is None and recording.loss and activation != "linear":
            yield Verdict("last layer of a regression is not linear", ("OutputActivation",))
    rates = [epoch.learning_rate for epoch in recording.epochs]
    if any(rate > HIGH_RATE for rate in rates):
        yield Verdict("learning rate is high", ("UpdateTooLarge",))
    if any(rate < LOW_RATE for rate in rates):
        yield Verdict("learning rate is low", ("UpdateTooSmall",))
