"""The raw facts of a run as plain data: variables, and segments of recorded steps as NumPy arrays.

A segment holds the calls of one optimizer with one set of variables, so that every array in it is rectangular. A GAN
has two segments, an ordinary model one. The log, the store and the recorder exchange these and nothing else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gradwatch import schema
from gradwatch.causes import Cause

STEP_DTYPES: dict[str, np.dtype] = {
    "step": np.dtype(np.int64),
    "epoch": np.dtype(np.int32),
    "batch": np.dtype(np.int32),
    "applied": np.dtype(np.bool_),
    "loss": np.dtype(np.float64),
    "nonfinite_loss": np.dtype(np.bool_),
    "learning_rate": np.dtype(np.float64),
    "loss_scale": np.dtype(np.float64),
    "overflow": np.dtype(np.bool_),
    "replica": np.dtype(np.int32),
    "nonfinite_inputs": np.dtype(np.int64),
}


OUTCOMES = ("running", "completed", "stopped", "interrupted")
"""How a run stands: it goes on, or was killed and could not say so; `fit` came to its end; fail-fast stopped it; it
ended in another way, such as an error."""


@dataclasses.dataclass(frozen=True)
class VariableInfo:
    """What is known of one trainable variable.

    Args:
        path: Its Keras path, "dense/kernel"; unique in a run.
        layer: The path of its layer, "dense".
        shape: Its shape.
        dtype: Its dtype, "float32".
        tracked: Whether its model knows it; false for a variable that was used but never tracked.
        cuts: Where the path from it to the loss is cut, as far as that is known.
        submodel: Name of the Keras model that it belongs to, if that is part of the model that is trained; else "".
        activation: Keras' name of the activation after its layer; "" if there is none, or none that could be seen.
    """

    path: str
    layer: str
    shape: tuple[int, ...]
    dtype: str
    tracked: bool = True
    cuts: tuple[Cause, ...] = ()
    submodel: str = ""
    activation: str = ""

    @property
    def size(self) -> int:
        """Number of entries."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclasses.dataclass(frozen=True)
class Origin:
    """What made the first NaN or Inf of a step.

    Args:
        step: The optimizer call.
        cause: The operation.
    """

    step: int
    cause: Cause


@dataclasses.dataclass(frozen=True)
class Output:
    """How a model with one output ends, and what its loss compares that with.

    Args:
        layer: Path of the last layer with a kernel, "" where it is not known.
        activation: Keras' name of the last activation, "linear" if the last thing is a kernel and a bias, "" if it is
            something else.
        num_units: Length of the last axis of the output.
        loss: Name of the loss, "" where it is not one of Keras or there are several.
        from_logits: Whether that loss takes logits.
        target_min: The smallest target that was looked at, `None` if none was.
        target_max: The largest one.
    """

    layer: str
    activation: str
    num_units: int
    loss: str = ""
    from_logits: bool = False
    target_min: float | None = None
    target_max: float | None = None

    @property
    def loss_kind(self) -> str:
        """The name of the loss as one word, the same for Keras' class and its function: "meansquarederror"."""
        return self.loss.replace("_", "").lower()


