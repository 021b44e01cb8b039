"""Numbers that rules and plots share, each derived once from the raw facts of a log.

The functions take a log and one of its segments and return an array with one row per recorded call; `wide` and
`wide_layers` put the answers for all segments of a log into one table. A number whose statistic was not taken is
missing (`NaN`), a mask that cannot be known is `None`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gradwatch import schema
from gradwatch.deferred import Deferred
from gradwatch.log import Log
from gradwatch.records import Segment

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = Deferred("pandas")

FloatArray = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Layers = dict[str, npt.NDArray[np.int64]]
"""For each layer the positions of its variables among the columns of a segment."""


def sizes(log: Log, segment: Segment) -> FloatArray:
    """Number of entries of each variable of the segment that had a gradient.  # [variables]."""
    return np.array([log.variable_infos[index].size for index in segment.variables], dtype=np.float64)


def layers(log: Log, segment: Segment) -> Layers:
    """The layers of the segment, in model order, each with the columns of its variables that had a gradient."""
    columns: dict[str, list[int]] = {}
    for column, index in enumerate(segment.variables):
        columns.setdefault(log.variable_infos[index].layer, []).append(column)
    return {layer: np.array(members, dtype=np.int64) for layer, members in columns.items()}


def weight_layers(log: Log, segment: Segment) -> Layers:
    """The layers to compare with each other: those that have a weight matrix, each with its matrices only.

    Biases (of whatever rank), normalization scales and other vectors are left out: their gradient is a sum over
    whatever they are added to or multiplied with, and is right to be next to zero before a normalization or in the key
    projection of an attention. Where fewer than two layers have a matrix, all layers count, with all of their
    variables.

    Returns:
        The layers in model order, as `layers`.
    """
    every = layers(log, segment)
    is_matrix = matrices_of(log, segment)
    matrices = {layer: columns[is_matrix[columns]] for layer, columns in every.items()}
    matrices = {layer: columns for layer, columns in matrices.items() if len(columns)}
    return matrices if len(matrices) >= 2 else every


def matrices_of(log: Log, segment: Segment) -> Mask:
    """Which variables are weight matrices: of two axes or more, and no bias.  # [variables]."""
    infos = [log.variable_infos[index] for index in segment.variables]
    return np.array([len(info.shape) >= 2 and "bias" not in info.path.rpartition("/")[2] for info in infos], bool)


def values(segment: Segment, statistic: str) -> FloatArray:
    """One statistic as stored; missing where it was not taken.  # [steps, variables]."""
    if statistic not in segment.values:
        return np.full((segment.num_steps, len(segment.variables)), np.nan)
    return segment.values[statistic].astype(np.float64, copy=False)


def rms(log: Log, segment: Segment) -> FloatArray:
    """Root mean square of the entries of each gradient, `norm / sqrt(size)`.

    Comparable between variables where a norm is not: a norm grows with the number of entries.

    Returns:
        `[steps, variables]`, float64, loss per unit of weight.
    """
    return _divided(values(segment, "grad_norm"), np.sqrt(sizes(log, segment)))


def layer_norms(log: Log, segment: Segment, members: Layers | None = None) -> FloatArray:
    """L2 norm of all gradients of a layer together, the root of the sum of the squares of its norms.

    Args:
        log: The log.
        segment: One of its segments.
        members: The columns that count for each layer; all of them by default.

    Returns:
        `[steps, layers]`, float64, loss per unit of weight.
    """
    return np.sqrt(_summed(np.square(values(segment, "grad_norm")), members or layers(log, segment)))


def layer_rms(log: Log, segment: Segment, members: Layers | None = None, *, nonzero: bool = False) -> FloatArray:
    """Root mean square of all gradient entries of a layer.

    Args:
        log: The log.
        segment: One of its segments.
        members: The columns that count for each layer; all of them by default.
        nonzero: Leave entries that are exactly zero out of the mean (by the last `zero_fraction` taken), so that a
            large embedding of which a batch touches few rows compares with a dense layer.

    Returns:
        `[steps, layers]`, float64, loss per unit of weight; 0 where every entry is zero.
    """
    members = members or layers(log, segment)
    counts = np.broadcast_to(sizes(log, segment), (segment.num_steps, len(segment.variables)))
    if nonzero and "zero_fraction" in segment.values:
        # Taken on a schedule: which rows of a table a batch touches changes, how many hardly does.
        counts = counts * (1 - _latest(values(segment, "zero_fraction")))
    return _divided(layer_norms(log, segment, members), np.sqrt(_summed(counts, members)))


def update_ratio(log: Log, segment: Segment) -> FloatArray:
    """Size of a step's update against the size of the weights, `update_norm / weight_norm`.

    Around 1e-3 is usual; far above it the learning rate is likely too high, far below it too low. Missing where the
    weights are all zero, as a bias is at first.

    Returns:
        `[steps, variables]`, float64, a pure number.

    References:
        Karpathy, CS231n notes, Neural Networks Part 3, "Ratio of weights:updates".
    """
    weights = values(segment, "weight_norm")
    return _divided(values(segment, "update_norm"), np.where(weights > 0, weights, np.nan))


