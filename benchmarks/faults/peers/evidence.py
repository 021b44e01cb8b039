"""What a witness has seen of a training as plain data, and what a published rule set says of it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

NAN = float("nan")


@dataclasses.dataclass(kw_only=True)
class VariableLook:
    """A trainable variable at one look: its gradient on the sample, its weights, and its last update.

    Args:
        layer: The path of its layer.
        is_kernel: Whether it has two axes or more.
        mean_abs: The mean absolute entry of its gradient; NaN where there is no gradient.
        norm: The L2 norm of its gradient.
        zeros: The share of entries of its gradient that are exactly zero.
        size: The number of its entries.
        has_grad: Whether it has a gradient at all.
        finite: Whether all entries of its gradient are finite.
        weight_norm: The L2 norm of its weights before the update.
        weight_mean: The mean of its weights.
        update_norm: The L2 norm of its change: over one batch, or, at the end of an epoch, over the epoch.
        unchanged: Whether that change is nothing to speak of: none of its entries by more than 1e-5 of itself.
        weights_finite: Whether all its weights are finite.
    """

    layer: str
    is_kernel: bool = True
    mean_abs: float = NAN
    norm: float = NAN
    zeros: float = NAN
    size: int = 1
    has_grad: bool = True
    finite: bool = True
    weight_norm: float = NAN
    weight_mean: float = NAN
    update_norm: float = NAN
    unchanged: bool = False
    weights_finite: bool = True

    @property
    def update_ratio(self) -> float:
        """The norm of the change against that of the weights; NaN for weights that are all zero."""
        return self.update_norm / self.weight_norm if self.weight_norm else NAN


@dataclasses.dataclass(kw_only=True)
class LayerLook:
    """What a layer with an activation gives for the sample.

    Args:
        activation: The name of its activation.
        mean: The mean of its outputs.
        zeros: The share of its outputs that are exactly zero.
        negative_or_zero: The share of its outputs that are not positive.
        dead_units: The share of its units that are zero on 99 % of the rows or more.
        beyond_five: The share of what goes into the activation that lies outside of -5..5; NaN where that is hidden.
        saturated_units: The share of units of a tanh or sigmoid whose input is beyond +-9.5, or -23 and 17, on 99 % of
            the rows or more; NaN for other activations, and where that is hidden.
        finite: Whether all its outputs are finite.
    """

    activation: str = "linear"
    mean: float = NAN
    zeros: float = NAN
    negative_or_zero: float = NAN
    dead_units: float = NAN
    beyond_five: float = NAN
    saturated_units: float = NAN
    finite: bool = True


@dataclasses.dataclass(kw_only=True)
class Look:
    """One look at a model while it trains.

    Args:
        step: The batches that were trained on before it.
        epoch: The epoch, 0-based.
        at_epoch_end: Whether it was taken at the end of an epoch, otherwise after a batch.
        loss: The loss on the sample.
        variables: The trainable variables by path, from the input to the output.
        layers: The layers with an activation by path, in the order in which they are called.
        output_min: The least output.
        output_max: The greatest output.
        row_sums_off: The largest distance of the sum of a row of outputs from 1.
    """

    step: int = 0
    epoch: int = 0
    at_epoch_end: bool = True
    loss: float = NAN
    variables: dict[str, VariableLook] = dataclasses.field(default_factory=dict)
    layers: dict[str, LayerLook] = dataclasses.field(default_factory=dict)
    output_min: float = NAN
    output_max: float = NAN
    row_sums_off: float = NAN

    @property
    def kernels(self) -> dict[str, VariableLook]:
        """The variables with two axes or more that have a gradient."""
        return {path: variable for path, variable in self.variables.items() if variable.is_kernel and variable.has_grad}

    @property
    def with_grad(self) -> dict[str, VariableLook]:
        """The variables that have a gradient."""
        return {path: variable for path, variable in self.variables.items() if variable.has_grad}


@dataclasses.dataclass(kw_only=True)
class Epoch:
    """What `fit` itself says of an epoch.

    Args:
        loss: The loss; `None` where there is no metric of that name.
        accuracy: The accuracy, in the metrics or else on the sample; `None` where there is none.
        learning_rate: The learning rate.
    """

    loss: float | None = None
    accuracy: float | None = None
    learning_rate: float = NAN


@dataclasses.dataclass(kw_only=True)
class Recording:
    """All that a witness has seen of a training.

    Args:
        input_min: The least input of the sample; NaN where inputs are no numbers.
        input_max: The greatest input.
        target_min: The least target.
        target_max: The greatest target.
        num_classes: The number of classes; `None` where it is no classification.
        loss: The name of the loss in snake case; empty where it has none.
        from_logits: Whether the loss takes logits.
        last_layer: The path of the last layer with an activation.
        last_activation: The name of that activation.
        num_epochs: The epochs that were to be trained.
        epochs: The epochs that were.
        looks: The looks, in order.
        not_seen: What could not be seen, and why.
    """

    input_min: float = NAN
    input_max: float = NAN
    target_min: float = NAN
    target_max: float = NAN
    num_classes: int | None = None
    loss: str = ""
    from_logits: bool = False
    last_layer: str = ""
    last_activation: str = ""
    num_epochs: int = 0
    epochs: list[Epoch] = dataclasses.field(default_factory=list)
    looks: list[Look] = dataclasses.field(default_factory=list)
    not_seen: list[str] = dataclasses.field(default_factory=list)

    @property
    def epoch_looks(self) -> list[Look]:
        """The looks at the ends of epochs."""
        return [look for look in self.looks if look.at_epoch_end]

    @property
    def batch_looks(self) -> list[Look]:
        """The looks after batches."""
        return [look for look in self.looks if not look.at_epoch_end]

    def to_json(self) -> str:
        """The recording as a text that `from_json` reads; numbers that are not finite are written as Python does."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Recording:
        """The recording that `to_json` wrote."""
        plain = json.loads(text)
        plain["epochs"] = [Epoch(**epoch) for epoch in plain["epochs"]]
        plain["looks"] = [_look(look) for look in plain["looks"]]
        return cls(**plain)


