"""Rules about how a model is set up: the scale of its inputs and targets, and how it ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from gradwatch import summary
from gradwatch.log import Log
from gradwatch.records import Output, Segment
from gradwatch.rules.base import Finding, Rule, Severity, Skip
from gradwatch.rules.compared import UNSEEN, looks_of, span_of

_PROBABILITIES = ("categoricalcrossentropy", "sparsecategoricalcrossentropy", "binarycrossentropy")
_RANGES = {
    "sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "relu": (0.0, np.inf),
    "relu6": (0.0, 6.0),
    "softplus": (0.0, np.inf),
    "exponential": (0.0, np.inf),
    "elu": (-1.0, np.inf),
}
_DISTANCES = (
    "meansquarederror",
    "meanabsoluteerror",
    "huber",
    "logcosh",
    "meansquaredlogarithmicerror",
    "meanabsolutepercentageerror",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputScale(Rule):
    """Inputs or targets have a scale that explains the gradients.

    Inputs are reported when the median root mean square of what the first layer with a kernel multiplies is above
    `inputs`; targets when the largest is above `targets` in absolute value and the loss is a distance. Both only make
    training hard, so it is an info where the model learned: its loss ended below `learned` of that of a prediction that
    knows nothing, or, where that is not known, fell by nine tenths of itself; and else a warning.

    Args:
        inputs: Root mean square of the inputs above which they are reported.
        targets: Absolute value of the targets above which they are reported.
        learned: Loss, against that of a prediction that knows nothing, below which the model has learned.

    References:
        LeCun, Bottou, Orr and Müller, Efficient BackProp, 1998, section 4.3.
        Schoop, Huang and Hartmann, UMLAUT, CHI 2021 (inputs outside of [-1, 1]).
    """

    code: ClassVar[str] = "GW501"
    severity: ClassVar[Severity] = Severity.WARNING
    title: ClassVar[str] = "inputs or targets of a scale that explains the gradients"
    remedy: ClassVar[str] = (
        "Scale inputs, and the targets of a regression, to mean 0 and variance 1: a `keras.layers.Normalization` layer "
        "that is adapted to the training data, `Rescaling(1/255)` for pixels, or scikit-learn's `StandardScaler`."
    )
    precedence: ClassVar[int] = -5

    inputs: float = 30.0
    targets: float = 1e3
    learned: float = 0.1

    def check(self, log: Log) -> Iterator[Finding]:
        """Yields at most one finding; its value is the size of inputs or targets."""
        looks = looks_of(log, "input_rms", UNSEEN)
        first = next(iter(looks))
        size = float(np.median(looks[first].values[:20]))
        layer = log.variable_infos[first].layer
        ending = log.info.output
        target = _largest_target(ending)
        found, value, threshold, layers = [], 0.0, 0.0, []
        if size > self.inputs:
            found.append(f"the inputs of {layer} have a root mean square of {size:.3g}")
            value, threshold, layers = size, self.inputs, [layer]
        if target > self.targets and ending is not None and ending.loss_kind in _DISTANCES:
            found.append(f"the targets are up to {target:.3g} in size")
            value, threshold = (value, threshold) if value else (target, self.targets)
            layers.append(ending.layer)
        if not found:
            return
        learned = all(self._has_learned(log, segment) for segment in log.segments)
        yield self.finding(
            f"{' and '.join(found).capitalize()}, where about 1 is good: gradients, and the steps that can be taken, "
            "depend on that.",
            variables=[info.path for info in log.variable_infos if info.layer in layers],
            layers=layers,
            steps=(int(looks[first].steps[0]), int(looks[first].steps[-1])),
            value=value,
            threshold=threshold,
            severity=Severity.INFO if learned else Severity.WARNING,
        )

    def _has_learned(self, log: Log, segment: Segment) -> bool:
        left = summary.against_no_skill(log, segment)
        left = 1 - summary.gain(segment) if np.isnan(left) else left
        return segment.is_finite and bool(left < self.learned)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputActivation(Rule):
    """The last activation cannot fit the loss, or the targets.

    Reported are

    * a softmax over one unit, whose output is 1 whatever the model does; and a categorical cross-entropy over one unit,
      which is 0 whatever the model does;
    * a cross-entropy of probabilities (`from_logits=False`) after an activation that gives none: ReLU, tanh, or none at
      all; and one of logits after a ReLU, which gives no negative ones;
    * a distance (such as the mean squared error) to targets that the activation cannot reach, by more than `margin` of
      their range.

    A sigmoid before a categorical cross-entropy is an info: Keras 3 takes its logits, so that it does no harm.

    Args:
        margin: Share of the range of the targets that may be out of reach.

    References:
        Keras 3, `keras.losses` and `keras.activations`.
        Zhang et al., AUTOTRAINER, ICSE 2021 (improper activation).
    """

    code: ClassVar[str] = "GW502"
    severity: ClassVar[Severity] = Severity.ERROR
    title: ClassVar[str] = "the last activation cannot fit the loss or the targets"
    remedy: ClassVar[str] = (
        "For one of several classes end with softmax and a categorical cross-entropy; for yes or no end with one "
        "sigmoid unit and `binary_crossentropy`; for a number end without an activation. Or end without one, and give "
        "the cross-entropy `from_logits=True`."
    )
    precedence: ClassVar[int] = -6

    margin: float = 0.02

    def check(self, log: Log) -> Iterator[Finding]:
        """Yields at most one finding."""
        ending = log.info.output
        if ending is None:
            raise Skip("How the model ends is not known: it has several outputs, or a `train_step` of its own.")
        found = self._fault(ending)
        if found is not None:
            message, severity = found
            yield self.finding(
                message,
                variables=[info.path for info in log.variable_infos if info.layer == ending.layer],
                layers=[ending.layer] if ending.layer else [],
                steps=span_of(log.segments),
                severity=severity,
            )

    def _fault(self, ending: Output) -> tuple[str, Severity] | None:
        loss, activation, where = ending.loss_kind, ending.activation, f"Layer {ending.layer or 'the last one'}"
        if ending.num_units == 1 and activation == "softmax":
            return (
                f"{where} is a softmax over one unit: its output is 1 whatever the model does.",
                Severity.ERROR,
            )
        if ending.num_units == 1 and loss == "categoricalcrossentropy":
            return f"{where} has one unit: a categorical cross-entropy over one class is always 0.", Severity.ERROR
        if not activation or activation in ("exponential", "softplus"):
            return None  # what comes after the last kernel may be right
        if loss in _PROBABILITIES and not ending.from_logits and activation not in ("softmax", "sigmoid"):
            what = "no activation" if activation == "linear" else f"the activation {activation}"
            return f"{where} has {what}, but its loss, {ending.loss}, takes probabilities.", Severity.WARNING
        if loss in _PROBABILITIES and activation in ("relu", "relu6"):
            return f"{where} has the activation {activation}, so its logits are never negative.", Severity.WARNING
        if loss == "categoricalcrossentropy" and activation == "sigmoid":
            return (
                f"{where} is a sigmoid before a categorical cross-entropy. Keras 3 takes its logits, so training is "
                "not harmed, but the outputs do not add up to 1.",
                Severity.INFO,
            )
        return self._out_of_reach(ending, where) if loss in _DISTANCES else None

    def _out_of_reach(self, ending: Output, where: str) -> tuple[str, Severity] | None:
        if ending.activation not in _RANGES or ending.target_min is None or ending.target_max is None:
            return None
        low, high = _RANGES[ending.activation]
        slack = self.margin * (ending.target_max - ending.target_min)
        if ending.target_min >= low - slack and ending.target_max <= high + slack:
            return None
        reach = f"{low:g} to {high:g}" if np.isfinite(high) else f"{low:g} and above"
        return (
            f"{where} ends in {ending.activation}, which reaches {reach}; the targets go from "
            f"{ending.target_min:.3g} to {ending.target_max:.3g}.",
            Severity.WARNING,
        )


def _largest_target(ending: Output | None) -> float:
    if ending is None or ending.target_min is None or ending.target_max is None:
        return 0.0
    return max(abs(ending.target_min), abs(ending.target_max))
