"""A gradient that is far too small."""

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
from gradwatch.rules.compared import judgeable, layers_finding, median_loss, typical_rms

_Indices = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class VanishingGradient(Rule):
    """Layers receive far less gradient than the larger ones of their own run, or than any layer needs.

    Let `typical[l]` be the median over the last `window` finite steps of the root mean square of the entries of layer
    `l` that are not zero (weight matrices only). Root mean squares are compared, not norms: a norm grows with the
    number of entries and would accuse every small layer. A layer is reported when

    * `typical[l] < ratio * q` and `typical[l] < floor`, with `q` the upper quartile of `typical` over the layers of the
      optimizer: the gradient is lost on the way to it; where the loss fell by less than `gain` of itself, and so there
      is something to explain, `stalled_ratio` and `stalled_floor` take their places, and where it fell by `learned` of
      itself nothing that matters is lost; or
    * every layer is below `absolute * min(1, |loss|)` now, and was from the first steps on or the loss is no lower than
      it was: the gradient is lost at the very end.

    A run that converges shrinks all layers together from a larger start, and is not reported. A layer whose gradient is
    exactly zero is the matter of ZeroGradient. Of the layers reported, the one nearest to the output comes first:
    there, on the way back, the gradient got lost.

    Args:
        ratio: Share of the larger gradients of the model below which a layer is reported.
        floor: Root mean square that a layer must be below as well.
        gain: Share by which the loss has to fall for it not to count as stalled.
        learned: Share by which a loss has to fall for the model to have learned with what gradient there is.
        stalled_ratio: As `ratio`, where the loss is stalled.
        stalled_floor: As `floor`, where the loss is stalled.
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
    gain: float = 0.05
    learned: float = 0.9
    stalled_ratio: float = 5e-3
    stalled_floor: float = 1e-4
    absolute: float = 1e-8
    window: int = 50
    min_steps: int = 20

    def check(self, log: Log) -> Iterator[Finding]:
        """Yields one finding per optimizer; its value is the smallest share, or the size, beside its threshold."""
        for segment in judgeable(log, self.min_steps):
            members = summary.weight_layers(log, segment)
            rows = summary.last_rows(summary.finite_rows(segment), self.window)
            typical = typical_rms(log, segment, rows, members)
            judged = np.flatnonzero(typical > 0)
            if not len(judged):
                continue
            bound = self._bound(log, segment, rows, members)
            reference = float(np.quantile(typical[judged], 0.75, method="higher"))
            fell = summary.gain(segment)
            is_stalled = fell < self.gain
            ratio, floor = (self.stalled_ratio, self.stalled_floor) if is_stalled else (self.ratio, self.floor)
            low = judged[(typical[judged] < ratio * reference) & (typical[judged] < floor)]
            if typical.max() < bound:
                what = f"is next to nothing: {typical.max():.1e} at most"
                worst = (float(typical.max()), bound)
                yield layers_finding(self, log, segment, rows, judged[::-1], what, worst)
            elif len(low) and not fell > self.learned:
                smallest = float(typical[low].min())
                start = summary.first_rows(summary.finite_rows(segment), self.window)
                if (typical_rms(log, segment, start, members)[low] < floor).all():
                    rows = np.concatenate([start, rows])  # it was so from the first steps on
                what = f"is lost on the way back from the loss: {smallest:.1e} against {reference:.1e} in other layers"
                yield layers_finding(self, log, segment, rows, low[::-1], what, (smallest / reference, ratio))

    def _bound(self, log: Log, segment: Segment, rows: _Indices, members: summary.Layers) -> float:
        """The size below which the whole model counts as without gradient; 0 if it may have converged."""
        start = summary.first_rows(summary.finite_rows(segment), self.window)
        before, now = median_loss(segment, start), median_loss(segment, rows)
        bound = self.absolute * min(1.0, abs(now)) if np.isfinite(now) else self.absolute
        was_small = typical_rms(log, segment, start, members).max() < bound
        return bound if was_small or now > before else 0.0