def nonfinite(segment: Segment) -> Mask | None:
    """Which gradients hold NaN or Inf, by their counts, or by their norm if no count was taken.

    Returns:
        `[steps, variables]`, or `None` where neither was taken.
    """
    counts = [segment.values[name] > 0 for name in schema.COUNTS if name in segment.values]
    if counts:
        return np.asarray(np.logical_or.reduce(counts))
    return ~np.isfinite(segment.values["grad_norm"]) if "grad_norm" in segment.values else None


def zero(segment: Segment) -> Mask | None:
    """Which gradients are exactly zero in every entry.

    By the share of zeros or the largest entry where they were taken, and else by the norm, which the recorder keeps
    from vanishing while an entry does not.

    Returns:
        `[steps, variables]`, or `None` where none of the three was taken.
    """
    zeros: Mask | None = None
    if "grad_norm" in segment.values:
        zeros = values(segment, "grad_norm") == 0
    for name, when in (("grad_max", 0.0), ("zero_fraction", 1.0)):
        if name in segment.values:
            table = values(segment, name)
            otherwise = np.zeros(table.shape, bool) if zeros is None else zeros
            zeros = np.where(np.isnan(table), otherwise, table == when)
    bad = nonfinite(segment)
    return zeros if zeros is None or bad is None else zeros & ~bad


def where_taken(log: Log, statistic: str) -> Log:
    """The log with those steps only at which a statistic was taken."""
    rows = [~np.isnan(values(segment, statistic)).all(axis=1) for segment in log.segments]
    segments = [segment.take(np.flatnonzero(taken)) for segment, taken in zip(log.segments, rows, strict=True)]
    return Log(log.variable_infos, segments, log.info)


@dataclasses.dataclass(frozen=True)
class ZeroStreaks:
    """For how long gradients have been exactly zero; arrays `[variables]`, in model order.

    Args:
        judged: Number of calls that count.
        streak: Number of them since the gradient was last not zero.
        first_step: Where the streak starts; -1 without one.
    """

    judged: npt.NDArray[np.int64]
    streak: npt.NDArray[np.int64]
    first_step: npt.NDArray[np.int64]


def zero_streaks(log: Log) -> ZeroStreaks | None:
    """For how long the gradient of each variable has been exactly zero, up to the end of the log.

    Calls with a gradient that is NaN or Inf, or with a loss of exactly zero (nothing is left to learn in them), do not
    count and do not end a streak.

    Returns:
        The streaks, or `None` where it cannot be known whether a gradient was zero.
    """
    num_variables, never = len(log.variable_infos), np.iinfo(np.int64).max
    judged, streak = np.zeros(num_variables, np.int64), np.zeros(num_variables, np.int64)
    alive, first = np.full(num_variables, -1), np.full(num_variables, never)  # alive: last step with a gradient
    blocks = []
    for segment in log.segments:
        zeros, bad = zero(segment), nonfinite(segment)
        if zeros is None:
            return None
        rows = segment.steps["loss"] != 0 if bad is None else (segment.steps["loss"] != 0) & ~bad.any(axis=1)
        steps, columns = segment.steps["step"][rows], list(segment.variables)
        blocks.append((steps, columns))
        last = np.where(zeros[rows], -1, steps[:, None]).max(axis=0, initial=-1)
        alive[columns] = np.maximum(alive[columns], last)
    for steps, columns in blocks:
        since = np.searchsorted(steps, alive[columns], side="right")  # [variables]
        judged[columns] += len(steps)
        streak[columns] += len(steps) - since
        first[columns] = np.minimum(first[columns], np.append(steps, never)[since])
    first[first == never] = -1
    return ZeroStreaks(judged, streak, first)


def gain(segment: Segment) -> float:
    """Share of itself by which the loss fell, from the median of the first tenth of the steps to that of the last.

    Returns:
        1 for a loss that fell to zero, below 0 for one that rose; NaN where fewer than 10 finite losses were seen.
    """
    loss = segment.steps["loss"][np.isfinite(segment.steps["loss"])]
    if len(loss) < 10:
        return float("nan")
    count = len(loss) // 10
    first, last = np.median(loss[:count]), np.median(loss[-count:])
    return float((first - last) / abs(first)) if first else 0.0


