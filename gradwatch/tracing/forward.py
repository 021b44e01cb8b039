"""What the forward pass of a traced step does with each variable: what it is multiplied with, what comes after it.

Looked for in the operations of the step itself. What is done inside of a loop or a function, as in a recurrent layer,
is not found.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gradwatch.tracing import tf_seam
from gradwatch.tracing.graph import READS

Tensor = Any
Operation = Any

MULTIPLYING = frozenset(
    {"MatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum", "Conv2D", "Conv3D", "DepthwiseConv2dNative"}
)
"""Operations of layers with a kernel."""

PASSING = frozenset({"Identity", "Cast", "Reshape", "ExpandDims", "Squeeze", "Transpose", "ReadVariableOp"})
"""Operations after which the numbers are the same."""

SHIFTING = PASSING | {"BiasAdd", "Add", "AddV2"}
"""Operations that may stand between a kernel and its activation."""

NORMALIZING = SHIFTING | {"Mul", "Sub", "FusedBatchNormV3", "MaxPool", "AvgPool", "Pad"}
"""Operations of normalization and pooling, which may stand there too."""

BOUNDED = frozenset({"Sigmoid", "Tanh"})
"""Activations that are flat far from zero, on both sides."""

ACTIVATIONS = {
    "Softmax": "softmax",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Relu": "relu",
    "Relu6": "relu6",
    "Softplus": "softplus",
    "Exp": "exponential",
    "Elu": "elu",
    "Selu": "selu",
    "LeakyRelu": "leaky_relu",
}
"""Names that Keras has for operations that may end a model."""

_FAR = 400
"""Operations that a search goes through at most."""


@dataclasses.dataclass(frozen=True)
class Use:
    """The first multiplication that a variable takes part in.

    Args:
        operation: The operation.
        given: What the variable is multiplied with.
        activation: The sigmoid or tanh that comes right after it, its output, or `None`.
        activation_name: Keras' name of the activation that comes after it, normalization or not; "" if none is found.
    """

    operation: Operation
    given: Tensor
    activation: Tensor | None
    activation_name: str


@dataclasses.dataclass(frozen=True)
class End:
    """How a model ends.

    Args:
        activation: Name of the last activation; "linear" if the model ends with a kernel, and maybe a bias; "" if it
            ends with something else.
        position: Position of the last variable that something was multiplied with, `None` if it is not found.
    """

    activation: str
    position: int | None


def uses_of(graph: Any, variables: Sequence[Any]) -> list[Use | None]:
    """How a traced step uses variables; `None` for those that it multiplies nothing with.

    Args:
        graph: The graph of the step.
        variables: `tf.Variable`s.
    """
    inside = {id(outside): tensor for outside, tensor in tf_seam.captures(graph)}
    return [_use(inside.get(id(variable.handle))) for variable in variables]


def end_of(prediction: Tensor, uses: Sequence[Use | None]) -> End:
    """How a model ends, going back from what it predicts.

    Args:
        prediction: A tensor of the step.
        uses: What `uses_of` tells of the variables of the model.
    """
    last = _first(prediction.op, lambda op: op.type not in PASSING, _sources)
    by_operation = {id(use.operation): position for position, use in enumerate(uses) if use is not None}
    found = _first(prediction.op, lambda op: id(op) in by_operation, _sources)
    activation = "" if last is None else ACTIVATIONS.get(last.type, "linear" if _ends_kernel(last) else "")
    return End(activation, None if found is None else by_operation[id(found)])


def _ends_kernel(operation: Operation) -> bool:
    """Whether it multiplies with a kernel, or adds to such a product a bias."""
    if operation.type not in ("BiasAdd", "Add", "AddV2"):
        return operation.type in MULTIPLYING
    before = (_first(tensor.op, lambda op: op.type not in PASSING, _sources) for tensor in operation.inputs)
    return any(op is not None and op.type in MULTIPLYING for op in before)


def _use(handle: Tensor | None) -> Use | None:
    if handle is None:
        return None
    for read in (op for op in handle.consumers() if op.type in READS):
        found = _first(read, lambda op: op.type in MULTIPLYING, _consumers, through=PASSING)
        if found is not None:
            own = {id(tensor) for tensor in _made_of(read)}
            others = [tensor for tensor in found.inputs if id(tensor) not in own]
            return Use(found, others[0], _activation(found), _activation_name(found)) if others else None
    return None


def _made_of(read: Operation) -> Iterable[Tensor]:
    """What is read, and what is the same with another type or shape."""
    waiting = list(read.outputs)
    for tensor in waiting:
        waiting.extend(out for op in tensor.consumers() if op.type in PASSING for out in op.outputs)
    return waiting


def _activation(operation: Operation) -> Tensor | None:
    found = _first(operation, lambda op: op.type in BOUNDED, _consumers, through=SHIFTING, start=True)
    if found is None:
        return None
    (before,) = found.inputs
    is_gate = any(op.type == "Mul" and any(t is before for t in op.inputs) for op in found.outputs[0].consumers())
    return None if is_gate else found.outputs[0]  # x * sigmoid(x) is not flat where the sigmoid is


def _activation_name(operation: Operation) -> str:
    found = _first(operation, lambda op: op.type in ACTIVATIONS, _consumers, through=NORMALIZING, start=True)
    return "" if found is None else ACTIVATIONS[found.type]


def _first(
    operation: Operation,
    is_it: Callable[[Operation], bool],
    neighbours: Callable[[Operation], Iterable[Operation]],
    *,
    through: frozenset[str] | None = None,
    start: bool = False,
) -> Operation | None:
    """The nearest operation that is it, through some types of operations; `start` leaves out the first one."""
    waiting, seen = [operation], {id(operation)}
    for number, each in enumerate(waiting):
        if number > _FAR:
            return None
        is_start = start and number == 0
        if not is_start and is_it(each):
            return each
        if is_start or through is None or each.type in through:
            for other in neighbours(each):
                if id(other) not in seen:
                    seen.add(id(other))
                    waiting.append(other)
    return None


def _consumers(operation: Operation) -> Iterable[Operation]:
    return (op for tensor in operation.outputs for op in tensor.consumers())


def _sources(operation: Operation) -> Iterable[Operation]:
    return (tensor.op for tensor in operation.inputs)
