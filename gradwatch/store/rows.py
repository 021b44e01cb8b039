"""Segments as rows of an Arrow table, and back.

A row is a record: one variable at one optimizer call. A table holds whole steps of one segment, in order of step, then
of the model, so that reading is reshaping and no row is looked at by itself. Column types are the same whatever the
dtypes of the arrays: who reads several files as one takes the types of the first.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gradwatch import records, schema
from gradwatch.records import Segment, VariableInfo

MAX_ROWS = 2**18
"""Most rows of one table, if a step has no more."""

FLOATS = tuple(column.name for column in schema.VALUES if column.name not in schema.COUNTS)
_TYPES = {"int64": pa.int64(), "Int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}
_DTYPES = {name: ("float32", "float64") if name in FLOATS else ("int32", "int64") for name in schema.VALUE_NAMES}


def _arrow_schema() -> pa.Schema:
    label = pa.dictionary(pa.int32(), pa.string())
    fields = {name: pa.field(name, label, nullable=False) for name in ("optimizer", "layer", "variable")}
    fields |= {c.name: pa.field(c.name, _TYPES[c.dtype], nullable=c.name == "loss_scale") for c in schema.STEP_COLUMNS}
    fields |= {c.name: pa.field(c.name, _TYPES[c.dtype]) for c in schema.VALUES}
    fields["detached"] = pa.field("detached", pa.bool_(), nullable=False)
    fields["segment"] = pa.field("segment", pa.int32(), nullable=False)
    first = [fields.pop(name) for name in schema.FRAME_COLUMNS]
    return pa.schema([*first, *fields.values()])


ARROW_SCHEMA = _arrow_schema()
"""The columns of `Log.frame()`, then the other facts about a step, then the number of the segment."""


@dataclasses.dataclass(frozen=True)
class Labels:
    """What the codes of the string columns of a file stand for, in model order.

    Args:
        optimizers: Names of optimizers.
        layers: Paths of layers.
        variables: Paths of variables.
        layer_of: For each variable the index of its layer.
    """

    optimizers: tuple[str, ...]
    layers: tuple[str, ...]
    variables: tuple[str, ...]
    layer_of: npt.NDArray[np.int32]

    @classmethod
    def of(cls, variables: Sequence[VariableInfo], segments: Sequence[Segment]) -> Labels:
        """The labels of a file with these variables and segments."""
        layers = {layer: code for code, layer in enumerate(dict.fromkeys(variable.layer for variable in variables))}
        return cls(
            optimizers=tuple(dict.fromkeys(segment.optimizer for segment in segments)),
            layers=tuple(layers),
            variables=tuple(variable.path for variable in variables),
            layer_of=np.array([layers[variable.layer] for variable in variables], dtype=np.int32),
        )


def checked(segment: Segment, num_variables: int) -> Segment:
    """The segment with contiguous arrays of the right dtypes.

    Args:
        segment: Any segment.
        num_variables: Number of variables it may point to.

    Raises:
        ValueError: If it points past them, or if an array is missing, unknown or of another shape or dtype.
    """
    indices = (*segment.variables, *segment.detached)
    if len(set(indices)) < len(indices) or not all(0 <= index < num_variables for index in indices):
        raise ValueError(
            f"A segment points to variables that are not there, or twice to one. Received: "
            f"variables={segment.variables}, detached={segment.detached} with {num_variables} variables known. "
            "Make the variables known first."
        )
    shape = (segment.num_steps, len(segment.variables))
    for name, values in segment.values.items():
        if name not in _DTYPES or values.dtype.name not in _DTYPES[name] or values.shape != shape:
            raise ValueError(
                f"The store does not keep such values. Received: {name!r}, {values.dtype}{list(values.shape)}. "
                f"Expected an array {list(shape)} for one of: "
                + ", ".join(f"{known} ({' or '.join(dtypes)})" for known, dtypes in _DTYPES.items())
            )
    return dataclasses.replace(
        segment,
        steps={name: np.ascontiguousarray(segment.steps[name], dtype) for name, dtype in records.STEP_DTYPES.items()},
        values={name: segment.values[name] for name in schema.VALUE_NAMES if name in segment.values},
    )


def empty(segment: Segment, num_steps: int) -> Segment:
    """The same segment with new arrays of `num_steps` steps, to be filled."""
    return dataclasses.replace(
        segment,
        steps={name: np.empty(num_steps, dtype) for name, dtype in records.STEP_DTYPES.items()},
        values={
            name: np.empty((num_steps, len(segment.variables)), values.dtype) for name, values in segment.values.items()
        },
    )


def width(segment: Segment) -> int:
    """Number of rows of one step."""
    return len(segment.variables) + len(segment.detached)


def chunks(segment: Segment) -> Iterator[Segment]:
    """Whole steps of the segment, for one table each; none if it has no rows."""
    if width(segment):
        num_steps = max(1, MAX_ROWS // width(segment))
        for start in range(0, segment.num_steps, num_steps):
            yield segment.take(slice(start, start + num_steps))


def checksum(segment: Segment, start: int = 0) -> int:
    """CRC-32 of all arrays of the segment, going on from `start`."""
    for values in (*segment.steps.values(), *segment.values.values()):
        start = zlib.crc32(np.ascontiguousarray(values).data, start)
    return start


def to_table(segment: Segment, number: int, labels: Labels) -> pa.Table:
    """Rows of a segment.

    Args:
        segment: A segment as `checked` returns it.
        number: What its column `segment` says.
        labels: The labels of the file.

    Returns:
        A table of `ARROW_SCHEMA`. Missing are: a statistic that was not taken, each statistic of a detached variable,
        and the loss scale where there is none.
    """
    num_steps, attached = segment.num_steps, _attached(segment)
    variables = np.sort(np.array([*segment.variables, *segment.detached], np.int32))
    columns = {name: np.repeat(values, len(variables)) for name, values in segment.steps.items()}
    arrays = {name: pa.array(values) for name, values in columns.items()}
    arrays["loss_scale"] = pa.array(columns["loss_scale"], mask=np.isnan(columns["loss_scale"]))
    arrays["detached"] = pa.array(np.tile(~_is_in(attached, len(variables)), num_steps))
    arrays["segment"] = pa.array(np.full(num_steps * len(variables), number, np.int32))
    optimizer = np.full(num_steps * len(variables), labels.optimizers.index(segment.optimizer), np.int32)
    arrays["optimizer"] = _dictionary(optimizer, labels.optimizers)
    arrays["layer"] = _dictionary(np.tile(labels.layer_of[variables], num_steps), labels.layers)
    arrays["variable"] = _dictionary(np.tile(variables, num_steps), labels.variables)
    for name in schema.VALUE_NAMES:
        arrays[name] = _statistic(segment.values.get(name), attached, num_steps, len(variables))
    return pa.Table.from_arrays(
        [arrays[field.name].cast(field.type, safe=False) for field in ARROW_SCHEMA], schema=ARROW_SCHEMA
    )


def from_table(table: pa.Table, segment: Segment) -> None:
    """Fills the arrays of `segment` with the rows of a table.

    Args:
        table: As `to_table` makes it, with at least the columns that the segment has arrays for.
        segment: As many steps as the table has; its arrays are written to.

    Raises:
        ValueError: If the table has another number of rows.
    """
    attached = _attached(segment)
    all_attached = not segment.detached and np.array_equal(attached, np.arange(width(segment)))
    with np.errstate(all="ignore"):  # the checksum tells what a cast of damaged values loses
        for name, values in segment.steps.items():
            values[:] = _numbers(table[name])[:: width(segment)]
        for name, values in segment.values.items():
            rows = _raw(table[name]).reshape(segment.num_steps, width(segment))
            values[:] = rows if all_attached else rows[:, attached]


def as_read(segment: Segment) -> Segment:
    """The segment as it comes back from the file: bits of a NaN change in a cast, and when it is stored as missing."""
    with np.errstate(invalid="ignore"):
        values = {
            name: array.astype(np.float64).astype(array.dtype) if name in FLOATS else array
            for name, array in segment.values.items()
        }
    loss_scale = segment.steps["loss_scale"]
    steps = {**segment.steps, "loss_scale": np.where(np.isnan(loss_scale), np.nan, loss_scale)}
    return dataclasses.replace(segment, steps=steps, values=values)


def _attached(segment: Segment) -> npt.NDArray[np.int64]:
    """For each variable with a gradient its place among the rows of a step."""
    order = np.argsort(np.array([*segment.variables, *segment.detached], np.int64))
    return np.argsort(order)[: len(segment.variables)]


def _is_in(places: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.bool_]:
    present = np.zeros(length, bool)
    present[places] = True
    return present


def _dictionary(codes: npt.NDArray[np.int32], labels: tuple[str, ...]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(labels, pa.string()))


def _statistic(
    values: npt.NDArray | None, attached: npt.NDArray[np.int64], num_steps: int, num_variables: int
) -> pa.Array:
    """One statistic `[steps, attached]` as rows, missing for the detached."""
    if values is None:
        return pa.nulls(num_steps * num_variables)
    rows = np.zeros((num_steps, num_variables), np.float64 if values.dtype.kind == "f" else np.int64)
    rows[:, attached] = values
    if len(attached) == num_variables:
        return pa.array(rows.ravel())
    return pa.array(rows.ravel(), mask=np.tile(~_is_in(attached, num_variables), num_steps))


def _numbers(column: pa.ChunkedArray) -> npt.NDArray:
    """The numbers of a column, NaN where it is missing; Arrow's own `to_numpy` would load pandas."""
    array = column.combine_chunks()
    values = _bits(array.buffers()[1], array) if pa.types.is_boolean(array.type) else _raw(column)
    return np.where(_bits(array.buffers()[0], array), values, np.nan) if array.null_count else values


def _bits(buffer: pa.Buffer, array: pa.Array) -> npt.NDArray[np.bool_]:
    bits = np.unpackbits(np.frombuffer(buffer, np.uint8), bitorder="little")
    return bits[array.offset : array.offset + len(array)].astype(bool)


def _raw(column: pa.ChunkedArray) -> npt.NDArray:
    """The numbers of a column without a copy; anything where it is missing."""
    array = column.combine_chunks()
    dtype = np.int64 if pa.types.is_integer(array.type) else np.float64
    return np.frombuffer(array.buffers()[1], dtype)[array.offset : array.offset + len(array)]
