"""A step while it is traced, or run eagerly: what it is handed, what is known of it, and the loss it hands back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from gradwatch.recording import keras_seam
from gradwatch.recording.guard import Untrained
from gradwatch.recording.held import Held
from gradwatch.recording.probe import Call, current_graph
from gradwatch.recording.tapes import Tapes

Tensor = Any


@dataclasses.dataclass
class Step:
    """What is known of the step that is being traced, or run eagerly.

    Args:
        model: The model, or `None`.
        graph: The graph it is traced into, or `None` when it runs eagerly.
        function: The step as the user wrote it.
        arguments: What it was called with: positional arguments and keyword arguments.
        compiled: Whether XLA compiles it.
        only_asks: Whether it is traced only to ask where a gradient is cut; then no update is made.
        held: What is held from before it in case that it is bad, or `None`.
        batch: Tensors among its arguments.
        untrained: Weights that are not trained, from before the step; `None` where no update may be held back.
        has_replicas: Whether it runs on several replicas.
        of_optimizers: Identities of the variables that belong to optimizers.
        calls: Calls of optimizers so far that are still to be recorded.
        loss: The loss as last seen, or `None`.
        compared: Targets and predictions that it was computed from, if there is one tensor of each.
        tapes: What its tapes have done so far.
        bad: Number of the first bad call of an optimizer and 1, or 0, once that is known.
    """

    model: Any
    graph: Any
    function: Callable[..., Any] | None = None
    arguments: tuple[tuple, dict[str, Any]] = ((), {})
    compiled: bool = False
    only_asks: bool = False
    held: Held | None = None
    batch: list[Tensor] = dataclasses.field(default_factory=list)
    untrained: Untrained | None = None
    has_replicas: bool = False
    of_optimizers: set[int] = dataclasses.field(default_factory=set)
    calls: list[Call] = dataclasses.field(default_factory=list)
    loss: Tensor | None = None
    compared: tuple[Tensor, Tensor] | None = None
    tapes: Tapes = dataclasses.field(default_factory=Tapes)
    bad: Tensor | None = None

    @property
    def is_current(self) -> bool:
        """Whether operations made now belong to the step itself, not to a function inside of it."""
        return current_graph() is self.graph

    def untracked(self) -> list[Any]:
        """Trainable variables that the traced step has used and that neither its model nor an optimizer knows."""
        if self.model is None or self.graph is None or self.has_replicas:
            return []
        tracked = {id(variable.value) for variable in self.model.variables} | self.of_optimizers
        return [v for v in keras_seam.variables_used(self.graph) if v.trainable and id(v) not in tracked]

    def read_metrics(self) -> list[Tensor]:
        """The values of the metrics as they are now, among them the mean of the loss."""
        return [variable.value.read_value() for variable in getattr(self.model, "metrics_variables", [])]


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
