"""Where the path from a variable to the loss is cut.

Between a variable and the loss every operation either lets a gradient through or not. Walking back from the loss
through those that do gives all tensors that have a gradient. A cut is an operation at their edge: what it makes has a
gradient, what it reads does not, and what it reads comes from the variable. What only chooses between other numbers,
such as the condition of a `where` or an index, is named if there is no other cut.
"""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Collection, Sequence
from typing import Any

import tensorflow as tf

from gradwatch.causes import Cause
from gradwatch.tracing.differentiable import Differentiability
from gradwatch.tracing.graph import READS, Edge, Flow, Node, has_numbers, has_own_gradient
from gradwatch.tracing.source import layer_of, line_of, source_of

Tensor = Any
Operation = Any

MOST_CUTS = 4
"""Cuts that are named for one variable; the first ones in the step."""

_TAKES_NUMBERS = ("attribute 'numpy'", "numpy array", "cross-replica context")
"""Words in the errors of TensorFlow and Keras when somebody wants the numbers of a tensor that has none yet: by
`.numpy()`, by a function of NumPy, by `predict` of a model."""

_LEFT = frozenset({"PyFunc", "PyFuncStateless"})


@dataclasses.dataclass(frozen=True)
class Question:
    """A gradient that came out as `None`.

    Args:
        graph: The function graph in which the step is traced.
        targets: What was differentiated, the loss.
        variables: The variables without a gradient.
        spans: Parts of the graph that the tape recorded, as numbers of operations from and to; `None` if not known.
        layers: Names of layers and models.
    """

    graph: Any
    targets: Sequence[Tensor]
    variables: Sequence[Any]
    spans: Sequence[tuple[int, int]] | None = None
    layers: Collection[str] = ()


def find_cuts(question: Question) -> list[tuple[Cause, ...]]:
    """For each variable the causes of its missing gradient, the first in the step first.

    Args:
        question: What is known.

    Returns:
        A tuple for each variable; empty where nothing was found. Variables behind the same cuts have equal tuples.
    """
    return _Search(question).answers()


