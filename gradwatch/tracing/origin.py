"""Which operation made the first NaN or Inf of a step.

The graph of the step is run once more, with a question after every operation: is there a NaN or an Inf in what it
made? Walking back from what is known to be bad, through operations that were given something bad, leads to one that
was given none: there it was made. Where that is inside of a function, a branch or a loop, the same is asked in there,
turn by turn.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from gradwatch.causes import Cause
from gradwatch.tracing import tf_seam
from gradwatch.tracing.graph import READS
from gradwatch.tracing.inputs import bad_rows
from gradwatch.tracing.source import layer_of, source_of

Tensor = Any
Operation = Any

MOST_TURNS = 1000
"""Turns of a loop that are run one by one."""

_BACKWARD = "gradient_tape/"
_LOSS = ("compute_loss/", "compile_loss/")
_NAN, _INF = 1, 2

_askers: weakref.WeakKeyDictionary[Any, Callable[..., Any]] = weakref.WeakKeyDictionary()
"""For each graph what asks it, so that a second bad step of one kind needs no trace."""


@dataclasses.dataclass(frozen=True)
class Found:
    """An operation that made a NaN or an Inf of numbers that were none.

    Args:
        operation: The operation.
        inputs: What it was given, as arrays; those without numbers are left out.
        output: What it made.
    """

    operation: Operation
    inputs: list[np.ndarray]
    output: np.ndarray


def find_origin(graph: Any, arguments: Sequence[Tensor], bad: Sequence[Tensor]) -> Found | None:
    """The operation that made what is bad in some tensors.

    Args:
        graph: The function graph of the step.
        arguments: A tensor for each of `graph.inputs`: the batch, and the handles of variables.
        bad: Tensors of the graph that hold NaN or Inf, the earliest in the step first.

    Returns:
        What was found, or `None` if none of them is bad when the graph is run.
    """
    flags = _flags(graph, arguments)
    for tensor in [entry for each in bad for entry in _entries(each)]:
        if flags.get(id(tensor)):
            return _look_closer(graph, arguments, _walk_back(tensor, flags))
    return None


def cause_of(found: Found, layers: Collection[str], batch_size: int | None = None) -> Cause:
    """What was found in words.

    Args:
        found: What `find_origin` found, unless that is the batch.
        layers: Names of layers and models.
        batch_size: Number of rows of the batch.
    """
    operation = found.operation
    if operation.type in READS:
        return Cause("in the weights", operation.name, operation.type, layer_of(operation, layers))
    backward = operation.name.startswith(_BACKWARD)
    home = _forward_of(operation) if backward else operation
    source, code = (None, None) if home is None else source_of(home)
    scope = operation if home is None else home
    forward = "loss" if home is not None and _is_of_loss(home, layers) else "forward"
    return Cause(
        "backward" if backward else forward,
        operation.name,
        operation.type,
        layer_of(scope, layers),
        source,
        code,
        "; ".join(filter(None, [_given(found), bad_rows(found.output, batch_size)])) or None,
    )


def _flags(graph: Any, arguments: Sequence[Tensor]) -> dict[int, int]:
    """For each float tensor of a graph whether it holds a NaN, an Inf, or both, when it is run."""
    tensors = [t for op in graph.get_operations() for t in op.outputs if t.dtype.is_floating]
    if tensors and graph not in _askers:
        _askers[graph] = _runner(graph, tensors, _ask)
    answers = _askers[graph](*arguments).numpy() if tensors else []
    return {id(tensor): int(answer) for tensor, answer in zip(tensors, answers, strict=True)}


def _ask(values: Sequence[Tensor]) -> Tensor:
    bad = [[tf.reduce_any(tf.math.is_nan(v)), tf.reduce_any(tf.math.is_inf(v))] for v in values]
    return tf.stack([tf.cast(nan, tf.int32) * _NAN + tf.cast(inf, tf.int32) * _INF for nan, inf in bad])


def _entries(tensor: Tensor) -> list[Tensor]:
    """The tensor; or what was put into it, if it is a list of tensors, in which a loop keeps what it made."""
    if tensor.dtype != tf.variant:
        return [tensor]
    found: list[Tensor] = []
    waiting, seen = [tensor], {tensor.op.name}
    while waiting:
        for source in waiting.pop().op.inputs:
            if source.dtype != tf.variant:
                found.append(source)
            elif source.op.name not in seen:
                seen.add(source.op.name)
                waiting.append(source)
    return found


def _runner(graph: Any, tensors: Sequence[Tensor], ask: Any = None) -> Callable[..., Any]:
    """A function that runs a graph and returns tensors of it, or what `ask` makes of them; traced once."""
    definition = graph.as_graph_def()

    def again(*arguments: Tensor) -> Any:
        found = tf.graph_util.import_graph_def(
            definition,
            input_map={inside.name: outside for inside, outside in zip(graph.inputs, arguments, strict=True)},
            return_elements=[tensor.name for tensor in tensors],
            name="again",
        )
        return found if ask is None else ask(found)

    return tf.function(again, autograph=False)


def _walk_back(tensor: Tensor, flags: dict[int, int]) -> Operation:
    """The operation that was given nothing bad; or that made NaN of an Inf that stands in the program as a constant."""
    maker, seen = tensor.op, {tensor.op.name}
    nan_maker = None
    while True:
        inputs = [(flags.get(id(source), 0), source) for source in maker.inputs]
        worst = max((flag for flag, _ in inputs), default=0, key=lambda flag: (flag & _NAN, flag))
        if nan_maker is None and not worst & _NAN:
            nan_maker = maker
        sources = [s for flag, s in inputs if flag == worst and flag and s.op.name not in seen]
        if not sources and maker.type.startswith("TensorList"):
            sources = [s for _, s in inputs if s.dtype == tf.variant and s.op.name not in seen]
        if not sources:
            constant = maker.type == "Const" and nan_maker is not None
            return nan_maker if constant else maker
        maker = sources[0].op
        seen.add(maker.name)


def _look_closer(graph: Any, arguments: Sequence[Tensor], operation: Operation) -> Found:
    """The operation, or the one inside of it where it calls functions."""
    values = _runner(graph, [*operation.inputs, *operation.outputs])(*arguments)
    given, made = values[: len(operation.inputs)], values[len(operation.inputs) :]
    functions = tf_seam.functions_called(operation)
    inner = _inside(operation, functions, given) if functions else None
    if inner is not None:
        return inner
    bad = [value for value in made if value.dtype.is_floating and not np.isfinite(value.numpy()).all()]
    inputs = [value.numpy() for value in given if value.dtype.is_floating]
    return Found(operation, inputs, bad[0].numpy() if bad else np.zeros(0))


def _inside(operation: Operation, functions: dict[str, Any], given: Sequence[Tensor]) -> Found | None:
    if operation.type in ("While", "StatelessWhile"):
        return _inside_loop(functions["cond"], functions["body"], given)
    if operation.type in ("If", "StatelessIf"):
        condition, *given = given
        graph = functions["then_branch" if condition.numpy().any() else "else_branch"]
    elif operation.type in ("Case", "StatelessCase"):
        number, *given = given
        graph = list(functions.values())[int(np.clip(number.numpy(), 0, len(functions) - 1))]
    else:
        graph = next(iter(functions.values()))
    return find_origin(graph, given, list(graph.outputs))


def _inside_loop(condition: Any, body: Any, state: Sequence[Tensor]) -> Found | None:
    results = list(body.outputs)
    entries = [tensor for result in results for tensor in _entries(result) if tensor.dtype.is_floating]
    goes_on = _runner(condition, condition.outputs)
    turn = _runner(body, [*results, *entries], lambda values: (values[: len(results)], _ask(values[len(results) :])))
    for _ in range(MOST_TURNS if entries else 0):
        if not goes_on(*state)[0].numpy():
            return None
        after, flags = turn(*state)
        if flags.numpy().any():
            return find_origin(body, state, results)
        state = after
    return None


def _forward_of(operation: Operation) -> Operation | None:
    """The forward operation that a backward one belongs to.

    Its scope says in which part of the model; there it is the operation that reads or makes what the backward one
    reads, before others one of the type in its own name (`SqrtGrad`).
    """
    scope = operation.name.removeprefix(_BACKWARD).rpartition("/")[0]
    near = {operation.name: operation}
    for _ in range(2):  # what it reads, and what backward operations among these read
        for each in [op for op in near.values() if op.name.startswith(_BACKWARD)]:
            near |= {source.op.name: source.op for source in each.inputs}
    forward = {op.name: op for op in near.values() if not op.name.startswith(_BACKWARD)}
    users = {user.name: user for op in forward.values() for tensor in op.outputs for user in tensor.consumers()}
    candidates = [op for op in (*forward.values(), *users.values()) if _belongs(op, scope)]
    kind = operation.type.removesuffix("Grad")
    candidates.sort(key=lambda op: (op.type != kind, op.name != scope, source_of(op)[0] is None))
    return candidates[0] if candidates else None


def _belongs(operation: Operation, scope: str) -> bool:
    own = operation.name.rpartition("/")[0]
    return not operation.name.startswith(_BACKWARD) and scope in (own, operation.name)


def _is_of_loss(operation: Operation, layers: Collection[str]) -> bool:
    """Whether it is outside of all layers, and either Keras calls it for a loss or it is made of what a layer made."""
    if layer_of(operation, layers):
        return False
    if operation.name.startswith(_LOSS):
        return True
    waiting, seen = [operation], {operation.name}
    while waiting:
        for source in waiting.pop().inputs:
            if source.op.name not in seen:
                if layer_of(source.op, layers) and source.op.type not in READS:
                    return True
                seen.add(source.op.name)
                waiting.append(source.op)
    return False


def _given(found: Found) -> str:
    """What it was given: the range, and how many numbers are zero or negative."""
    texts = [_described(values.astype(np.float64)) for values in found.inputs if values.size]
    return "given " + " and ".join(texts[:2]) if texts else ""


def _described(values: np.ndarray) -> str:
    finite = values[np.isfinite(values)]
    if values.size == 1:
        return f"{values.ravel()[0]:.3g}"
    if not finite.size:
        return f"{values.size} numbers of which none is finite"
    if finite.size == values.size and finite.min() == finite.max():
        return f"{values.size} times {finite.min():.3g}"
    counts = ((values == 0, "0"), (values < 0, "negative"), (~np.isfinite(values), "not finite"))
    odd = [f"{mask.sum()} of them {word}" for mask, word in counts if mask.any()]
    return ", ".join([f"{values.size} numbers from {finite.min():.3g} to {finite.max():.3g}", *odd])
