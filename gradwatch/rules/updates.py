"""Rules about the size of updates against the weights: learning rates that are too high, too low, or nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from gradwatch import summary
from gradwatch.log import Log
from gradwatch.records import Segment
from gradwatch.rules.base import Finding, Rule, Severity, Skip, listed, plural
from gradwatch.rules.compared import last_step, require_gradients

_Looks = tuple[npt.NDArray[np.int64], summary.FloatArray]
"""Rows of a segment, and what was seen at each of them.  # [looks], [looks, variables]"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class UpdateTooLarge(Rule):
    """Updates are so large against the weights that a step overshoots: the learning rate is too high.

    Let `ratio[t, v] = update_norm / weight_norm` of weight matrix `v` at look `t`. Around 1e-3 is usual. A matrix is
    reported when

    * the median of `ratio[:, v]` over the looks after the first `warm_up` is above `ratio`; or
    * every matrix of the optimizer was above `burst` at one of the first five looks, those left out that started as
      zeros: the first steps have thrown the weights to where nothing is learned any more;

    and the loss did not fall by `gain` of itself, or a NaN or Inf follows, which makes it an error.

    Args:
        ratio: Share of the weights above which an update is too large.
        burst: Share of the weights above which the first updates are too large.
        gain: Share by which the loss has to fall for large updates to be right.
        warm_up: Number of first looks to leave out: small weights grow quickly at first.
        min_looks: Number of looks to have after them.
        min_looks_before_nan: Number that is enough where a NaN or Inf follows.

    References:
        Karpathy, CS231n notes, Neural Networks Part 3, "Ratio of weights:updates".
        Ben Braiek and Khomh, TheDeepChecker, TSE 2022 (bound of 1e-1).
    """

    code: ClassVar[str] = "GW301"
    severity: ClassVar[Severity] = Severity.ERROR
    title: ClassVar[str] = "updates are too large for the weights: the learning rate is too high"
    remedy: ClassVar[str] = (
        "Lower the learning rate, by a factor of 10 at first, warm it up, or clip the gradient (`clipnorm=1.0` on the "
        "optimizer)."
    )
    precedence: ClassVar[int] = -4

    ratio: float = 0.1
    burst: float = 1.0
    gain: float = 0.5
    warm_up: int = 3
    min_looks: int = 17
    min_looks_before_nan: int = 3

    def check(self, log: Log) -> Iterator[Finding]:
        """Yields one finding per optimizer; its value is the largest median ratio."""
        for segment, rows, ratios in _looked_at(log, _ratios, self._needed):
            late = ratios[self.warm_up :]
            if summary.gain(segment) > self.gain and segment.is_finite:
                continue
            typical, threshold, when = _median(late), self.ratio, "A step"
            if not (typical > self.ratio).any():
                typical, threshold, when = _first_largest(ratios[:5]), self.burst, "One of the first steps"
                if typical[typical > 0].min(initial=np.inf) <= self.burst:
                    continue
            large = np.flatnonzero(typical > threshold)
            if len(large):
                order = large[np.argsort(-typical[large], kind="stable")]
                infos = [log.variable_infos[segment.variables[column]] for column in order]
                rate = float(segment.steps["learning_rate"][-1])
                ruined = not segment.is_finite
                yield self.finding(
                    f"{when} changes {listed([info.path for info in infos])} by {typical[large].max():.0%} of its size "
                    f"(1 % is much, 0.1 % usual): the learning rate, {rate:.3g}, is too high.",
                    variables=[info.path for info in infos],
                    layers=[info.layer for info in infos],
                    steps=(int(segment.steps["step"][rows[0]]), int(segment.steps["step"][rows[-1]])),
                    value=float(typical[large].max()),
                    threshold=threshold,
                    severity=Severity.ERROR if ruined else Severity.WARNING,
                )

    def _needed(self, segment: Segment) -> int:
        return self.warm_up + (self.min_looks if segment.is_finite else self.min_looks_before_nan)


