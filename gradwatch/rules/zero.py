"""A gradient that is nothing at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import ClassVar

from gradwatch import summary
from gradwatch.log import Log
from gradwatch.records import VariableInfo
from gradwatch.rules.base import Finding, Rule, Severity, Skip, listed, plural
from gradwatch.rules.compared import last_step, looks_of, require_gradients, too_few


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZeroGradient(Rule):
    """Every entry of a variable's gradient is exactly zero, step after step.

    A variable is reported when its gradient was exactly zero in each of the last `min_steps` or more recorded steps
    that had it. Steps with a loss of exactly zero do not count: there is nothing left to learn in them. A variable is
    left out while a larger variable of its layer does get a gradient: such a bias (before a normalization, in the key
    projection of an attention) is right to get none. The layer nearest to the output comes first: there the gradient
    got lost.

    Where nothing is zero itself, the difference between the units of a layer may be: units that start as the same get
    the same gradient for ever, and stay one unit. A layer is reported when the spread of the bias gradient over its
    units, (largest - smallest) / largest size, was below `spread` at each look, and at `min_steps` looks at least.

    Args:
        min_steps: Number of successive recorded steps, or looks, that must be zero.
        spread: Spread up to which the gradients of units count as the same, for float32 rounds sums in any order.

    References:
        Lu et al., Dying ReLU and Initialization: Theory and Numerical Examples, CiCP 2020.
    """

    code: ClassVar[str] = "GW103"
    severity: ClassVar[Severity] = Severity.WARNING
    title: ClassVar[str] = "every entry of a gradient is exactly zero"
    remedy: ClassVar[str] = (
        "Look at what comes after the first layer named: ReLU units that are all off (lower the learning rate, use "
        "LeakyReLU or GELU, He initialization), an output that is multiplied by zero, clipped or masked away, or, in "
        "half precision, a gradient too small for the type (use `mixed_float16` with its loss scaling)."
    )

    min_steps: int = 10
    spread: float = 1e-5

    def check(self, log: Log) -> Iterator[Finding]:
        """Yields one finding; its value is the shortest streak of zero steps of a variable in it, or the spread."""
        require_gradients(log)
        streaks = summary.zero_streaks(log)
        if streaks is None:
            raise Skip("None of `zero_fraction`, `grad_max` and `grad_norm` was taken.")
        num_judged = int(streaks.judged.max(initial=0))
        if num_judged < self.min_steps:
            raise Skip(too_few(num_judged, self.min_steps))
        found = _worth_saying(log.variable_infos, streaks, self.min_steps)
        if found:
            infos = [log.variable_infos[index] for index in found]
            shortest = int(streaks.streak[found].min())
            last = last_step(log)
            layers = [*dict.fromkeys(variable.layer for variable in infos)]
            yield self.finding(
                f"The gradient of {plural(len(found), 'variable')} in {listed(layers)} is exactly zero in every entry, "
                f"at every recorded step for at least {shortest} steps up to the end, step {last}.",
                variables=[variable.path for variable in infos],
                layers=layers,
                steps=(int(streaks.first_step[found].min()), last),
                value=shortest,
                threshold=self.min_steps,
            )
        else:
            yield from self._alike(log)

    def _alike(self, log: Log) -> Iterator[Finding]:
        """The layers of which all units get the same gradient."""
        if not any("unit_spread" in segment.values for segment in log.segments):
            return
        try:
            looks = looks_of(log, "unit_spread", "")
        except Skip:  # no layer with units that can be told apart
            return
        alike = {}
        for index, table in looks.items():
            info = log.variable_infos[index]
            is_one = max(info.shape[-1:], default=1) < 2 or len(table.values) < self.min_steps
            if not is_one and (table.values <= self.spread).all():
                alike[info.layer] = (index, float(table.values.max()))
        if alike:
            layers = list(alike)
            yield self.finding(
                f"All units of {listed(layers)} get the same gradient at every step: what should tell them apart is "
                "zero, so each layer stays one unit, many times over.",
                variables=[info.path for info in log.variable_infos if info.layer in alike],
                layers=layers,
                steps=(min(int(looks[index].steps[0]) for index, _ in alike.values()), last_step(log)),
                value=max(value for _, value in alike.values()),
                threshold=self.spread,
                remedy="Let the weights start different: use a random initializer (Glorot, He) in place of zeros or a "
                "constant for kernels; only biases may start at a constant.",
            )


def _worth_saying(variables: Sequence[VariableInfo], streaks: summary.ZeroStreaks, min_steps: int) -> list[int]:
    """The dead variables, nearest to the output first, less those beside a larger living one of their layer."""
    is_dead, is_seen = streaks.streak >= min_steps, streaks.judged > 0
    alive: dict[str, int] = {}
    for variable, counts in zip(variables, is_seen & ~is_dead, strict=True):
        alive[variable.layer] = max(variable.size * counts, alive.get(variable.layer, 0))
    dead = [
        index
        for index, (variable, counts) in enumerate(zip(variables, is_dead, strict=True))
        if counts and variable.size >= max(1, alive[variable.layer])
    ]
    layers = [*dict.fromkeys(variables[index].layer for index in reversed(dead))]
    return sorted(dead, key=lambda index: (layers.index(variables[index].layer), index))
