"""What the numbers of a row mean: a call of an optimizer as one row, and rows as a segment of the log."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from gradwatch import schema
from gradwatch.recording import statistics
from gradwatch.recording.buffer import RowBuffer
from gradwatch.recording.probe import Call
from gradwatch.records import STEP_DTYPES, Segment

Tensor = Any

HEADER = tuple(STEP_DTYPES)
"""First numbers of a row, one for each field of a step; the statistics follow, `[statistics, variables]` made flat."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """One kind of row, and the buffer for such rows.

    Args:
        optimizer: Name of the optimizer.
        attached: Numbers of the variables with a gradient.
        detached: Numbers of the variables without.
        statistics: Names of the statistics taken.
        dtype: NumPy dtype that magnitudes are kept with on the host.
        buffer: The rows on the device.
    """

    optimizer: str
    attached: tuple[int, ...]
    detached: tuple[int, ...]
    statistics: tuple[str, ...]
    dtype: npt.DTypeLike
    buffer: RowBuffer

    def segment(self, rows: npt.NDArray[np.float64]) -> Segment:
        """Drained rows `[rows, width]` as a segment of the log."""
        steps = {name: _as(rows[:, column], dtype) for column, (name, dtype) in enumerate(STEP_DTYPES.items())}
        values = rows[:, len(HEADER) :].reshape(len(rows), len(self.statistics), len(self.attached))
        return Segment(
            optimizer=self.optimizer,
            variables=self.attached,
            detached=self.detached,
            steps=steps,
            values={
                name: _as(values[:, column], np.int64 if name in schema.COUNTS else self._dtype_of(name))
                for column, name in enumerate(self.statistics)
            },
        )

    def _dtype_of(self, name: str) -> npt.DTypeLike:
        # A norm of float32 entries may itself be above float32's range.
        return np.float64 if name.endswith("_norm") else self.dtype


def width_of(num_variables: int, num_statistics: int) -> int:
    """Numbers in a row."""
    return len(HEADER) + num_variables * num_statistics


def row_of(call: Call, header: dict[str, Tensor], names: Sequence[str]) -> Tensor:
    """One row, float64 `[width]`.

    Args:
        call: The call.
        header: A scalar for each name in `HEADER`.
        names: Statistics to take.
    """
    first = tf.stack([tf.cast(header[name], tf.float64) for name in HEADER])
    columns = _statistics_of(call, names)
    return tf.concat([first, *(columns[name] for name in names)], axis=0)


def _statistics_of(call: Call, names: Sequence[str]) -> dict[str, Tensor]:
    """For each name a float64 `[variables]`; what belongs to the gradient is divided by the loss scale."""
    variables = [call.variables[position] for position in call.attached]
    columns: dict[str, Tensor] = {}
    of_gradient = [name for name in names if name in statistics.GRADIENT_STATISTICS]
    if of_gradient:
        sizes = [int(np.prod(variable.shape, dtype=np.int64)) for variable in variables]
        measured = statistics.measure(call.entries, sizes, call.sums, of_gradient)
        columns = dict(zip(of_gradient, tf.unstack(measured, axis=1), strict=True))
    if call.loss_scale is not None:
        for name in {"grad_norm", "grad_max"} & set(columns):
            columns[name] = columns[name] / call.loss_scale
    if "weight_norm" in names:
        columns["weight_norm"] = tf.stack([statistics.norm(before) for before in call.weights])
    if "update_norm" in names:
        after = [call.weights_after.get(id(variable), variable) for variable in variables]
        pairs = zip(call.weights, after, strict=True)
        columns["update_norm"] = tf.stack([statistics.norm_of_change(*pair) for pair in pairs])
    return columns


def _as(values: npt.NDArray[np.float64], dtype: npt.DTypeLike) -> npt.NDArray:
    with np.errstate(over="ignore"):  # a finite float64 above float32's range becomes Inf
        return values.astype(dtype)
