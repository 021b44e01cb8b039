"""What the numbers of a row mean: a call of an optimizer as one row, and rows as a segment of the log."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from gradwatch import schema
from gradwatch.recording import statistics
from gradwatch.recording.buffer import BATCH, CLOCK, EPOCH, STEP, RowBuffer
from gradwatch.recording.probe import Call
from gradwatch.recording.signals import Signals
from gradwatch.recording.weights import weight_statistics
from gradwatch.records import STEP_DTYPES, Segment

Tensor = Any
Range = tuple[float, float]

NO_RANGE: Range = (float("nan"), float("nan"))

MEASURED = ("alarm", "nonfinite_inputs")
"""Numbers that come with the statistics, before them."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """One kind of row, and the buffer for such rows.

    A row is the clock, the facts that differ from call to call, `MEASURED`, the statistics, `[statistics, variables]`
    made flat, and with signals the range of the targets. What is the same in every row is not written at all.

    Args:
        optimizer: Name of the optimizer.
        attached: Numbers of the variables with a gradient.
        detached: Numbers of the variables without.
        statistics: Names of the statistics taken.
        facts: Names of the facts in a row.
        dtype: NumPy dtype that magnitudes are kept with on the host.
        count_dtype: NumPy dtype that counts are kept with.
        buffer: The rows on the device.
        signals: Takes those of the statistics that are signals, if any are.
    """

    optimizer: str
    attached: tuple[int, ...]
    detached: tuple[int, ...]
    statistics: tuple[str, ...]
    facts: tuple[str, ...]
    dtype: npt.DTypeLike
    count_dtype: npt.DTypeLike
    buffer: RowBuffer
    signals: Signals | None = None

    def targets(self, rows: npt.NDArray[np.float64]) -> Range:
        """The range of the targets of drained rows, NaN where it was not looked at."""
        if self.signals is None or np.isnan(rows[:, -1]).all():
            return NO_RANGE
        return float(np.nanmin(rows[:, -2])), float(np.nanmax(rows[:, -1]))

    def segment(self, rows: npt.NDArray[np.float64]) -> Segment:
        """Drained rows `[rows, width]` as a segment of the log."""
        header = len(CLOCK) + len(self.facts) + len(MEASURED)
        facts = dict(zip((*self.facts, *MEASURED), rows[:, len(CLOCK) : header].T, strict=True))
        steps = _steps(rows[:, : len(CLOCK)], facts)
        stop = header + len(self.statistics) * len(self.attached)
        values = rows[:, header:stop].reshape(len(rows), len(self.statistics), len(self.attached))
        if "loss_scale" in facts:
            scaled = [column for column, name in enumerate(self.statistics) if name in ("grad_norm", "grad_max")]
            values[:, scaled] /= facts["loss_scale"][:, np.newaxis, np.newaxis]
        return Segment(
            optimizer=self.optimizer,
            variables=self.attached,
            detached=self.detached,
            steps={name: steps[name].astype(dtype) for name, dtype in STEP_DTYPES.items()},
            values={name: _as(values[:, column], self._dtype_of(name)) for column, name in enumerate(self.statistics)},
        )

    def _dtype_of(self, name: str) -> npt.DTypeLike:
        if name in schema.COUNTS:
            return self.count_dtype
        # A norm of float32 entries may itself be above float32's range.
        return np.float64 if name.endswith("_norm") else self.dtype


def facts_of(call: Call) -> dict[str, Tensor]:
    """The facts of a call that are not the same at every call of its kind, as scalars."""
    facts = {
        "loss": call.loss,
        "learning_rate": call.learning_rate,
        "loss_scale": call.loss_scale,
        "applied": call.applied,
        "overflow": tf.logical_not(call.finite) if call.adapts_scale else None,
        "replica": call.replica,
    }
    return {name: fact for name, fact in facts.items() if fact is not None}


def width_of(num_facts: int, num_variables: int, statistics: Sequence[str]) -> int:
    """Numbers in a row."""
    num_targets = 2 * any(name in schema.SIGNAL_NAMES for name in statistics)
    return len(CLOCK) + num_facts + len(MEASURED) + num_variables * len(statistics) + num_targets


def joined(one: Range, other: Range) -> Range:
    """The range that covers two."""
    return float(np.fmin(one[0], other[0])), float(np.fmax(one[1], other[1]))


def row_of(call: Call, clock: Tensor, names: Sequence[str], batch: Sequence[Tensor], detailed: Tensor | None) -> Tensor:
    """One row, float64 `[width]`.

    Args:
        call: The call.
        clock: The counters, float64 `[counters]`.
        names: Statistics to take.
        batch: Tensors of the batch, to be searched for NaN and Inf if the call is bad.
        detailed: Bool scalar: take the second pass over the gradients at this call too; `None` for at every call.
    """
    facts = list(facts_of(call).values())
    parts = [clock, *_scalars(facts), measured(call, names, batch, detailed)]
    if call.weights is not None:
        parts.append(call.weights.taken)
    else:
        parts.append(np.full(len(call.attached) * len(weight_statistics(names)), np.nan))
    return tf.concat(parts, axis=0)


def alarm_in(row: Tensor, num_facts: int) -> Tensor:
    """The number in a row that is 1 where the gradient or the loss was bad, and else 0."""
    return row[len(CLOCK) + num_facts]


def measured(call: Call, names: Sequence[str], batch: Sequence[Tensor], detailed: Tensor | None) -> Tensor:
    """`MEASURED`, and the statistics of the gradients, float64 `[2 + statistics * variables]`."""
    names = [name for name in names if name in statistics.GRADIENT_STATISTICS]
    sizes = [int(np.prod(call.variables[each.positions[0]].shape, dtype=np.int64)) for each in call.groups]

    known_finite = vars(call).get("finite")

    def quickly() -> Tensor:
        return tf.concat([np.zeros(len(MEASURED)), statistics.quick(call.norms, names)], axis=0)

    def exactly() -> Tensor:
        # Not `call.finite`: what is made in a branch must not be kept for use outside of it.
        finite = known_finite if known_finite is not None else statistics.all_finite(call.groups, None)
        good = finite if call.loss is None else tf.logical_and(finite, tf.math.is_finite(call.loss))
        alarm = tf.cast(tf.logical_not(good), tf.float64)
        inputs = statistics.count_nonfinite(batch) if call.nonfinite_inputs is None else call.nonfinite_inputs
        parts = [tf.stack([alarm, tf.cast(inputs, tf.float64) * alarm])]
        if names:
            parts.append(statistics.exact(call.groups, sizes, names, compiled=call.compiled))
        return tf.concat(parts, axis=0)

    if call.compiled or detailed is None:
        return exactly()
    plain = statistics.is_plain(call.groups, call.norms, call.loss)
    return tf.cond(tf.logical_or(detailed, tf.logical_not(plain)), exactly, quickly)


def _scalars(facts: Sequence[Tensor]) -> list[Tensor]:
    """Scalars of any dtype as float64 vectors, with few operations: those of one dtype together."""
    runs = itertools.groupby(facts, key=lambda fact: fact.dtype)
    return [tf.cast(tf.stack(list(run)), tf.float64) for _, run in runs]


def _steps(clock: npt.NDArray[np.float64], facts: dict[str, npt.NDArray[np.float64]]) -> dict[str, npt.NDArray]:
    """Every field of a step, those that are in no row with the value they have then."""
    missing = np.full(len(clock), np.nan)
    loss = facts.get("loss", missing)
    return {
        "step": clock[:, STEP],
        "epoch": clock[:, EPOCH],
        "batch": clock[:, BATCH],
        "applied": facts.get("applied", np.ones(len(clock))),
        "loss": loss,
        "nonfinite_loss": ~np.isfinite(loss) if "loss" in facts else np.zeros(len(clock)),
        "learning_rate": facts["learning_rate"],
        "loss_scale": facts.get("loss_scale", missing),
        "overflow": facts.get("overflow", np.zeros(len(clock))),
        "replica": facts.get("replica", -np.ones(len(clock))),
        "nonfinite_inputs": facts["nonfinite_inputs"],
    }


def _as(values: npt.NDArray[np.float64], dtype: npt.DTypeLike) -> npt.NDArray:
    with np.errstate(over="ignore"):  # a finite float64 above float32's range becomes Inf
        return values.astype(dtype)