@dataclasses.dataclass(frozen=True, kw_only=True)
class UpdateTooSmall(Rule):
    """Updates are so small against the weights that training hardly moves: the learning rate is too low.

    With `ratio[t, v]` as in UpdateTooLarge, let `typical` be the median over the looks of the largest ratio of the
    weight matrices of an optimizer. It is reported when

    * `typical < ratio`, and the loss fell by less than `gain` of itself: nothing moves; or
    * `typical < slow_ratio`, and the loss is still falling when the run ends (by more than `still_falling` of itself
      from the last but one sixth of the run to the last), yet above `learned` of that of a prediction that knows
      nothing, or it is still at `nothing` of that or more: everything moves as it should, but too slowly.

    A model that is fine-tuned has a small loss already, and is not reported. Nor is it told beside a gradient that is
    lost, which explains it.

    Args:
        ratio: Share of the weights below which an update is too small for anything to move.
        gain: Share by which the loss may fall at most.
        slow_ratio: Share of the weights below which an update is too small for a run that did not come to its end.
        still_falling: Share by which the loss falls in the end.
        learned: Loss, against that of a prediction that knows nothing, up to which a model has learned.
        nothing: The same, from which on it has learned nothing.
        min_looks: Number of looks to have first.

    References:
        Ben Braiek and Khomh, TheDeepChecker, TSE 2022 (bound of 1e-4).
        Wardat et al., DeepDiagnosis, ICSE 2022 (bound of 1e-5).
    """

    code: ClassVar[str] = "GW302"
    severity: ClassVar[Severity] = Severity.WARNING
    title: ClassVar[str] = "updates are too small for the weights: the learning rate is too low"
    remedy: ClassVar[str] = "Raise the learning rate, by a factor of 10 at first, or train for longer."
    yields_to: ClassVar[frozenset[str]] = frozenset(
        {"VanishingGradient", "ZeroGradient", "OutputActivation", "LossScaleCollapse"}
    )

    ratio: float = 1e-5
    gain: float = 0.1
    slow_ratio: float = 5e-4
    still_falling: float = 0.05
    learned: float = 0.1
    nothing: float = 0.9
    min_looks: int = 10

    def check(self, log: Log) -> Iterator[Finding]:
        """Yields one finding per optimizer; its value is the median of the largest ratio."""
        for segment, rows, ratios in _looked_at(log, _ratios, lambda segment: self.min_looks):
            largest = np.where(np.isfinite(ratios), ratios, 0.0).max(axis=1)
            if not (largest > 0).any():
                continue
            typical = float(np.median(largest[largest > 0]))  # while gradients are accumulated nothing is updated
            if typical < self.ratio and not summary.gain(segment) > self.gain:
                yield self._finding(log, segment, rows, typical, self.ratio, "hardly falls")
            elif typical < self.slow_ratio and self._is_slow(log, segment):
                yield self._finding(
                    log, segment, rows, typical, self.slow_ratio, "is far from its end when the run is over"
                )

    def _is_slow(self, log: Log, segment: Segment) -> bool:
        loss = segment.steps["loss"][np.isfinite(segment.steps["loss"])]
        *_, before, last = (np.median(part) if len(part) else np.nan for part in np.array_split(loss, 6))
        falls = before > 0 and (before - last) / before > self.still_falling
        left = summary.against_no_skill(log, segment)
        return bool((falls and left > self.learned) or left >= self.nothing)

    def _finding(
        self, log: Log, segment: Segment, rows: npt.NDArray[np.int64], value: float, threshold: float, loss: str
    ) -> Finding:
        rate = float(segment.steps["learning_rate"][-1])
        return self.finding(
            f"A step changes the weights by {value:.1e} of their size at most (1e-3 is usual), and the loss {loss}: "
            f"the learning rate, {rate:.3g}, is too low.",
            layers=list(summary.weight_layers(log, segment)),
            steps=(int(segment.steps["step"][rows[0]]), int(segment.steps["step"][rows[-1]])),
            value=value,
            threshold=threshold,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnchangedVariable(Rule):
    """A trainable variable does not change although it has a gradient and updates are made.

    A variable is reported when at each look in the second half of the run its update was exactly zero while its
    gradient was not: a learning rate of 0, a constraint or an assignment that puts it back, or a number too small for
    half precision. Where there are fewer than `min_late` such looks, the later half of all looks counts, `min_looks` at
    least.

    Args:
        min_looks: Number of looks to have, and at which nothing may have changed where the second half has too few.
        min_late: Number of looks in the second half of the run that are enough.

    References:
        Amazon SageMaker Debugger, built-in rule UnchangedTensor.
    """

    code: ClassVar[str] = "GW303"
    severity: ClassVar[Severity] = Severity.WARNING
    title: ClassVar[str] = "a trainable variable does not change"
    remedy: ClassVar[str] = (
        "Look at the learning rate (a schedule that has come to 0, a rate too small for the type of the weights), and "
        "at constraints or assignments that put the variable back."
    )

    yields_to: ClassVar[frozenset[str]] = frozenset({"VanishingGradient"})

    min_looks: int = 10
    min_late: int = 3

    def check(self, log: Log) -> Iterator[Finding]:
        """Yields one finding per optimizer; its value is the number of looks without a change."""
        for segment, rows, _ in _looked_at(log, _updates, lambda segment: self.min_looks):
            updates, grads = summary.values(segment, "update_norm"), summary.values(segment, "grad_norm")
            steps = segment.steps["step"]
            late = rows[steps[rows] > (steps[0] + steps[-1]) / 2]
            if len(late) < self.min_late:
                late = rows[-max(self.min_looks, len(rows) // 2) :]
            still = np.flatnonzero((updates[late] == 0).all(axis=0) & (grads[late] > 0).any(axis=0))
            if len(still):
                infos = [log.variable_infos[segment.variables[column]] for column in still]
                rate = float(segment.steps["learning_rate"][-1])
                why = f" The learning rate is {rate:g}." if len(still) == len(segment.variables) else ""
                yield self.finding(
                    f"{plural(len(still), 'variable')} did not change at {plural(len(late), 'look')}, though there is "
                    f"a gradient and the update is made: {listed([info.path for info in infos])}.{why}",
                    variables=[info.path for info in infos],
                    layers=[info.layer for info in infos],
                    steps=(int(segment.steps["step"][late[0]]), last_step(log)),
                    value=len(late),
                    threshold=min(len(late), self.min_looks),
                )


def _looked_at(
    log: Log, look: Callable[[Log, Segment], _Looks], needed: Callable[[Segment], int]
) -> Iterator[tuple[Segment, npt.NDArray[np.int64], summary.FloatArray]]:
    """The segments in which updates were measured often enough, with what was seen there.

    Args:
        log: The log.
        look: Gives the rows of a segment at which it was looked at, and what was seen.
        needed: Number of looks that are enough for a segment.

    Raises:
        Skip: If there is none: at the end, for all that were looked at too seldom.
    """
    require_gradients(log)
    measured = [segment for segment in log.segments if np.isfinite(summary.values(segment, "update_norm")).any()]
    if not measured:
        raise Skip('`update_norm` and `weight_norm` were not taken: under XLA they are with `statistics="full"`.')
    looked = [(segment, *look(log, segment)) for segment in measured]
    enough = [each for each in looked if len(each[1]) >= needed(each[0])]
    yield from enough
    if not enough:
        segment, rows, _ = looked[0]
        raise Skip(f"Too few looks at the updates: needs {needed(segment)}, the log has {len(rows)}.")


def _updates(log: Log, segment: Segment) -> _Looks:
    """The rows at which the update of each variable was made and measured, and its norms there."""
    updates = summary.values(segment, "update_norm")
    rows = np.flatnonzero(np.isfinite(updates).all(axis=1) & segment.steps["applied"])
    return rows, updates[rows]


def _ratios(log: Log, segment: Segment) -> _Looks:
    """The rows at which an update was made and measured, and the ratios there, missing for all but weight matrices."""
    taken = np.isfinite(segment.values["update_norm"]).any(axis=1) & segment.steps["applied"]
    rows = np.flatnonzero(taken)
    ratios = summary.update_ratio(log, segment.take(rows))
    is_matrix = summary.matrices_of(log, segment)
    if is_matrix.any():
        ratios[:, ~is_matrix] = np.nan
    known = np.isfinite(ratios).any(axis=1)
    return rows[known], ratios[known]


def _first_largest(early: summary.FloatArray) -> summary.FloatArray:
    """The largest of the first ratios of each variable; 0 for one that has none at first, for it starts as zeros."""
    return np.where(np.isfinite(early[0]), np.where(np.isfinite(early), early, 0.0).max(axis=0), 0.0)


def _median(table: summary.FloatArray) -> summary.FloatArray:
    """Median of the finite numbers of each column, 0 where there is none."""
    with np.errstate(all="ignore"):
        finite = np.where(np.isfinite(table), table, np.nan)
        known = ~np.isnan(finite).all(axis=0)
        medians = np.zeros(table.shape[1])
        medians[known] = np.nanmedian(finite[:, known], axis=0)
    return medians
