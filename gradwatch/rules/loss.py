"""Rules about the course of the loss: it diverges or swings, or does not fall."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from gradwatch import summary
from gradwatch.log import Log
from gradwatch.records import Segment
from gradwatch.rules.base import Finding, Rule, Severity, Skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnstableLoss(Rule):
    """The loss diverges, or swings by multiples of itself.

    The finite losses of the run are put into `num_windows` windows of equal length (fewer, where they would have less
    than six steps), `m[i]` being the median of each and `e[i]` its uncertainty, the distance of the quartiles over the
    root of the number of steps. It diverges when over the last fifth of the windows `m[i] - 2 * e[i] > growth * min(m)`
    and `m[i] > m[0]`; it swings when `m[i] - e[i] > growth * m[i - 1]` in `share` of the windows or more. Only the
    loss of a single optimizer is judged, and only one that is never negative: the losses of adversaries and of policy
    gradients may rise.

    Args:
        growth: Multiple from which on a loss has risen.
        share: Share of the windows in which it may rise so much.
        num_windows: Number of windows.
        min_steps: Number of finite losses to see first.

    References:
        Ben Braiek and Khomh, TheDeepChecker, TSE 2022 (divergence from twice the loss on).
        Zhang et al., AUTOTRAINER, ICSE 2021 (oscillating loss).
    """

    code: ClassVar[str] = "GW304"
    severity: ClassVar[Severity] = Severity.WARNING
    title: ClassVar[str] = "the loss diverges or swings"
    remedy: ClassVar[str] = "Lower the learning rate or the momentum, clip the gradient, or use a larger batch."
    precedence: ClassVar[int] = 2
    yields_to: ClassVar[frozenset[str]] = frozenset(
        {"ExplodingGradient", "UpdateTooLarge", "NonFiniteGradient", "NonFiniteLoss", "NonFiniteInput", "InputScale"}
    )

    growth: float = 2.0
    share: float = 0.2
    num_windows: int = 20
    min_steps: int = 60

    def check(self, log: Log) -> Iterator[Finding]:
        """Yields at most one finding; its value is the growth of the loss, or the share of windows in which it rose."""
        _, steps, losses = _only_loss(log, self.min_steps)
        if (losses < 0).any():
            return
        parts = np.array_split(losses, min(self.num_windows, len(losses) // 6))
        low, medians, high = np.array([np.quantile(part, [0.25, 0.5, 0.75]) for part in parts]).T  # [windows] each
        uncertainty = (high - low) / np.sqrt([len(part) for part in parts])
        lowest, late = medians.min(), -(-len(parts) // 5)
        span = (int(steps[0]), int(steps[-1]))
        has_risen = (medians - 2 * uncertainty > self.growth * lowest) & (medians > medians[0])
        if has_risen[-late:].all():
            yield self.finding(
                f"The loss diverges: it ends at {medians[-1]:.3g} (median of the last part of the run), having been at "
                f"{lowest:.3g}.",
                steps=span,
                value=medians[-1] / lowest if lowest else np.inf,
                threshold=self.growth,
            )
            return
        rises = float(((medians - uncertainty)[1:] > self.growth * medians[:-1]).mean())
        if rises >= self.share:
            yield self.finding(
                f"The loss swings: in {rises:.0%} of the parts of the run it is more than {self.growth:g} times that "
                f"of the one before (between {lowest:.3g} and {medians.max():.3g}).",
                steps=span,
                value=rises,
                threshold=self.share,
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class StalledLoss(Rule):
    """The loss does not fall although steps are taken.

    It has stalled when over at least `min_steps` steps it fell by less than `gain` of itself, as the medians of its
    first and its last tenth tell. That alone may be right (a task that holds nothing to learn, a model that is
    fine-tuned), so it is an info. It is not told beside a finding that explains it.

    Args:
        gain: Share by which the loss has to fall.
        min_steps: Number of finite losses to see first.

    References:
        Amazon SageMaker Debugger, built-in rule LossNotDecreasing.
    """

    code: ClassVar[str] = "GW305"
    severity: ClassVar[Severity] = Severity.INFO
    title: ClassVar[str] = "the loss does not fall although steps are taken"
    remedy: ClassVar[str] = (
        "Compare the loss with that of a constant prediction (the logarithm of the number of classes, the variance of "
        "the target). Look at the targets (are rows and labels in one order?), at the learning rate, and at what the "
        "model can tell from its inputs."
    )
    precedence: ClassVar[int] = 3
    yields_to: ClassVar[frozenset[str]] = frozenset(
        {
            "VanishingGradient",
            "ExplodingGradient",
            "ZeroGradient",
            "DeadUnits",
            "SaturatedActivation",
            "NonFiniteGradient",
            "NonFiniteLoss",
            "UpdateTooLarge",
            "UpdateTooSmall",
            "UnchangedVariable",
            "UnstableLoss",
            "DetachedVariable",
            "NoTrainableVariables",
            "InputScale",
            "OutputActivation",
            "LossScaleCollapse",
        }
    )

    gain: float = 0.02
    min_steps: int = 60

    def check(self, log: Log) -> Iterator[Finding]:
        """Yields at most one finding; its value is the share by which the loss fell."""
        segment, steps, losses = _only_loss(log, self.min_steps)
        if (losses < 0).any():
            return
        fell = summary.gain(segment)
        if np.isfinite(fell) and fell < self.gain:
            yield self.finding(
                f"The loss did not fall: it fell by {fell:.1%} of itself in {len(losses)} steps.",
                steps=(int(steps[0]), int(steps[-1])),
                value=fell,
                threshold=self.gain,
            )


def _only_loss(log: Log, min_steps: int) -> tuple[Segment, npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The segment, steps and finite losses of a run with one optimizer."""
    if not log.num_steps:
        raise Skip("No step was recorded.")
    if len({segment.optimizer for segment in log.segments}) > 1:
        raise Skip("There are several optimizers, whose losses may work against each other.")
    segment = max(log.segments, key=lambda segment: segment.num_steps)
    rows = np.flatnonzero(np.isfinite(segment.steps["loss"]))
    if not len(rows) and not segment.steps["nonfinite_loss"].any():
        raise Skip("The loss of no step was seen. It is heard from `compute_loss`, or found in what the step returns.")
    if len(rows) < min_steps:
        raise Skip(f"Too few steps: needs {min_steps} recorded steps with a finite loss, the log has {len(rows)}.")
    return segment, segment.steps["step"][rows], segment.steps["loss"][rows]