@dataclasses.dataclass(frozen=True)
class RunInfo:
    """What is known of a run as a whole.

    Args:
        model: Name of the model.
        versions: Versions of gradwatch, keras, tensorflow and python.
        every_steps: Each how many calls of an optimizer are recorded.
        statistics: Names of the statistics taken.
        on_nonfinite: "record" or "skip".
        allow_detached: Glob patterns of variables that may have no gradient.
        num_trainable: Number of trainable variables of the model, `None` until the first step was seen.
        origins: What made the first NaN or Inf of steps for which that was found out.
        nonfinite_metrics: Names of the metrics that were NaN or Inf at the end of an epoch.
        options: The options of the watch, as far as they are plain data.
        summary: The model and its layers, a line each: name, class, shape of the output, number of weights.
        started: When it began, in UTC ("2026-11-27T09:30:00+00:00"); "" where that is not known.
        ended: When it ended; "" as long as it goes on.
        outcome: One of `OUTCOMES`; "" where that is not known.
        resumed_at: Steps at which a later process went on with it.
        output: How the model ends, where it has one output and that is known.
        nonfinite_variables: Paths of variables, of optimizers too, that held NaN or Inf when training ended.
    """

    model: str = ""
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    every_steps: int = 1
    statistics: tuple[str, ...] = schema.DEFAULT_STATISTICS
    on_nonfinite: str = "record"
    allow_detached: tuple[str, ...] = ()
    num_trainable: int | None = None
    origins: tuple[Origin, ...] = ()
    nonfinite_metrics: tuple[str, ...] = ()
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    summary: str = ""
    started: str = ""
    ended: str = ""
    outcome: str = ""
    resumed_at: tuple[int, ...] = ()
    output: Output | None = None
    nonfinite_variables: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Segment:
    """Recorded calls of one optimizer with one set of variables.

    Args:
        optimizer: Name of the optimizer.
        variables: Indices of the variables that had a gradient, in model order.
        detached: Indices of the variables whose gradient was `None`.
        steps: For each name of `schema.STEP_COLUMNS` an array `[steps]`.
        values: For each statistic taken an array `[steps, variables]`.
    """

    optimizer: str
    variables: tuple[int, ...]
    detached: tuple[int, ...]
    steps: dict[str, npt.NDArray]
    values: dict[str, npt.NDArray]

    @property
    def key(self) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
        """What two segments must share to be joined."""
        return (self.optimizer, self.variables, self.detached)

    @property
    def num_steps(self) -> int:
        """Number of recorded calls."""
        return len(self.steps["step"])

    @property
    def num_records(self) -> int:
        """Number of rows it has in `log.frame()`."""
        return self.num_steps * (len(self.variables) + len(self.detached))

    @property
    def num_bytes(self) -> int:
        """Bytes of its arrays."""
        return sum(array.nbytes for array in (*self.steps.values(), *self.values.values()))

    @property
    def is_finite(self) -> bool:
        """Whether no loss and no gradient is known to hold a NaN or an Inf."""
        arrays = [self.steps["nonfinite_loss"], *(self.values[name] for name in schema.COUNTS if name in self.values)]
        norms = self.values.get("grad_norm", np.zeros(0))
        return not any(array.any() for array in arrays) and bool(np.isfinite(norms).all())

    def copy(self) -> Segment:
        """The same segment with arrays of its own."""
        return dataclasses.replace(
            self,
            steps={name: array.copy() for name, array in self.steps.items()},
            values={name: array.copy() for name, array in self.values.items()},
        )

    def take(self, rows: slice | npt.NDArray) -> Segment:
        """The same segment with some of its steps; a slice makes no copy."""
        return dataclasses.replace(
            self,
            steps={name: values[rows] for name, values in self.steps.items()},
            values={name: values[rows] for name, values in self.values.items()},
        )


def detached_step(optimizer: str, detached: Sequence[int], step: int, statistics: Sequence[str]) -> Segment:
    """A segment with the one step of an optimizer that was given no gradient at all.

    Args:
        optimizer: Name of the optimizer.
        detached: Numbers of its variables.
        step: Number of the step.
        statistics: Names of the statistics that the log has.
    """
    steps = {name: np.zeros(1, dtype) for name, dtype in STEP_DTYPES.items()}
    steps["step"][:], steps["replica"][:] = step, -1
    steps["loss"][:] = steps["learning_rate"][:] = steps["loss_scale"][:] = np.nan
    values = {name: np.zeros((1, 0), np.int64 if name in schema.COUNTS else np.float64) for name in statistics}
    return Segment(optimizer, (), tuple(detached), steps, values)


def renumber(segment: Segment, places: Mapping[int, int]) -> Segment:
    """The segment with other numbers for its variables, and its columns in the order of these numbers.

    Args:
        segment: The segment.
        places: The new number for each old one.
    """
    variables = [places[number] for number in segment.variables]
    order = np.argsort(variables, kind="stable")
    in_order = np.array_equal(order, np.arange(len(order)))
    return dataclasses.replace(
        segment,
        variables=tuple(sorted(variables)),
        detached=tuple(sorted(places[number] for number in segment.detached)),
        values=segment.values if in_order else {name: values[:, order] for name, values in segment.values.items()},
    )


def repoint(
    segments: Iterable[Segment], before: Sequence[VariableInfo], after: Sequence[VariableInfo]
) -> list[Segment]:
    """Segments that point into one list of variables, pointing into another one.

    Args:
        segments: The segments.
        before: The variables that they point into.
        after: Variables among which are all that they point to.
    """
    places = {variable.path: place for place, variable in enumerate(after)}
    moved = {number: places[v.path] for number, v in enumerate(before) if v.path in places}
    return [renumber(segment, moved) for segment in segments]


def join(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Joins segments of equal `key` in the order given; the rest stay apart, in order of first appearance."""
    groups: dict[tuple, list[Segment]] = {}
    for segment in segments:
        groups.setdefault(segment.key, []).append(segment)
    return tuple(group[0] if len(group) == 1 else _concatenate(group) for group in groups.values())


def _concatenate(segments: list[Segment]) -> Segment:
    first = segments[0]
    return dataclasses.replace(
        first,
        steps={name: np.concatenate([segment.steps[name] for segment in segments]) for name in first.steps},
        values={name: np.concatenate([segment.values[name] for segment in segments]) for name in first.values},
    )
