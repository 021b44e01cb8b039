"""Rules about the size of gradients: too small, too large, zero."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from gradwatch import summary
from gradwatch.log import Log
from gradwatch.records import Segment, VariableInfo
from gradwatch.rules.base import Finding, Rule, Severity, Skip, listed, plural

_Indices = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class VanishingGradient(Rule):
    """Layers receive far less gradient than the larger ones of their own run, or than any layer needs.

    Let `typical[l]` be the median over the last `window` finite steps of the root mean square of the entries of layer
    `l` that are not zero (weight matrices only). Root mean squares are compared, not norms: a norm grows with the
    number of entries and would accuse every small layer. A layer is reported when

    * `typical[l] < ratio * q` and `typical[l] < floor`, with `q` the upper quartile of `typical` over the layers of the
      optimizer: the gradient is lost on the way to it; or
    * every layer is below `absolute * min(1, |loss|)` now, and was from the first steps on or the loss is no lower than
      it was: the gradient is lost at the very end.

    A run that converges shrinks all layers together from a larger start, and is not reported. A layer whose gradient is
    exactly zero is the matter of ZeroGradient. Of the layers reported, the one nearest to the output comes first:
    there, on the way back, the gradient got lost.

    Args:
        ratio: Share of the larger gradients of the model below which a layer is reported.
        floor: Root mean square that a layer must be below as well.
        absolute: Root mean square, for a loss of 1 or more, below which a whole model is reported.
        window: Number of most recent finite steps to judge.
        min_steps: Number of finite steps to see first.

    References:
        Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks, AISTATS 2010.
        Zhang et al., AUTOTRAINER: An Automatic DNN Training Problem Detection and Repair System, ICSE 2021.
    """

    code: ClassVar[str] = "GW101"
    severity: ClassVar[Severity] = Severity.WARNING
    title: ClassVar[str] = "a layer's gradient is far too small"
    remedy: ClassVar[str] = (
        "Use ReLU-like instead of sigmoid or tanh activations in hidden layers, put normalization layers or residual "
        "connections in, and choose an initializer that fits the activation (He for ReLU, Glorot for tanh)."
    )

    ratio: float = 1e-3
    floor: float = 1e-5
    absolute: float = 1e-8
    window: int = 50
    min_steps: int = 20

    def check(self, log: Log) -> Iterator[Finding]:
        """Yields one finding per optimizer; its value is the smallest share, or the size, beside its threshold."""
        for segment in _judgeable(log, self.min_steps):
            members = summary.weight_layers(log, segment)
            rows = summary.last_rows(summary.finite_rows(segment), self.window)
            typical = _typical(log, segment, rows, members)
            judged = np.flatnonzero(typical > 0)
            if not len(judged):
                continue
            bound = self._bound(log, segment, rows, members)
            reference = float(np.quantile(typical[judged], 0.75, method="higher"))
            low = judged[(typical[judged] < self.ratio * reference) & (typical[judged] < self.floor)]
            if typical.max() < bound:
                what = f"is next to nothing: {typical.max():.1e} at most"
                worst = (float(typical.max()), bound)
                yield _layers_finding(self, log, segment, rows, judged[::-1], what, worst)
            elif len(low):
                smallest = float(typical[low].min())
                what = f"is lost on the way back from the loss: {smallest:.1e} against {reference:.1e} in other layers"
                yield _layers_finding(self, log, segment, rows, low[::-1], what, (smallest / reference, self.ratio))

    def _bound(self, log: Log, segment: Segment, rows: _Indices, members: summary.Layers) -> float:
        """The size below which the whole model counts as without gradient; 0 if it may have converged."""
        start = summary.first_rows(summary.finite_rows(segment), self.window)
        before, now = _median_loss(segment, start), _median_loss(segment, rows)
        bound = self.absolute * min(1.0, abs(now)) if np.isfinite(now) else self.absolute
        was_small = _typical(log, segment, start, members).max() < bound
        return bound if was_small or now > before else 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplodingGradient(Rule):
    """The gradient of a layer grows out of the range that the run, or the rest of the model, has.

    Let `rms[t, l]` be the root mean square of the gradient of layer `l` at finite step `t` (weight matrices only),
    `early[l]` its median over the first `min_steps` of them and `reference[l] = max(early[l], median(early))`, so that
    a layer that starts at zero on purpose is not accused when it wakes up. Layer `l` is reported when, in this order,

    * `rms[t, l] > ratio * reference[l]` and `rms[t, l] > floor` for `sustained` successive steps, or right before a
      gradient becomes NaN or Inf; single spikes of a noisy loss are let pass; or
    * over the last `window` steps the median of `rms[:, l]` is larger than `multiple` times that of most layers, and
      larger than `floor`; or
    * that median is larger than `absolute`.

    Args:
        ratio: Growth above which a layer is reported.
        multiple: Multiple of the median over the layers above which a layer is reported.
        floor: Root mean square that it must be above as well, in both cases.
        absolute: Root mean square that is too large in any case.
        sustained: Number of successive steps that the growth has to last.
        window: Number of most recent finite steps for the comparison between layers.
        min_steps: Number of finite steps to see first.

    References:
        Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, ICML 2013.
        Ben Braiek and Khomh, TheDeepChecker: Testing Feedforward Neural Networks, TSE 2022 (bound of 1e6).
    """

    code: ClassVar[str] = "GW102"
    severity: ClassVar[Severity] = Severity.WARNING
    title: ClassVar[str] = "a gradient grows out of the run's own range"
    remedy: ClassVar[str] = (
        "Lower the learning rate or warm it up, clip the gradient (`clipnorm=1.0` on the optimizer), scale inputs and "
        "targets to about unit size, and use an initializer that fits the activation or a normalization layer."
    )

    ratio: float = 1e3
    multiple: float = 1e2
    floor: float = 1.0
    absolute: float = 1e6
    sustained: int = 3
    window: int = 50
    min_steps: int = 20

    def check(self, log: Log) -> Iterator[Finding]:
        """Yields one finding per optimizer; its value is the worst growth, multiple or size, beside its threshold."""
        for segment in _judgeable(log, self.min_steps):
            rows = np.flatnonzero(summary.finite_rows(segment))
            rms = summary.layer_rms(log, segment, summary.weight_layers(log, segment))[rows]  # [finite, layers]
            yield from self._growth(log, segment, rows, rms) or self._excess(log, segment, rows, rms)

    def _growth(self, log: Log, segment: Segment, rows: _Indices, rms: summary.FloatArray) -> list[Finding]:
        moving = rms[(rms > 0).any(axis=1)]  # steps in which nothing is learned say nothing of the run's own range
        if not len(moving):
            return []
        early = np.median(moving[: self.min_steps], axis=0)  # [layers]
        reference = np.maximum(early, np.median(early))
        high = (rms > self.ratio * reference) & (rms > self.floor)  # [finite, layers]
        high &= self._lasting(np.asarray(high.any(axis=1)), ends_bad=rows + 1 < np.append(rows[1:], segment.num_steps))[
            :, None
        ]
        hits = np.flatnonzero(high.any(axis=1))
        if not len(hits):
            return []
        growth = np.where(high, rms, 0).max(axis=0) / np.where(reference > 0, reference, np.nan)
        growth = np.where(np.isnan(growth), np.inf, growth) * high.any(axis=0)
        what = f"grows out of its range: up to {rms[hits].max():.1e}, early steps had {reference.max():.1e}"
        return [self._finding(log, segment, rows[hits], growth, what, self.ratio)]

    def _excess(self, log: Log, segment: Segment, rows: _Indices, rms: summary.FloatArray) -> list[Finding]:
        typical = np.median(rms[-self.window :], axis=0)  # [layers]
        middle = float(np.median(typical))
        span = rows[-self.window :]
        above = np.where((typical > self.multiple * middle) & (typical > self.floor), typical, 0)
        if middle > 0 and above.any():
            what = f"is far larger than in other layers: {above.max():.1e} against {middle:.1e}"
            return [self._finding(log, segment, span, above / middle, what, self.multiple)]
        above = np.where(typical > self.absolute, typical, 0)
        what = f"is huge: {typical.max():.1e}"
        return [self._finding(log, segment, span, above, what, self.absolute)] if above.any() else []

    def _lasting(self, high: summary.Mask, *, ends_bad: summary.Mask) -> summary.Mask:
        """Those of the high steps that are in a long enough run of them, or in one that ends in NaN or Inf."""
        edges = np.flatnonzero(np.diff(np.concatenate([[False], high, [False]]).astype(np.int8)))
        starts, stops = edges[::2], edges[1::2]
        kept = (stops - starts >= self.sustained) | ends_bad[stops - 1]
        lasting = np.zeros(len(high) + 1, np.int64)
        np.add.at(lasting, starts[kept], 1)
        np.add.at(lasting, stops[kept], -1)
        return np.cumsum(lasting)[:-1] > 0

    def _finding(
        self, log: Log, segment: Segment, rows: _Indices, excess: summary.FloatArray, what: str, threshold: float
    ) -> Finding:
        worst = np.argsort(-excess, kind="stable")
        suspects = worst[excess[worst] > 0]
        return _layers_finding(self, log, segment, rows, suspects, what, (float(excess.max()), threshold))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZeroGradient(Rule):
    """Every entry of a variable's gradient is exactly zero, step after step.

    A variable is reported when its gradient was exactly zero in each of the last `min_steps` or more recorded steps
    that had it. Steps with a loss of exactly zero do not count: there is nothing left to learn in them. A variable is
    left out while a larger variable of its layer does get a gradient: such a bias (before a normalization, in the key
    projection of an attention) is right to get none. The layer nearest to the output comes first: there the gradient
    got lost.

    Args:
        min_steps: Number of successive recorded steps that must be zero.

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

    def check(self, log: Log) -> Iterator[Finding]:
        """Yields one finding; its value is the shortest streak of zero steps of a variable in it."""
        _require_gradients(log)
        streaks = summary.zero_streaks(log)
        if streaks is None:
            raise Skip("None of `zero_fraction`, `grad_max` and `grad_norm` was taken.")
        num_judged = int(streaks.judged.max(initial=0))
        if num_judged < self.min_steps:
            raise Skip(_too_few(num_judged, self.min_steps))
        found = _worth_saying(log.variable_infos, streaks, self.min_steps)
        if found:
            infos = [log.variable_infos[index] for index in found]
            shortest = int(streaks.streak[found].min())
            last = max(int(segment.steps["step"].max()) for segment in log.segments if segment.num_steps)
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


