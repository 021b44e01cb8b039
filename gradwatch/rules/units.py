"""Rules about units: those that get no gradient any more, and activations that are flat."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from gradwatch import summary
from gradwatch.log import Log
from gradwatch.rules.base import Finding, Rule, Severity, Skip, listed
from gradwatch.rules.compared import UNSEEN, activations_of, last_step, looks_of

_RELUS = ("relu", "relu6")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeadUnits(Rule):
    """Units of a layer get a gradient of exactly zero on every batch: they are off, and nothing turns them on again.

    A unit is dead when its entry of the bias gradient (or, without a bias, its column of the kernel gradient) was zero
    at each look over the second half of the run, and at 10 looks at least. A layer is reported when the share of its
    dead units is `share` or more at the last `window` looks; and where ReLU ends the model, when a single unit is: its
    class, or its target, is never learned. A layer that is not followed by a ReLU is not reported, nor one of which the
    kernel gets a gradient though the bias gets none, nor any where already the last layer gets nothing, which is the
    matter of ZeroGradient. Where whole layers are dead, all before
    them are cut off too; the one nearest to the output comes first.

    Args:
        share: Share of dead units from which on a layer is reported.
        window: Number of last looks to judge.

    References:
        Lu et al., Dying ReLU and Initialization: Theory and Numerical Examples, CiCP 2020.
        Zhang et al., AUTOTRAINER, ICSE 2021 (70 % of the gradient; half of the units of a layer may be off for good in
        a healthy model, as where all inputs are positive).
    """

    code: ClassVar[str] = "GW104"
    severity: ClassVar[Severity] = Severity.WARNING
    title: ClassVar[str] = "units that get no gradient any more (dying ReLU)"
    remedy: ClassVar[str] = (
        "Lower the learning rate, use He initialization and a bias that is not negative, put a normalization layer "
        "before the activation, or use LeakyReLU, ELU or GELU; end the model without a ReLU."
    )
    precedence: ClassVar[int] = -1

    share: float = 0.7
    window: int = 5

    def check(self, log: Log) -> Iterator[Finding]:
        """Yields one finding; its value is the largest share of dead units of a layer."""
        looks = looks_of(log, "dead_fraction", "no layer with a kernel was looked at often enough")
        ending = log.info.output
        activations = activations_of(log)
        shares, dead = {}, {}
        for index, table in looks.items():
            layer = log.variable_infos[index].layer
            ends = ending is not None and ending.layer == layer
            unseen = "" if activations else "relu"  # eagerly no activation is seen, and otherwise each
            activation = ending.activation if ends and ending is not None else activations.get(layer, unseen)
            shares[layer] = float(np.median(table.values[-self.window :]))
            is_dead = shares[layer] >= self.share or (ends and shares[layer] > 0)
            if activation in _RELUS and is_dead and _kernel_zeros(log, layer, self.window) >= 0.9 * shares[layer]:
                dead[layer] = shares[layer]
        last = [*shares][-1]
        if not dead or (last not in dead and shares[last] == 1.0):
            return
        whole = [layer for layer, value in dead.items() if value == 1.0]
        rest = sorted((layer for layer in dead if layer not in whole), key=lambda layer: -dead[layer])
        order = [*reversed(whole), *rest]
        worst = dead[order[0]]
        variables = [info.path for layer in order for info in log.variable_infos if info.layer == layer]
        what = "All units" if worst == 1.0 else f"{worst:.0%} of the units"
        first = min(int(looks[index].steps[0]) for index in looks if log.variable_infos[index].layer in dead)
        yield self.finding(
            f"{what} of {order[0]} got a gradient of exactly zero at every step for long: their ReLU is off for all "
            f"rows, and they learn nothing any more{_others(order[1:])}.",
            variables=variables,
            layers=order,
            steps=(first, last_step(log)),
            value=max(dead.values()),
            threshold=self.share,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SaturatedActivation(Rule):
    """Most activations of a layer sit where sigmoid or tanh is flat, so next to no gradient passes through them.

    An activation counts as flat where its slope is below 1 % of the largest one: |x| > 6 for a sigmoid, > 3 for tanh.
    A hidden layer is reported when over the last `window` looks the median of the share of flat activations is above
    `share`. The layer nearest to the input comes first: what it feeds on saturates it.

    Args:
        share: Share of flat activations above which a layer is reported.
        window: Number of last looks to judge.
        min_looks: Number of looks to have first.

    References:
        Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks, AISTATS 2010.
        Wardat et al., DeepDiagnosis, ICSE 2022 (half of the activations).
    """

    code: ClassVar[str] = "GW105"
    severity: ClassVar[Severity] = Severity.WARNING
    title: ClassVar[str] = "activations sit on their flat parts"
    remedy: ClassVar[str] = (
        "Scale the inputs to mean 0 and variance 1, use Glorot initialization, or put a normalization layer before the "
        "activation; in hidden layers, use a ReLU-like activation."
    )

    share: float = 0.5
    window: int = 10
    min_looks: int = 5

    def check(self, log: Log) -> Iterator[Finding]:
        """Yields one finding; its value is the largest share."""
        looks = looks_of(log, "saturation", f"{UNSEEN}, and there may be a sigmoid or tanh", beside="input_rms")
        ending = log.info.output
        flat = {}
        for index, table in looks.items():
            layer = log.variable_infos[index].layer
            if len(table.values) < self.min_looks:
                raise Skip(
                    f"Too few looks at the activations: needs {self.min_looks}, the log has {len(table.values)}."
                )
            typical = float(np.median(table.values[-self.window :]))
            if typical > self.share and (ending is None or ending.layer != layer):
                flat[layer] = typical
        if flat:
            layers = list(flat)
            activation = activations_of(log).get(layers[0], "the activation")
            yield self.finding(
                f"{flat[layers[0]]:.0%} of the activations of {layers[0]} sit where {activation} is flat, so next to "
                f"no gradient passes through it{_others(layers[1:])}.",
                variables=[info.path for info in log.variable_infos if info.layer in flat],
                layers=layers,
                steps=(min(int(looks[i].steps[0]) for i in looks), last_step(log)),
                value=max(flat.values()),
                threshold=self.share,
            )


def _kernel_zeros(log: Log, layer: str, window: int) -> float:
    """Share of exact zeros in the gradient of the matrices of a layer at the last looks; 1 where it was not taken.

    A bias may get a gradient of zero for another reason, as that of a critic, which is added to what is subtracted.
    """
    shares = []
    for segment in log.segments:
        is_own = [log.variable_infos[index].layer == layer for index in segment.variables]
        columns = np.flatnonzero(np.array(is_own, bool) & summary.matrices_of(log, segment))
        table = summary.values(segment, "zero_fraction")[:, columns]
        known = table[~np.isnan(table).any(axis=1)][-window:]
        if known.size:
            shares.append(float(np.median(known)))
    return max(shares, default=1.0)


def _others(layers: list[str]) -> str:
    return f"; the same goes for {listed(layers)}" if layers else ""
