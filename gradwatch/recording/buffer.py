"""The device side of a log: the clock of a run, and a buffer of rows that is drained in one copy."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

Tensor = Any

CAPACITY = 128
"""Rows of a buffer; it is drained long before it is full."""

EPOCH, BATCH, STEP, TICK, LATCHED, ALARMS, HELD = CLOCK = range(7)
# STEP counts calls of optimizers, TICK the steps of the program around them.
CALLS, ROWS = range(2)


def outside(make: Callable[[], Any]) -> Any:
    """Makes a variable as if nothing was being traced and no strategy was in force: both belong to a thread."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as elsewhere:
        return elsewhere.submit(make).result()


class Counters:
    """A few int64 counters in one variable on the device, made outside of any graph that is being traced.

    Args:
        num_counters: How many.
    """

    def __init__(self, num_counters: int) -> None:
        self._size = num_counters
        self.variable = outside(
            lambda: tf.Variable(tf.zeros([num_counters], tf.int64), trainable=False, name="gradwatch_counters")
        )

    def __getitem__(self, index: int) -> Tensor:
        return self.variable[index]

    def add(self, amounts: dict[int, int | Tensor]) -> None:
        """Adds to several counters at once."""
        known = np.array([0 if tf.is_tensor(amounts.get(i, 0)) else amounts.get(i, 0) for i in range(self._size)])
        total = tf.constant(known, tf.int64)
        for index, amount in amounts.items():
            if tf.is_tensor(amount):
                total += tf.cast(amount, tf.int64) * tf.constant(np.eye(self._size, dtype=np.int64)[index])
        self.variable.assign_add(total)

    def put(self, values: dict[int, int | Tensor]) -> None:
        """Sets several counters and leaves the others."""
        current = self.variable.read_value()
        self.variable.assign(
            tf.stack([tf.cast(values.get(index, current[index]), tf.int64) for index in range(self._size)])
        )


class RowBuffer:
    """Rows of float64 numbers on the device, appended inside the traced step.

    float64 holds every count up to 2^53 and every float32 exactly, and a row is tiny beside the gradients it tells of.

    Args:
        width: Numbers in a row.
        capacity: Rows held; when more are appended without a drain the oldest are lost, and `drain` says how many.
    """

    def __init__(self, width: int, capacity: int = CAPACITY) -> None:
        self.width = width
        self.capacity = capacity
        self.counters = Counters(2)
        self.rows = outside(
            lambda: tf.Variable(tf.zeros([capacity, width], tf.float64), trainable=False, name="gradwatch_rows")
        )
        self._drained = 0

    def append(self, row: Tensor, only_if: Tensor | None = None) -> None:
        """Adds one row `[width]`; where `only_if`, a bool scalar, is false, the next row will take its place."""
        index = tf.math.floormod(self.counters[ROWS], self.capacity)
        self.rows.scatter_nd_update(tf.reshape(index, [1, 1]), tf.reshape(row, [1, self.width]))
        self.counters.add({CALLS: 1, ROWS: 1 if only_if is None else only_if})

    def packed(self) -> Tensor:
        """Everything in it as one flat float64 tensor, for `unpack`."""
        return tf.concat([tf.cast(self.counters.variable, tf.float64), tf.reshape(self.rows, [-1])], axis=0)

    @property
    def packed_size(self) -> int:
        """Length of `packed()`."""
        return 2 + self.capacity * self.width

    def unpack(self, packed: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], int]:
        """The rows that were appended since the last time.

        Returns:
            The rows `[rows, width]` in order, and the number of rows lost because the buffer ran over.
        """
        written = int(packed[ROWS])
        first = max(self._drained, written - self.capacity)
        lost = first - self._drained
        self._drained = written
        rows = packed[2:].reshape(self.capacity, self.width)
        return rows[np.arange(first, written) % self.capacity], lost


def fetch(buffers: Sequence[RowBuffer]) -> list[npt.NDArray[np.float64]]:
    """Copies all buffers to the host, in one copy; returns the packed content of each."""
    if not buffers:
        return []
    flat = tf.concat([buffer.packed() for buffer in buffers], axis=0).numpy()
    return np.split(flat, np.cumsum([buffer.packed_size for buffer in buffers])[:-1])
