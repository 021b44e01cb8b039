"""A step while it is traced, or run eagerly: what it is handed, what is known of it, and the loss it hands back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from gradwatch.recording.guard import Untrained
from gradwatch.recording.probe import Call
from gradwatch.recording.tapes import Tapes

Tensor = Any


@dataclasses.dataclass
class Step:
    """What is known of the step that is being traced, or run eagerly.

    Args:
        model: The model, or `None`.
        graph: The graph it is traced into, or `None` when it runs eagerly.
        batch: Tensors among its arguments.
        compiled: Whether XLA compiles it.
        function: The step as the user wrote it.
        arguments: What it was called with: positional arguments and keyword arguments.
        optimizers: The optimizers by name.
        only_asks: Whether it is traced only to ask where a gradient is cut; then no update is made.
        untrained: Weights that are not trained, from before the step; `None` where no update may be held back.
        has_replicas: Whether it runs on several replicas.
        of_optimizers: Identities of the variables that belong to optimizers.
        calls: Calls of optimizers so far that are still to be recorded.
        loss: The loss as last seen, or `None`.
        tapes: What its tapes have done so far.
        state_before: Variables that the step may change without an optimizer, with their values from before it.
    """

    model: Any
    graph: Any
    batch: list[Tensor]
    compiled: bool
    function: Callable[..., Any] | None = None
    arguments: tuple[tuple, dict[str, Any]] = ((), {})
    optimizers: dict[str, Any] = dataclasses.field(default_factory=dict)
    only_asks: bool = False
    untrained: Untrained | None = None
    has_replicas: bool = False
    of_optimizers: set[int] = dataclasses.field(default_factory=set)
    calls: list[Call] = dataclasses.field(default_factory=list)
    loss: Tensor | None = None
    tapes: Tapes = dataclasses.field(default_factory=Tapes)
    state_before: list[tuple[Any, Tensor]] = dataclasses.field(default_factory=list)

    @property
    def is_current(self) -> bool:
        """Whether operations made now belong to the step itself, not to a function inside of it."""
        return current_graph() is self.graph

    def read_metrics(self) -> list[Tensor]:
        """The values of the metrics as they are now, among them the mean of the loss."""
        return [variable.value.read_value() for variable in getattr(self.model, "metrics_variables", [])]


def current_graph() -> Any:
    """The graph that is being traced into, or `None` where operations run at once."""
    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()


def tensors_in(arguments: Any) -> list[Tensor]:
    """The tensors among the arguments of a step, and the float arrays of NumPy, in which there may be NaN too."""
    leaves = tf.nest.flatten(arguments, expand_composites=True)
    floats = [leaf for leaf in leaves if isinstance(leaf, np.ndarray) and leaf.dtype.kind == "f"]
    return [leaf for leaf in leaves if tf.is_tensor(leaf)] + [tf.convert_to_tensor(leaf) for leaf in floats]


def loss_in(result: Any) -> Tensor | None:
    """The loss among what a step returns: a float scalar, or the one named "loss", or the first of a tuple."""
    if isinstance(result, dict):
        result = result.get("loss")
    elif isinstance(result, tuple | list) and result:
        result = result[0]
    if isinstance(result, float | np.floating):
        return tf.constant(result, tf.float64)
    is_scalar = tf.is_tensor(result) and result.shape.rank == 0 and result.dtype.is_floating
    return result if is_scalar else None