def against_no_skill(log: Log, segment: Segment) -> float:
    """The loss at the end, the median of the last tenth of the steps, against that of a prediction that knows nothing.

    The latter is the logarithm of the number of classes for a cross-entropy, and for a mean squared (absolute) error
    what the mean of evenly spread targets gets, a twelfth of their squared range (a quarter of their range).

    Returns:
        Around 1 where nothing was learned, next to 0 where all was; NaN where the loss, or its targets, are not known.
    """
    output, loss = log.info.output, segment.steps["loss"][np.isfinite(segment.steps["loss"])]
    if output is None or not len(loss):
        return float("nan")
    name = output.loss_kind
    last = float(np.median(loss[-max(1, len(loss) // 10) :]))
    if name.endswith("crossentropy"):
        return last / float(np.log(max(2, output.num_units)))
    if output.target_min is None or output.target_max is None or output.target_max <= output.target_min:
        return float("nan")
    span = output.target_max - output.target_min
    no_skill = {"meansquarederror": span**2 / 12, "meanabsoluteerror": span / 4}.get(name)
    return float("nan") if no_skill is None else last / no_skill


def finite_rows(segment: Segment) -> Mask:
    """Which calls have a finite norm for every gradient: those on which magnitudes can be judged.  # [steps]."""
    return np.asarray(np.isfinite(values(segment, "grad_norm")).all(axis=1))


def last_rows(rows: Mask, num_steps: int) -> npt.NDArray[np.int64]:
    """Positions of the last `num_steps` rows of a mask."""
    return np.flatnonzero(rows)[-num_steps:] if num_steps else np.zeros(0, np.int64)


def first_rows(rows: Mask, num_steps: int) -> npt.NDArray[np.int64]:
    """Positions of the first `num_steps` rows of a mask."""
    return np.flatnonzero(rows)[:num_steps]


def wide(log: Log, quantity: Callable[[Log, Segment], FloatArray]) -> pd.DataFrame:
    """A quantity per variable of all segments as one table.

    Args:
        log: The log.
        quantity: A function of this module that returns `[steps, variables]`, such as `rms`.

    Returns:
        A float frame with index `step` and one column per variable, in model order; missing where a step did not have
        the variable.
    """
    names = [variable.path for variable in log.variable_infos]
    blocks = ((segment, list(segment.variables), quantity(log, segment)) for segment in log.segments)
    return _assembled(log, pd.Index(names, name="variable"), blocks)


def wide_layers(log: Log, quantity: Callable[[Log, Segment], FloatArray]) -> pd.DataFrame:
    """A quantity per layer of all segments as one table.

    Args:
        log: The log.
        quantity: A function of this module that returns `[steps, layers]`, such as `layer_rms`.

    Returns:
        A float frame with index `step` and one column per layer, in model order; missing where a step did not have the
        layer.
    """
    names = list(dict.fromkeys(variable.layer for variable in log.variable_infos))
    blocks = (
        (segment, [names.index(layer) for layer in layers(log, segment)], quantity(log, segment))
        for segment in log.segments
    )
    return _assembled(log, pd.Index(names, name="layer"), blocks)


def layer_medians(log: Log) -> pd.Series:
    """Median over the recorded steps of the finite norms of each layer; missing where a layer has none."""
    table = wide_layers(log, layer_norms)
    return table.where(np.isfinite(table)).median()


def named_as(log: Log, other: Log) -> Log:
    """The log with the names of another one's variables, where both have variables of the same shapes in one order.

    Keras numbers what is made twice in a program, so one model has other names in a second run. Where the shapes
    differ, or the names are the same, it is the log itself.
    """
    ours, theirs = log.variable_infos, other.variable_infos
    if [variable.shape for variable in ours] != [variable.shape for variable in theirs]:
        return log
    if {variable.path for variable in ours} == {variable.path for variable in theirs}:
        return log
    return Log(theirs, log.segments, log.info)


def _assembled(log: Log, columns: pd.Index, blocks: Iterable[tuple[Segment, list[int], FloatArray]]) -> pd.DataFrame:
    steps = np.concatenate([segment.steps["step"] for segment in log.segments] or [np.zeros(0, np.int64)])
    table = np.full((len(steps), len(columns)), np.nan)  # [steps, columns]
    start = 0
    for segment, positions, block in blocks:
        stop = start + segment.num_steps
        table[start:stop, positions] = block
        start = stop
    order = np.argsort(steps, kind="stable")
    return pd.DataFrame(table[order], index=pd.Index(steps[order], name="step"), columns=columns)


def _latest(table: FloatArray) -> FloatArray:
    """The table with the value before in place of each that is missing, or before the first one the one after."""
    rows = np.where(np.isnan(table), -1, np.arange(len(table))[:, None])
    latest = np.maximum.accumulate(rows, axis=0)
    first = np.argmax(rows >= 0, axis=0) if len(table) else rows
    return np.take_along_axis(table, np.where(latest < 0, first, latest), axis=0)


def _summed(table: FloatArray, members: Layers) -> FloatArray:
    """Sums of the columns of each layer.  # [steps, layers]."""
    sums = np.empty((len(table), len(members)))
    for position, columns in enumerate(members.values()):
        sums[:, position] = table[:, columns].sum(axis=1)
    return sums


def _divided(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """The quotient; 0 / 0 is 0, for a mean over no entries."""
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = numerator / denominator
    quotient[(numerator == 0) & (denominator == 0)] = 0
    return quotient
