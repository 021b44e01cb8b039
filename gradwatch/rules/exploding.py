"""A gradient that grows out of its range."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from gradwatch import summary
from gradwatch.log import Log
from gradwatch.records import Segment
from gradwatch.rules.base import Finding, Rule, Severity
from gradwatch.rules.compared import judgeable, layers_finding

_Indices = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplodingGradient(Rule):
    """The gradient of a layer grows out of the range that the run, or the rest of the model, has.

    Let `rms[t, l]` be the root mean square of the gradient of layer `l` at finite step `t` (weight matrices only), and
    `low[t, l]` the least median that it had over `early_steps` successive steps before; `reference[t, l]` is the larger
    of `low[t, l]` and the median of `low[t]`, so that a layer that starts at zero on purpose is not accused when it
    wakes up. Layer `l` is reported when, in this order,

    * `rms[t, l] > ratio * reference[t, l]` and `rms[t, l] > floor` for `sustained` successive steps, or at `share` of
      all steps, or right before a gradient becomes NaN or Inf, which makes it an error, or before that of half of the
      layers becomes zero; single spikes of a noisy loss are let pass, and so is growth by which the loss falls by
      `gain` of itself, as where a product of small weights wakes up; or
    * over the last `window` steps the median of `rms[:, l]` is larger than `multiple` times that of most layers, and
      larger than `floor`; or
    * that median, or the one over the first `window` steps, is larger than `absolute`.

    Args:
        ratio: Growth above which a layer is reported.
        multiple: Multiple of the median over the layers above which a layer is reported.
        floor: Root mean square that it must be above as well, in both cases.
        absolute: Root mean square that is too large in any case.
        gain: Share by which the loss has to fall for growth to be right.
        sustained: Number of successive steps that the growth has to last.
        share: Share of the steps at which bursts are no single spikes any more.
        window: Number of most recent finite steps for the comparison between layers.
        early_steps: Number of successive steps that a median is of which growth is measured from; at first a third of
            all steps at most.
        min_steps: Number of finite steps to see first, unless a NaN or Inf comes before.

    References:
        Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, ICML 2013.
        Ben Braiek and Khomh, TheDeepChecker: Testing Feedforward Neural Networks, TSE 2022 (bound of 1e6).
    """

    code: ClassVar[str] = "GW102"
    severity: ClassVar[Severity] = Severity.ERROR
    precedence: ClassVar[int] = -4
    title: ClassVar[str] = "a gradient grows out of the run's own range"
    remedy: ClassVar[str] = (
        "Lower the learning rate or warm it up, clip the gradient (`clipnorm=1.0` on the optimizer), scale inputs and "
        "targets to about unit size, and use an initializer that fits the activation or a normalization layer."
    )

    ratio: float = 1e3
    multiple: float = 1e2
    floor: float = 1.0
    absolute: float = 1e6
    gain: float = 0.5
    sustained: int = 3
    share: float = 0.05
    window: int = 50
    early_steps: int = 5
    min_steps: int = 20

    def check(self, log: Log) -> Iterator[Finding]:
        """Yields one finding per optimizer; its value is the worst growth, multiple or size, beside its threshold."""
        for segment in judgeable(log, self.min_steps, min_steps_before_nan=1):
            rows = np.flatnonzero(summary.finite_rows(segment))
            rms = summary.layer_rms(log, segment, summary.weight_layers(log, segment))[rows]  # [finite, layers]
            ruined = bool(rows[-1] + 1 < segment.num_steps)
            for finding in self._growth(log, segment, rows, rms) or self._excess(log, segment, rows, rms):
                yield dataclasses.replace(finding, severity=Severity.ERROR if ruined else Severity.WARNING)

    def _growth(self, log: Log, segment: Segment, rows: _Indices, rms: summary.FloatArray) -> list[Finding]:
        # Steps in which nothing is learned say nothing of the run's own range.
        moving = np.flatnonzero((rms > 0).any(axis=1))
        if not len(moving):
            return []
        reference = np.full(rms.shape, np.inf)
        reference[moving] = self._references(rms[moving])
        high = (rms > self.ratio * reference) & (rms > self.floor)  # [finite, layers]
        ends_bad = rows + 1 < np.append(rows[1:], segment.num_steps)
        many_zero = np.append((rms[1:] == 0).mean(axis=1) >= 0.5, False) & ((rms == 0).mean(axis=1) < 0.5)
        if high.any(axis=1).mean() < self.share:
            high &= self._lasting(np.asarray(high.any(axis=1)), ends_bad=ends_bad | many_zero)[:, None]
        hits = np.flatnonzero(high.any(axis=1))
        does_harm = (ends_bad | many_zero)[hits].any() or not summary.gain(segment) > self.gain
        if not len(hits) or not does_harm:
            return []
        with np.errstate(divide="ignore"):
            growth = np.where(high, rms / reference, 0).max(axis=0)
        what = f"grows out of its range: up to {rms[hits].max():.1e}, after {reference[hits].min():.1e}"
        return [self._finding(log, segment, rows[hits], growth, what, self.ratio)]

    def _references(self, rms: summary.FloatArray) -> summary.FloatArray:
        """What each step's gradients are measured by, of what was before it.  # [steps, layers]."""
        count = max(1, min(self.early_steps, len(rms) // 3))
        medians = np.median(np.lib.stride_tricks.sliding_window_view(rms, count, axis=0), axis=-1)
        # The window that ends right before a step; the first steps are measured by the first window.
        before = np.concatenate([np.repeat(medians[:1], count, axis=0), medians[:-1]])
        low = np.minimum.accumulate(np.where(before > 0, before, np.inf), axis=0)
        low = np.where(np.isfinite(low), low, 0.0)
        return np.maximum(low, np.median(low, axis=1, keepdims=True))

    def _excess(self, log: Log, segment: Segment, rows: _Indices, rms: summary.FloatArray) -> list[Finding]:
        typical = np.median(rms[-self.window :], axis=0)  # [layers]
        middle = float(np.median(typical))
        span = rows[-self.window :]
        above = np.where((typical > self.multiple * middle) & (typical > self.floor), typical, 0)
        if middle > 0 and above.any():
            what = f"is far larger than in other layers: {above.max():.1e} against {middle:.1e}"
            return [self._finding(log, segment, span, above / middle, what, self.multiple)]
        if not (typical > self.absolute).any():
            typical, span = np.median(rms[: self.window], axis=0), rows[: self.window]
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
        return layers_finding(self, log, segment, rows, suspects, what, (float(excess.max()), threshold))
