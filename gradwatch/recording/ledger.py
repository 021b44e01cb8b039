"""The rows of a run on the device: one buffer for each kind of row, written in the step, drained by the host."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from gradwatch.errors import warn
from gradwatch.recording import buffer, statistics
from gradwatch.recording.buffer import ALARMS, BATCH, CALLS, CLOCK, EPOCH, STEP, Counters, RowBuffer
from gradwatch.recording.probe import Call, apply_if
from gradwatch.recording.rows import Layout, row_of, width_of
from gradwatch.recording.variables import VariableTable
from gradwatch.records import Segment

Tensor = Any

STEPS_BETWEEN_DRAINS = 50
"""Steps after which the host drains the buffers; they have room for so many, and for one group of steps more."""


class Ledger:
    """Writes calls of optimizers as rows.

    Args:
        names: Statistics to take.
        every_steps: Write each N-th call of an optimizer; calls with NaN or Inf are written all the same.
        table: Gives the variables their numbers.
    """

    def __init__(self, names: tuple[str, ...], every_steps: int, table: VariableTable) -> None:
        self.clock = Counters(len(CLOCK))
        self._steps_at_once = 1
        self._names = names
        self._every_steps = every_steps
        self._table = table
        self._layouts: dict[tuple, Layout] = {}

    def reserve(self, steps_at_once: int) -> None:
        """Makes room for so many steps between two looks of the host; to be called when everything is drained."""
        if steps_at_once > self._steps_at_once:
            self._layouts.clear()
        self._steps_at_once = steps_at_once

    def drain(self) -> list[Segment]:
        """Copies what was written since the last time to the host, in one copy."""
        layouts = list(self._layouts.values())
        segments = []
        for layout, packed in zip(layouts, buffer.fetch([layout.buffer for layout in layouts]), strict=True):
            rows, lost = layout.buffer.unpack(packed)
            if lost:
                _warn_of_loss(layout, lost)
            if len(rows):
                segments.append(layout.segment(rows))
        return segments

    def record(self, call: Call, batch: list[Tensor], calls_in_step: int) -> None:
        """Writes one call; to be called in the graph in which the call was made.

        Args:
            call: The call.
            batch: Tensors of the batch, to be searched for NaN and Inf if the call is bad.
            calls_in_step: How many calls of this kind a step may make.
        """
        if not call.attached:
            return
        rows = self._layout(call, calls_in_step).buffer
        alarm = tf.logical_not(call.finite)
        if call.loss is not None:
            alarm = tf.logical_or(alarm, tf.logical_not(tf.math.is_finite(call.loss)))
        due = tf.equal(tf.math.floormod(rows.counters[CALLS], self._every_steps), 0)
        header = self._header(call, batch, alarm)

        if self._every_steps == 1:
            rows.append(row_of(call, header, self._names))
        elif call.compiled:
            rows.append(row_of(call, header, self._names), only_if=tf.logical_or(due, alarm))
        else:
            apply_if(tf.logical_or(due, alarm), lambda: rows.append(row_of(call, header, self._names)))
        rows.counters.add({CALLS: 1})
        self.clock.add({STEP: 1, ALARMS: alarm})

    def _header(self, call: Call, batch: list[Tensor], alarm: Tensor) -> dict[str, Tensor]:
        missing = tf.constant(np.nan, tf.float64)
        return {
            "step": self.clock[STEP],
            "epoch": self.clock[EPOCH],
            "batch": self.clock[BATCH],
            "applied": tf.constant(True) if call.applied is None else call.applied,
            "loss": missing if call.loss is None else call.loss,
            "nonfinite_loss": tf.constant(False) if call.loss is None else ~tf.math.is_finite(call.loss),
            "learning_rate": call.learning_rate,
            "loss_scale": missing if call.loss_scale is None else call.loss_scale,
            "overflow": ~call.finite if call.adapts_scale else tf.constant(False),
            "replica": tf.constant(-1) if call.replica is None else call.replica,
            "nonfinite_inputs": self._nonfinite_inputs(call, batch, alarm),
        }

    @staticmethod
    def _nonfinite_inputs(call: Call, batch: list[Tensor], alarm: Tensor) -> Tensor:
        if call.nonfinite_inputs is not None:
            return call.nonfinite_inputs
        if call.compiled:
            return statistics.count_nonfinite(batch)
        return tf.cond(alarm, lambda: statistics.count_nonfinite(batch), lambda: tf.zeros((), tf.float64))

    def _layout(self, call: Call, calls_in_step: int) -> Layout:
        numbers = self._table.add(call.variables)
        attached = tuple(numbers[position] for position in call.attached)
        detached = tuple(number for number in numbers if number not in set(attached))
        key = (call.optimizer, attached, detached)
        if key not in self._layouts:
            capacity = max(buffer.CAPACITY, (STEPS_BETWEEN_DRAINS + self._steps_at_once) * calls_in_step)
            if call.nested:
                capacity = max(buffer.CAPACITY, calls_in_step)
            wide = any(call.grads[position].dtype == tf.float64 for position in call.attached)
            self._layouts[key] = Layout(
                optimizer=call.optimizer,
                attached=attached,
                detached=detached,
                statistics=self._names,
                dtype=np.float64 if wide else np.float32,
                buffer=RowBuffer(width_of(len(attached), len(self._names)), capacity),
            )
        return self._layouts[key]


def _warn_of_loss(layout: Layout, lost: int) -> None:
    warn(
        f"gradwatch lost {lost} records of optimizer {layout.optimizer!r}: it was called more than "
        f"{layout.buffer.capacity} times between two looks of the host. Use a smaller `steps_per_execution`, fewer "
        "calls in a loop inside the step, or a larger `every_steps`."
    )
