"""Rules about NaN and Inf: in the batch, in the loss, in a gradient."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from gradwatch import schema, summary
from gradwatch.causes import Cause
from gradwatch.log import Log
from gradwatch.records import Origin, Segment
from gradwatch.rules.base import Finding, Rule, Severity, Skip, listed, plural

_MOST_ORIGINS = 3

_LATER = ("in the weights", "optimizer")
"""Kinds of cause that a step after a bad one may have although it is no fault of its own."""


@dataclasses.dataclass(frozen=True)
class _Hits:
    """Calls of one segment that a rule objects to; at least one."""

    segment: Segment
    rows: npt.NDArray[np.int64]  # [hits]

    @property
    def steps(self) -> npt.NDArray[np.int64]:
        return self.segment.steps["step"][self.rows]

    def first(self, column: str) -> npt.NDArray:
        """What a column of the steps says at the first hit."""
        return self.segment.steps[column][self.rows[0]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NonFiniteGradient(Rule):
    """A gradient holds NaN or Inf.

    A step is bad when the gradient of some variable has a NaN or an infinite entry. The finding is about the first bad
    step and names the variables that were bad in it. On the way back a NaN spreads from the layer where it is born
    towards the input, so the layer nearest to the output comes first, as the root suspect.

    Where the optimizer adapts a loss scale, a step that it held back while the scale is above 1 is how the scale is
    found, and is not counted, unless the last `patience` or more recorded calls of the optimizer were all held back. A
    scale starts at 2**15 and is halved each time, so it has come down to 1, where it cannot be the reason any more,
    long before that.

    Args:
        patience: Number of successive held-back steps at the end of the log that no scale should need.

    References:
        Micikevicius et al., Mixed Precision Training, ICLR 2018.
    """

    code: ClassVar[str] = "GW201"
    severity: ClassVar[Severity] = Severity.ERROR
    title: ClassVar[str] = "NaN or Inf in a gradient"
    remedy: ClassVar[str] = (
        "Look in the first layer named, and in the loss, for a logarithm, square root, division, power or exponential "
        "of a number that can be zero, negative or very large: clip its argument or add a small constant inside of it. "
        'If the gradients grew over the steps before, lower the learning rate or set `clipnorm`. on_nonfinite="skip" '
        "keeps such an update away from the weights."
    )
    precedence: ClassVar[int] = -1

    patience: int = 30

    def check(self, log: Log) -> Iterator[Finding]:
        """Yields one finding about the first bad step, and one about the first of each further origin.

        The value is the number of NaN and Inf entries in that step.
        """
        _require_steps(log)
        masks = [summary.nonfinite(segment) for segment in log.segments]
        if any(mask is None for mask in masks):
            raise Skip("None of `nan_count`, `inf_count` and `grad_norm` was taken.")
        bad = [np.asarray(mask.any(axis=1)) for mask in masks if mask is not None]  # [steps] each
        hits = _in_order(log, [b & ~self._recovering(s, b) for s, b in zip(log.segments, bad, strict=True)])
        for each in _by_origin(log, hits):
            yield self._finding(log, each)

    def _recovering(self, segment: Segment, bad: summary.Mask) -> summary.Mask:
        """Which calls were held back by a loss scale that is finding its level.  # [steps]."""
        held_back = segment.steps["overflow"] & ~segment.steps["applied"] & (segment.steps["loss_scale"] > 1)
        others = np.flatnonzero(~(held_back & bad))
        streak = len(bad) - (others[-1] + 1 if len(others) else 0)
        return held_back & (np.arange(len(bad)) < len(bad) - streak) if streak >= self.patience else held_back

    def _finding(self, log: Log, hits: list[_Hits]) -> Finding:
        segment, row = hits[0].segment, hits[0].rows[0]
        mask = summary.nonfinite(segment.take(slice(row, row + 1)))
        assert mask is not None
        suspects = _nearest_output_first(log, segment, np.flatnonzero(mask[0]))
        infos = [log.variable_infos[index] for index in suspects]
        counts = [segment.values[name][row].sum() for name in schema.COUNTS if name in segment.values]
        paths = [variable.path for variable in infos]
        replica = hits[0].first("replica")
        where = f" on replica {replica}" if replica >= 0 else ""
        message = f"The gradient of {listed(paths)} holds NaN or Inf{where} at {_moment(hits[0])}{_times(log, hits)}."
        cause = _origin(log, hits)
        place = cause.sentence if cause else self._place(segment, mask[0], hits[0], infos[0].layer)
        in_batch = hits[0].first("nonfinite_inputs") > 0
        return self.finding(
            f"{message} {place} {self._damage(hits[0])}",
            variables=paths,
            layers=[variable.layer for variable in infos],
            steps=_span(hits),
            value=sum(counts) if counts else None,
            threshold=0,
            remedy="Mend the batch first, see NonFiniteInput." if in_batch else _mend(cause),
            cause=cause,
        )

    @staticmethod
    def _place(segment: Segment, mask: summary.Mask, hit: _Hits, layer: str) -> str:
        if hit.first("nonfinite_inputs") > 0:
            return "The batch of that step holds NaN or Inf itself."
        if mask.all():
            return (
                f"Every variable is hit, so it comes from layer {layer}, from what stands after it (the loss, or a "
                "layer without variables, such as a Lambda), or from the batch."
            )
        return f"It most likely starts in layer {layer}: no layer nearer to the output is hit."

    @staticmethod
    def _damage(hit: _Hits) -> str:
        if hit.first("applied"):
            return "The update was applied, so from there on the weights are bad too."
        return "The update was held back, so the weights are still good."