def _look(plain: dict[str, Any]) -> Look:
    variables = {path: VariableLook(**variable) for path, variable in plain["variables"].items()}
    layers = {path: LayerLook(**layer) for path, layer in plain["layers"].items()}
    return Look(**{**plain, "variables": variables, "layers": layers})


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a tool says is wrong.

    Args:
        said: In the words of that tool.
        rules: The names of our rules that say the same; where a tool does not tell apart what we do, all of them.
        layers: The paths of the layers that it names.
    """

    said: str
    rules: tuple[str, ...]
    layers: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Judgement:
    """All that a tool says of a training.

    Args:
        verdicts: What is wrong, the first-named first.
        not_judged: What it could not judge, and why.
    """

    verdicts: tuple[Verdict, ...] = ()
    not_judged: tuple[str, ...] = ()


Judge = Callable[[Recording], Judgement]
"""A published rule set: from what was seen to what it says."""

NONFINITE = ("NonFiniteGradient", "NonFiniteLoss", "NonFiniteWeight")
"""Our rules for what most tools call one thing, a numerical error."""


def vanished(variable: VariableLook) -> tuple[str, ...]:
    """Our rules for a gradient that is next to nothing: it may be nothing at all."""
    return ("ZeroGradient", "VanishingGradient") if variable.zeros == 1 else ("VanishingGradient",)


def is_bad(number: float | None) -> bool:
    """Whether it is a number, but NaN or infinite."""
    return number is not None and not math.isfinite(number)


def once_each(verdicts: Iterator[Verdict]) -> tuple[Verdict, ...]:
    """The verdicts without those whose words came before; their layers are added to the first one."""
    merged: dict[str, Verdict] = {}
    for verdict in verdicts:
        before = merged.get(verdict.said)
        if before is None:
            merged[verdict.said] = verdict
        else:
            rules = tuple(dict.fromkeys((*before.rules, *verdict.rules)))
            layers = tuple(dict.fromkeys((*before.layers, *verdict.layers)))
            merged[verdict.said] = Verdict(verdict.said, rules, layers)
    return tuple(merged.values())


def gaps(recording: Recording) -> tuple[str, ...]:
    """Why something of a recording could not be judged by any tool."""
    reasons = list(recording.not_seen)
    if not recording.looks:
        reasons.append("gradients and layers: the model was never looked at")
    elif not any(look.with_grad for look in recording.looks):
        reasons.append("gradients: there were none on the sample")
    return tuple(dict.fromkeys(reasons))
