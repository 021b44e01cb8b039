"""Whether a gradient goes through an operation, asked of TensorFlow itself.

That an operation type has a gradient registered tells little: that of `Round` is registered and gives `None`. So a
copy of the operation is made in a graph of its own, and differentiated there, once for each kind of operation.
"""

from __future__ import annotations

import contextlib
from typing import Any

import tensorflow as tf

from gradwatch.tracing.graph import READS, Edge, has_numbers, has_own_gradient

Operation = Any


class Differentiability:
    """Answers for operations of traced steps; remembers the answers."""

    def __init__(self) -> None:
        self._known: dict[tuple, list[bool]] = {}

    def passes(self, edge: Edge, source: Any, target: Any) -> bool:
        """Whether a gradient of the tensor `target` becomes one of the tensor `source`.

        Where TensorFlow cannot be asked it is supposed to, so that nothing is called a cut that is none.

        Args:
            edge: The edge between them.
            source: The input.
            target: The output.
        """
        if edge.is_state or not (_can_have_gradient(source) and _can_have_gradient(target)):
            return False
        operation = edge.operation
        if operation is None:
            return True
        if source.dtype == tf.resource:
            return operation.type in READS
        if has_own_gradient(operation) or operation.type in ("EagerPyFunc", *READS):
            return True
        if source.dtype == tf.variant or target.dtype == tf.variant:
            return True  # lists of tensors, which loops keep what they computed in
        answers = self._of(operation)
        return any(answers[number] for number, tensor in enumerate(operation.inputs) if tensor is source)

    def _of(self, operation: Operation) -> list[bool]:
        """For each input whether it gets a gradient."""
        kind = (
            operation.type,
            tuple(tensor.dtype for tensor in operation.inputs),
            tuple(tensor.shape.rank for tensor in operation.inputs),
        )
        if kind not in self._known:
            self._known[kind] = [True] * len(operation.inputs)
            with contextlib.suppress(Exception):
                self._known[kind] = _asked(operation)
        return self._known[kind]


def _asked(operation: Operation) -> list[bool]:
    with tf.Graph().as_default() as graph:
        inputs = [tf.compat.v1.placeholder(tensor.dtype, tensor.shape) for tensor in operation.inputs]
        copy = graph.create_op(
            operation.type,
            inputs,
            [tensor.dtype for tensor in operation.outputs],
            attrs={name: value for name, value in operation.node_def.attr.items() if not name.startswith("_")},
        )
        outputs = [tensor for tensor in copy.outputs if has_numbers(tensor)]
        places = [number for number, tensor in enumerate(inputs) if has_numbers(tensor)]
        grads = tf.gradients(outputs, [inputs[place] for place in places])
    found = {place for place, grad in zip(places, grads, strict=True) if grad is not None}
    return [number in found for number in range(len(inputs))]


def _can_have_gradient(tensor: Any) -> bool:
    return has_numbers(tensor) or tensor.dtype in (tf.resource, tf.variant)
