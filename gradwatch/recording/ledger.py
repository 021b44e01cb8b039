"""The rows of a run on the device: one buffer for each kind of row, written in the step, drained by the host."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from gradwatch import schema
from gradwatch.errors import warn
from gradwatch.recording import buffer
from gradwatch.recording.buffer import ALARMS, CALLS, CLOCK, STEP, TICK, Counters, RowBuffer
from gradwatch.recording.probe import Call
from gradwatch.recording.rows import NO_RANGE, Layout, alarm_in, facts_of, joined, row_of, width_of
from gradwatch.recording.signals import Signals
from gradwatch.recording.variables import VariableTable
from gradwatch.recording.weights import WeightNorms, weight_statistics
from gradwatch.records import Segment

Tensor = Any

STEPS_BETWEEN_DRAINS = 50
"""Steps after which the host drains the buffers; they have room for so many, and for one group of steps more."""

EARLY_STEPS = 20
"""Steps at the start of a run at which nothing is left out."""


class Ledger:
    """Writes calls of optimizers as rows.

    Args:
        names: Statistics to take.
        every_steps: Write each N-th call of an optimizer; calls with NaN or Inf are written all the same.
        detailed_every: Take the statistics that need a second pass over a gradient at each N-th step in which calls are
            written. Under XLA they are taken always.
        sampled_every: The same for what needs a copy of a weight, or is no gradient at all.
        samples_compiled: Copy weights under XLA too, where it is done always.
        counts_alarms: Count the bad calls, for a host that looks at each step.
        table: Gives the variables their numbers.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        every_steps: int,
        detailed_every: int,
        sampled_every: int,
        samples_compiled: bool,
        counts_alarms: bool,
        table: VariableTable,
    ) -> None:
        self.clock = Counters(len(CLOCK))
        self.targets = NO_RANGE
        self._steps_at_once = 1
        self._names = names
        self._every_steps = every_steps
        self._detailed_every = every_steps * -(-detailed_every // every_steps)
        self._sampled_every = every_steps * -(-sampled_every // every_steps)
        self._samples_compiled = samples_compiled
        self._counts_alarms = counts_alarms
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
                self.targets = joined(self.targets, layout.targets(rows))
        return segments

    def prepare(self, call: Call) -> None:
        """Keeps of the weights what an update is measured by; to be called before the update."""
        names = weight_statistics(self._names)
        if names and call.attached and (self._samples_compiled or not call.compiled):
            call.weights = WeightNorms(call.variables, call.places, names, self._is_due(call, self._sampled_every))

    def record(self, call: Call, batch: list[Tensor], calls_in_step: int, *, before: int = 0) -> dict[int, Any]:
        """Writes one call; to be called in the graph in which the call was made.

        Args:
            call: The call.
            batch: Tensors of the batch, to be searched for NaN and Inf if the call is bad.
            calls_in_step: How many calls of this kind a step may make.
            before: How many calls were written that the clock does not know of yet.

        Returns:
            What has to be added to the clock.
        """
        if not call.attached:
            return {}
        layout = self._layout(call, calls_in_step)
        rows = layout.buffer
        clock = tf.cast(self.clock.variable.read_value(), tf.float64)
        if before:
            clock += np.eye(len(CLOCK))[STEP] * before
        row = row_of(call, clock, self._names, batch, self._is_due(call, self._detailed_every))
        if layout.signals is not None:
            with_signals = layout.signals.taken(call, self._is_due(call, self._sampled_every))
            row = tf.concat([row, with_signals], axis=0)
        alarm = alarm_in(row, len(layout.facts))
        call.bad = _number_if_bad(call, row, alarm)
        if self._every_steps == 1:
            rows.append(row)
        else:
            due = tf.equal(tf.math.floormod(rows.counters[CALLS], self._every_steps), 0)
            rows.append(row, only_if=tf.logical_or(due, alarm > 0))
        return {STEP: 1, ALARMS: alarm} if self._counts_alarms else {STEP: 1}

    def _is_due(self, call: Call, every: int) -> Tensor | None:
        """Whether what is on a schedule is taken at a call; `None` where it is at every one.

        At first it is always: a short run has enough to judge by then, and a long one does not feel it.
        """
        if call.compiled or every == 1:
            return None
        tick = self.clock[TICK]
        return tf.logical_or(tick < EARLY_STEPS, tf.equal(tf.math.floormod(tick, every), 0))

    def _layout(self, call: Call, calls_in_step: int) -> Layout:
        numbers = self._table.add(call.variables)
        attached = tuple(numbers[position] for position in call.attached)
        detached = tuple(number for number in numbers if number not in set(attached))
        facts = tuple(facts_of(call))
        key = (call.optimizer, attached, detached, facts)
        if key not in self._layouts:
            capacity = max(buffer.CAPACITY, (STEPS_BETWEEN_DRAINS + self._steps_at_once) * calls_in_step)
            if call.nested:
                capacity = max(buffer.CAPACITY, calls_in_step)
            largest = max(math.prod(call.variables[position].shape) for position in call.attached)
            signals = [name for name in self._names if name in schema.SIGNAL_NAMES]
            wide = any(call.given[position].dtype == tf.float64 for position in call.attached)
            self._layouts[key] = Layout(
                optimizer=call.optimizer,
                attached=attached,
                detached=detached,
                statistics=self._names,
                facts=facts,
                dtype=np.float64 if wide else np.float32,
                count_dtype=np.int32 if largest <= np.iinfo(np.int32).max else np.int64,
                buffer=RowBuffer(width_of(len(facts), len(attached), self._names), capacity),
                signals=Signals(call, signals) if signals else None,
            )
        return self._layouts[key]


def _number_if_bad(call: Call, row: Tensor, alarm: Tensor) -> Tensor:
    """Number of the call and 1, or 0; a gradient that is how a loss scale is found is none that is bad."""
    if call.adapts_scale and call.loss_scale is not None:
        is_fault = call.loss_scale <= 1
        if call.loss is not None:
            is_fault = tf.logical_or(is_fault, tf.logical_not(tf.math.is_finite(call.loss)))
        alarm *= tf.cast(is_fault, alarm.dtype)
    return tf.cast(alarm * (row[STEP] + 1), tf.int64)


def _warn_of_loss(layout: Layout, lost: int) -> None:
    warn(
        f"gradwatch lost {lost} records of optimizer {layout.optimizer!r}: it was called more than "
        f"{layout.buffer.capacity} times between two looks of the host. Use a smaller `steps_per_execution`, fewer "
        "calls in a loop inside the step, or a larger `every_steps`."
    )
