"""Rules about numbers that a type cannot hold: a loss scale that collapses, and weights that are NaN or Inf."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from gradwatch import summary
from gradwatch.log import Log
from gradwatch.records import Segment
from gradwatch.rules.base import Finding, Rule, Severity, Skip, listed
from gradwatch.rules.compared import last_step


@dataclasses.dataclass(frozen=True, kw_only=True)
class NonFiniteWeight(Rule):
    """A variable, or the state of an optimizer, holds NaN or Inf, and no gradient brought it there.

    Weights are looked at on a schedule, and with the state of the optimizers once more at the end. Where a gradient
    with NaN or Inf was applied, that is the finding, and this one is not told.

    References:
        tensorflow#24320: weights may be NaN while the loss is finite.
    """

    code: ClassVar[str] = "GW203"
    severity: ClassVar[Severity] = Severity.ERROR
    title: ClassVar[str] = "NaN or Inf in a weight or in the state of an optimizer"
    remedy: ClassVar[str] = (
        "Look at what else writes to the weights: constraints, `assign` in a callback or a layer, weights that were "
        "loaded, and the epsilon and the type of the optimizer's state. Go back to the last good checkpoint."
    )
    precedence: ClassVar[int] = -4

    def check(self, log: Log) -> Iterator[Finding]:
        """Yields at most one finding; its value is the number of variables."""
        if not log.num_steps:
            raise Skip("No step was recorded.")
        if all(summary.nonfinite(segment) is None for segment in log.segments):
            raise Skip(
                "None of `nan_count`, `inf_count` and `grad_norm` was taken, so it is not known what comes first."
            )
        first: dict[str, int] = {}
        for segment in (segment for segment in log.segments if "weight_norm" in segment.values):
            # Before the first update that was measured the norm is missing, which is no NaN of the weight.
            norms, updates = summary.values(segment, "weight_norm"), summary.values(segment, "update_norm")
            taken = ~np.isnan(norms).all(axis=1) | np.isfinite(updates).any(axis=1)
            bad = ~np.isfinite(norms) & np.asarray(taken)[:, None]
            for column in np.flatnonzero(bad.any(axis=0)):
                path = log.variable_infos[segment.variables[column]].path
                first.setdefault(path, int(segment.steps["step"][np.flatnonzero(bad[:, column])[0]]))
        paths = list(dict.fromkeys([*first, *log.info.nonfinite_variables]))
        start = min(first.values(), default=last_step(log))
        if paths and not any(_was_spoiled(segment, start) for segment in log.segments):
            known = {info.path: info.layer for info in log.variable_infos}
            yield self.finding(
                f"{listed(paths)} held NaN or Inf at step {start}, and no gradient before it did.",
                variables=paths,
                layers=[known[path] for path in paths if path in known],
                steps=(start, last_step(log)),
                value=len(paths),
                threshold=0,
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossScaleCollapse(Rule):
    """In mixed precision the loss scale keeps falling, or for long no update is made.

    A loss scale is found by overflows: each halves it, and the update of that step is left out. Reported is an
    optimizer when in the last `window` recorded calls at least `share` of the updates were left out.

    Args:
        share: Share of updates left out from which on it is reported.
        window: Number of last calls to judge, more than a scale needs to come down from 2**15 to 1.

    References:
        Micikevicius et al., Mixed Precision Training, ICLR 2018.
    """

    code: ClassVar[str] = "GW204"
    severity: ClassVar[Severity] = Severity.ERROR
    title: ClassVar[str] = "the loss scale keeps falling, or no update is made for long"
    remedy: ClassVar[str] = (
        "Scale the loss and the targets so that the loss is about 1, keep the loss and the last layer in float32 "
        '(`dtype="float32"`), or use "mixed_bfloat16", which needs no loss scale.'
    )
    precedence: ClassVar[int] = -4

    share: float = 0.5
    window: int = 30

    def check(self, log: Log) -> Iterator[Finding]:
        """Yields one finding per optimizer; its value is the share of updates left out."""
        scaled = [s for s in log.segments if s.num_steps and np.isfinite(s.steps["loss_scale"]).any()]
        if not scaled:
            if not log.num_steps:
                raise Skip("No step was recorded.")
            return
        for segment in scaled:
            if segment.num_steps < self.window:
                raise Skip(f"Too few steps: needs {self.window} recorded steps, the log has {segment.num_steps}.")
            held_back = segment.steps["overflow"] & ~segment.steps["applied"]
            missed = float(held_back[-self.window :].mean())
            if missed >= self.share:
                scale = segment.steps["loss_scale"]
                first = int(np.flatnonzero(held_back)[0])
                yield self.finding(
                    f"{missed:.0%} of the last {self.window} updates of optimizer {segment.optimizer!r} were left out "
                    f"because of an overflow; the loss scale went from {scale[0]:g} to {scale[-1]:g}.",
                    steps=(int(segment.steps["step"][first]), int(segment.steps["step"][-1])),
                    value=missed,
                    threshold=self.share,
                )


def _was_spoiled(segment: Segment, step: int) -> bool:
    """Whether up to a step an update with NaN or Inf in a gradient reached the weights."""
    bad = summary.nonfinite(segment)
    rows = np.asarray(segment.steps["applied"] & (segment.steps["step"] <= step))
    return bad is not None and bool(bad[rows].any())
