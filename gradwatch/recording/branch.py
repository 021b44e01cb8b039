"""A branch of which a step that does not take it feels next to nothing.

TensorFlow takes a `tf.cond` apart into operations for each tensor that goes into it, and these are most of what it
costs where it is not taken. A single `If` is one operation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

Tensor = Any
Function = Callable[..., Sequence[Tensor]]


def only_if(
    wanted: Tensor | None, function: Function, otherwise: Function, arguments: Sequence[Tensor]
) -> tuple[list[Tensor], list[Any]]:
    """Calls one of two functions of tensors.

    Args:
        wanted: Bool scalar: call the first; `None` to call it without a branch.
        function: Given the arguments returns tensors.
        otherwise: Returns tensors of the same dtypes; it must make no use of anything but the arguments.
        arguments: Tensors.

    Returns:
        The tensors, and what has to be kept alive as long as the graph.
    """
    if wanted is None or tf.executing_eagerly():
        taken = function if wanted is None or bool(wanted) else otherwise
        return list(taken(*arguments)), []
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in arguments]
    then = _traced(function, specs)
    captured = list(then.captured_inputs)
    specs += [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in captured]
    other = _traced(lambda *values: otherwise(*values[: len(arguments)]), specs)
    results = tf.raw_ops.If(
        cond=wanted,
        input=[*arguments, *captured],
        Tout=[tensor.dtype for tensor in then.outputs],
        then_branch=then,
        else_branch=other,
    )
    for result, one, two in zip(results, then.outputs, other.outputs, strict=True):
        result.set_shape(_common(one.shape, two.shape))
    return list(results), [then, other]


def _traced(function: Function, specs: list[tf.TensorSpec]) -> Any:
    return tf.function(lambda *values: list(function(*values)), autograph=False).get_concrete_function(*specs)


def _common(one: Any, two: Any) -> Any:
    return one.most_specific_compatible_shape(two)