def _judgeable(log: Log, min_steps: int) -> Iterator[Segment]:
    """The segments with enough finite steps; raises `Skip` at the end if an optimizer has none of them."""
    _require_gradients(log)
    judged: set[str] = set()
    seen: dict[str, int] = {}
    for segment in log.segments:
        if not segment.variables:
            continue
        if "grad_norm" not in segment.values:
            raise Skip("`grad_norm` was not taken.")
        count = int(summary.finite_rows(segment).sum())
        seen[segment.optimizer] = max(count, seen.get(segment.optimizer, 0))
        if count >= min_steps:
            judged.add(segment.optimizer)
            yield segment
    for optimizer, count in seen.items():
        if optimizer not in judged:
            raise Skip(_too_few(count, min_steps, f" of optimizer {optimizer!r}"))


def _require_gradients(log: Log) -> None:
    if not any(segment.variables and segment.num_steps for segment in log.segments):
        raise Skip("No gradient was recorded.")


def _too_few(count: int, min_steps: int, whose: str = "") -> str:
    return f"Too few steps: needs {min_steps} recorded steps with finite gradients, the log has {count}{whose}."


def _typical(log: Log, segment: Segment, rows: _Indices, members: summary.Layers) -> summary.FloatArray:
    """Median over some rows of the root mean square of the non-zero entries of each layer.  # [layers]."""
    return np.median(summary.layer_rms(log, segment.take(rows), members, nonzero=True), axis=0)


def _median_loss(segment: Segment, rows: _Indices) -> float:
    loss = segment.steps["loss"][rows]
    return float(np.median(loss[np.isfinite(loss)])) if np.isfinite(loss).any() else np.nan


def _layers_finding(
    rule: Rule,
    log: Log,
    segment: Segment,
    rows: _Indices,
    suspects: _Indices,
    what: str,
    worst: tuple[float, float],
) -> Finding:
    """A finding about some of the layers that are compared, given by position, root suspect first."""
    members = summary.weight_layers(log, segment)
    names = [[*members][position] for position in suspects]
    first, last = segment.steps["step"][rows[[0, -1]]]
    return rule.finding(
        f"The gradient of {listed(names)} {what} (root mean square), steps {first} to {last}.",
        variables=[log.variable_infos[segment.variables[column]].path for name in names for column in members[name]],
        layers=names,
        steps=(first, last),
        value=worst[0],
        threshold=worst[1],
    )