class _Search:
    def __init__(self, question: Question) -> None:
        self._question = question
        self._flow = Flow(question.graph, within=self._is_recorded_at)
        self._differentiable = Differentiability()
        targets = [self._flow.node(tensor) for tensor in question.targets]
        self._used = self._flow.before(targets)
        self._open = self._flow.before(targets, self._passes)

    def answers(self) -> list[tuple[Cause, ...]]:
        variables = self._question.variables
        handles = [self._flow.handles(variable) for variable in variables]
        if not any(self._is_variable(node) for node in self._used):
            cause = self._constant_loss()
            return [(cause,)] * len(variables)
        return [self._answer(nodes) for nodes in handles]

    def _is_variable(self, node: Node) -> bool:
        tensor = self._flow.tensors[node]
        return tensor.dtype == tf.resource and tensor.op.type == "Placeholder"

    def _answer(self, handles: list[Node]) -> tuple[Cause, ...]:
        reached = self._flow.after(handles)
        read = [node for node in reached if self._flow.tensors[node].op.type in READS]
        if not read:
            return (Cause("never used"),)
        if self._open & set(handles):
            return (self._not_recorded(reached),)
        if not self._used & set(handles):
            return (self._unused(reached),)
        edges = [edge for node in self._open & reached for edge in self._flow.into.get(node, ())]
        closed = [edge for edge in edges if edge.source in reached and edge.source not in self._open]
        values = [edge for edge in closed if not self._only_chooses(edge)]
        named = {id(op): (op, kind) for edge in values or closed for op, kind in self._named(edge, reached)}
        ordered = sorted(named.values(), key=lambda pair: self._place(pair[0]))
        return tuple(dict.fromkeys(self._cause(kind, op) for op, kind in ordered[:MOST_CUTS]))

    def _only_chooses(self, edge: Edge) -> bool:
        if edge.operation is None or edge.is_state or _is_differentiated(self._flow.tensors[edge.source]):
            return False
        return any(_is_differentiated(tensor) for tensor in edge.operation.inputs)

    def _passes(self, edge: Edge) -> bool:
        if edge.operation is not None and not self._is_recorded(edge.operation):
            return False
        tensors = self._flow.tensors
        return self._differentiable.passes(edge, tensors[edge.source], tensors[edge.target])

    def _is_recorded(self, operation: Operation) -> bool:
        inside = operation.graph is self._question.graph
        return not inside or self._is_recorded_at(self._flow.order[operation.name])

    def _is_recorded_at(self, place: int) -> bool:
        spans = self._question.spans
        return spans is None or any(first <= place < last for first, last in spans)

    def _named(self, edge: Edge, reached: set[Node]) -> list[tuple[Operation, str]]:
        """The operations to blame for an edge without a gradient: where a float becomes something else, going back."""
        found: list[tuple[Operation, str]] = []
        seen: set[Node] = set()
        waiting = [edge]
        while waiting:
            edge = waiting.pop()
            if edge.operation is not None and (edge.is_state or _is_differentiated(self._flow.tensors[edge.source])):
                found.append((edge.operation, self._kind(edge)))
            elif edge.source not in seen:
                seen.add(edge.source)
                waiting += [before for before in self._flow.into.get(edge.source, ()) if before.source in reached]
        return found

    def _kind(self, edge: Edge) -> str:
        operation: Any = edge.operation
        if edge.is_state:
            return "assigned"
        if operation.type in _LEFT:
            return "left TensorFlow"
        tensors = self._flow.tensors
        if not self._is_recorded(operation) and self._differentiable.passes(
            edge, tensors[edge.source], tensors[edge.target]
        ):
            return "outside of the tape"
        return "stopped" if operation.type == "StopGradient" else "not differentiable"

    def _not_recorded(self, reached: set[Node]) -> Cause:
        """Every operation between variable and loss has a gradient, and yet there is none."""
        path = [self._flow.tensors[node].op for node in reached & self._open]
        own = [op for op in path if has_own_gradient(op)]
        if own:
            return self._cause("own gradient", min(own, key=self._place))
        return Cause("not watched")

    def _unused(self, reached: set[Node]) -> Cause:
        """The last operation of the layer that reads the variable, or else the one that reads it."""
        operations = {self._flow.tensors[node].op.name: self._flow.tensors[node].op for node in reached}
        ordered = sorted(operations.values(), key=self._place)
        reads = [op for op in ordered if op.type in READS]
        layer = layer_of(reads[0], self._question.layers)
        same = [op for op in ordered if op.type != "Placeholder" and layer_of(op, self._question.layers) == layer]
        return self._cause("unused output", (same or reads)[-1])

    def _constant_loss(self) -> Cause:
        """What made the loss, as near to it as there is a line of the user's."""
        operations = {self._flow.tensors[node].op.name: self._flow.tensors[node].op for node in self._used}
        ordered = sorted(operations.values(), key=self._place, reverse=True)
        with_line = [op for op in ordered if op.type not in ("Placeholder",) and source_of(op)[0]]
        return self._cause("constant loss", with_line[0]) if with_line else Cause("constant loss")

    def _place(self, operation: Operation) -> tuple[int, str]:
        """Orders operations by the step; those inside of functions come last."""
        if operation.graph is self._question.graph:
            return self._flow.order[operation.name], operation.name
        return len(self._flow.order), operation.name

    def _cause(self, kind: str, operation: Operation) -> Cause:
        source, code = source_of(operation)
        return Cause(kind, operation.name, operation.type, layer_of(operation, self._question.layers), source, code)


def _is_differentiated(tensor: Tensor) -> bool:
    return has_numbers(tensor) or tensor.dtype == tf.resource


def answer(model: Any, asked: Any, variables: Sequence[Any]) -> list[tuple[Cause, ...]]:
    """The causes of missing gradients, from what is known when an optimizer is given them.

    Args:
        model: The model, or `None`.
        asked: What was asked of the tape, with its graph, targets and spans; or the error with which an eager step
            could not be traced.
        variables: The variables without a gradient.

    Returns:
        A tuple for each variable; empty where nothing was found.
    """
    if isinstance(asked, Exception):
        return [cause_of_failure(asked)] * len(variables)
    return find_cuts(Question(asked.graph, asked.targets, variables, asked.spans, names_of_layers(model)))


def cause_of_failure(error: Exception) -> tuple[Cause, ...]:
    """The cause told by the error with which an eager step could not be traced; empty if it tells none.

    A tensor of a traced step has no numbers, so what takes them out fails, at the user's line.
    """
    words = str(error)
    if not any(word in words for word in _TAKES_NUMBERS):
        return ()
    frames = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
    source, code = line_of(frames)
    return (Cause("left TensorFlow", source=source, code=code),)


def names_of_layers(model: Any) -> set[str]:
    """Names of a model, of all layers in it that can be found, and of all that its variables are in."""
    names: set[str] = set()
    waiting = [] if model is None else [model]
    while waiting:
        layer = waiting.pop()
        names.add(layer.name)
        waiting += [inner for inner in getattr(layer, "layers", []) if inner.name not in names]
    if model is not None:
        names |= {part for variable in model.variables for part in variable.path.split("/")[:-1]}
    return names
