"""Taps on a traced gradient that leave no mark on what TensorFlow's graph optimizer does with it.

Before a graph runs, TensorFlow's optimizer regroups chains of elementwise operations: the product that ends a gradient
and its product with the learning rate become one, in another order, with other last bits. It does so only while nobody
else reads the numbers in between; a statistic that read the gradient would keep the chain apart, and the weights of a
watched run would no longer be bit for bit those of an unwatched one. So the elementwise tail of a gradient is built a
second time for whoever wants to look, down to the operations that are never regrouped. It is short, mostly empty, and
costs what a few products of the size of the variable cost.

A sum of three or more terms needs one thing more. `AddN` begins with a term whose memory nobody else holds, and a twin
that lets go of its terms at that very moment changes which one that is, and with it the last bits. So the twin of such
a sum runs late, after what the original was made for, and holds all terms until then.

Under XLA and in eager mode there is no such optimizer, and a tap is the tensor itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

Tensor = Any

REGROUPED = frozenset(
    {
        *("Mul", "Add", "AddV2", "AddN", "Sub", "RealDiv", "Div", "Neg", "Square", "Sqrt", "Rsqrt", "Pow"),
        *("Identity", "StopGradient", "Cast", "Reshape", "Squeeze", "ExpandDims", "BroadcastTo"),
    }
)
"""Operation types that the graph optimizer regroups, or looks through to find such ones."""

SUMS = frozenset({"Add", "AddV2", "AddN"})
"""Operation types that the graph optimizer gathers into one `AddN`."""

LONGEST_TAIL = 64
"""Operations of a tail that are built again at the most."""


def tap(tensor: Tensor, anchor: Any, late: Callable[[], Any] | None = None) -> Tensor:
    """The same numbers, to be read without being seen.

    Args:
        tensor: A tensor or `tf.IndexedSlices` of the graph that is being traced.
        anchor: A tensor read from a variable in that graph; what is built runs after it, which tells it from the
            original: equal operations with equal inputs would be made one again.
        late: Makes anchors that come after everything that the original was made for, used for long sums. `None` where
            the twin is what everything else waits for.

    Returns:
        Its twin; the tensor itself in eager mode.
    """
    if tf.executing_eagerly():
        return tensor
    anchors = [anchor, late()] if late and _is_long_sum(tensor) else [anchor]
    with tf.control_dependencies(tf.nest.flatten(anchors)):
        return transplant(tensor)


def transplant(tensor: Tensor | None) -> Tensor | None:
    """Builds the elementwise tail of a tensor anew in the graph being traced, which may be a branch of the other."""
    if tensor is None or tf.executing_eagerly():
        return tensor
    if isinstance(tensor, tf.IndexedSlices):
        return tf.IndexedSlices(transplant(tensor.values), tf.identity(tensor.indices), tensor.dense_shape)
    twin = _rebuild(tensor, {})
    return tf.identity(twin) if twin is tensor else twin  # within a branch all tensors have to be of the branch


def _is_long_sum(tensor: Tensor) -> bool:
    """Whether three or more terms may be added in the tail of a tensor."""
    tail: dict[str, Any] = {}
    waiting = [tensor.values if isinstance(tensor, tf.IndexedSlices) else tensor]
    while waiting:
        source = waiting.pop()
        if _is_of_tail(source, tail) and source.op.name not in tail:
            tail[source.op.name] = source.op
            waiting += source.op.inputs
    return sum(len(operation.inputs) - 1 for operation in tail.values() if operation.type in SUMS) >= 2


def _is_of_tail(tensor: Tensor, tail: dict[str, Any]) -> bool:
    # What is not symbolic is a number that was known before the step was traced.
    return tf.is_symbolic_tensor(tensor) and tensor.op.type in REGROUPED and len(tail) < LONGEST_TAIL


def _rebuild(tensor: Tensor, built: dict[str, Any]) -> Tensor:
    if not _is_of_tail(tensor, built):
        return tensor
    operation = tensor.op
    if operation.name not in built:
        inputs = [_rebuild(source, built) for source in operation.inputs]
        built[operation.name] = tf.compat.v1.get_default_graph().create_op(
            operation.type,
            inputs,
            [output.dtype for output in operation.outputs],
            attrs=dict(operation.node_def.attr),
        )
    return built[operation.name].outputs[0]