@dataclasses.dataclass(frozen=True, kw_only=True)
class NonFiniteLoss(Rule):
    """The loss of a step is NaN or Inf.

    Where it never is, and no gradient either, but a metric is, an info says that nothing is wrong but the metric.

    References:
        Keras, `keras.callbacks.TerminateOnNaN`.
    """

    code: ClassVar[str] = "GW202"
    severity: ClassVar[Severity] = Severity.ERROR
    title: ClassVar[str] = "NaN or Inf in the loss"
    remedy: ClassVar[str] = (
        "Give the loss what it expects: logits with `from_logits=True`, labels within the number of classes, no empty "
        "batch. Clip or shift what goes into a logarithm or a division of your own loss, and lower the learning rate "
        "if the loss grew over the steps before."
    )
    precedence: ClassVar[int] = -2

    def check(self, log: Log) -> Iterator[Finding]:
        """Yields one finding about the first such step; its value is the number of such steps."""
        _require_steps(log)
        bad = [segment.steps["nonfinite_loss"] for segment in log.segments]
        seen = [(~np.isnan(segment.steps["loss"])).any() for segment in log.segments]
        if not any(seen) and not any(rows.any() for rows in bad):
            raise Skip(
                "The loss of no step was seen. It is heard from `compute_loss`, or found in what the step returns."
            )
        hits = _in_order(log, bad)
        metrics = log.info.nonfinite_metrics
        if metrics and not hits and all(segment.is_finite for segment in log.segments):
            yield self.finding(
                f"Only {plural(len(metrics), 'metric')} came out as NaN or Inf: {listed(metrics)}. The loss and all "
                "gradients are finite, so training is not harmed.",
                severity=Severity.INFO,
                remedy="Look in the metric for a division by a count or a sum that may be zero, or a logarithm.",
            )
        if hits:
            word = "NaN" if np.isnan(hits[0].first("loss")) else "infinite"
            cause = _origin(log, hits)
            yield self.finding(
                f"The loss is {word} at {_moment(hits[0])}{_times(log, hits)}.{f' {cause.sentence}' if cause else ''}",
                steps=_span(hits),
                value=sum(len(hit.rows) for hit in hits),
                threshold=0,
                remedy=_mend(cause),
                cause=cause,
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class NonFiniteInput(Rule):
    """The batch itself holds NaN or Inf, so what comes out of the model is no fault of the model.

    The entries of a batch are counted on bad steps only: a batch whose NaN do not reach a gradient is not reported.
    """

    code: ClassVar[str] = "GW205"
    severity: ClassVar[Severity] = Severity.ERROR
    title: ClassVar[str] = "NaN or Inf in the batch"
    remedy: ClassVar[str] = (
        "Find them in the data (`np.isfinite(x).all()`), then drop or fill those samples; look at missing values, "
        "divisions by a standard deviation of zero and logarithms in the preprocessing."
    )
    precedence: ClassVar[int] = -3

    def check(self, log: Log) -> Iterator[Finding]:
        """Yields one finding about the first such step; its value is the number of entries."""
        _require_steps(log)
        hits = _in_order(log, [segment.steps["nonfinite_inputs"] > 0 for segment in log.segments])
        if hits:
            count = int(hits[0].first("nonfinite_inputs"))
            cause = _origin(log, hits)
            held = ", ".join(filter(None, [plural(count, "entry"), None if cause is None else cause.detail]))
            yield self.finding(
                f"The batch holds NaN or Inf ({held}) at {_moment(hits[0])}{_times(log, hits)}.",
                steps=_span(hits),
                value=count,
                threshold=0,
                cause=cause,
            )


def _origin(log: Log, hits: list[_Hits]) -> Cause | None:
    """What made the first NaN or Inf of the hits, if that was found out.

    It is that of the very first, but while a loss scale comes down nobody asks: then it is the first one after that.
    """
    steps = {int(step) for hit in hits for step in hit.steps} if hits[0].first("loss_scale") > 1 else set()
    steps.add(int(hits[0].steps[0]))
    return next((each.cause for each in _origins(log) if each.step in steps), None)


def _origins(log: Log) -> list[Origin]:
    return sorted(log.info.origins, key=lambda origin: origin.step)


def _by_origin(log: Log, hits: list[_Hits]) -> Iterator[list[_Hits]]:
    """The hits from the first on, and those from the first of each further origin on."""
    told = [_origin(log, hits)] if hits else []
    if hits:
        yield hits
    for origin in _origins(log):
        after = [_Hits(hit.segment, hit.rows[hit.steps >= origin.step]) for hit in hits]
        after = sorted((hit for hit in after if len(hit.rows)), key=lambda hit: int(hit.steps[0]))
        is_new = origin.cause.kind not in _LATER and origin.cause not in told and len(told) < _MOST_ORIGINS
        if is_new and after and after[0].steps[0] == origin.step:
            told.append(origin.cause)
            yield after


def _mend(cause: Cause | None) -> str | None:
    return None if cause is None else cause.mend or None


def _require_steps(log: Log) -> None:
    if not log.num_steps:
        raise Skip("No step was recorded.")


def _in_order(log: Log, bad: list[summary.Mask]) -> list[_Hits]:
    """The segments with bad calls, the one with the earliest first."""
    rows = [np.flatnonzero(mask) for mask in bad]
    hits = [_Hits(segment, found) for segment, found in zip(log.segments, rows, strict=True) if len(found)]
    return sorted(hits, key=lambda hit: int(hit.steps[0]))


def _nearest_output_first(log: Log, segment: Segment, columns: npt.NDArray[np.int64]) -> list[int]:
    """Indices of variables with the layer nearest to the output first, and in model order within a layer."""
    members = summary.layers(log, segment).values()
    return [segment.variables[column] for layer in reversed([*members]) for column in layer if column in columns]


def _span(hits: list[_Hits]) -> tuple[int, int]:
    return int(hits[0].steps[0]), max(int(hit.steps[-1]) for hit in hits)


def _moment(hit: _Hits) -> str:
    """The first hit as a person says it: "step 12 (epoch 1, batch 2)"."""
    epoch, batch = int(hit.first("epoch")), int(hit.first("batch"))
    return f"step {hit.steps[0]}" + (f" (epoch {epoch}, batch {batch})" if min(epoch, batch) >= 0 else "")


def _times(log: Log, hits: list[_Hits]) -> str:
    """How often, if more than once."""
    count = sum(len(hit.rows) for hit in hits)
    return f" and at {count - 1} more of the {log.num_steps} recorded steps" if count > 1 else ""
