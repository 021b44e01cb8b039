"""A traced step as a graph of tensors, through function calls, branches and loops, and with what goes by variables.

A node is a tensor at a place: inside of a function that is called twice every tensor has two places. An edge leads from
an input of an operation to an output. Edges that only pass a tensor into a function or out of it have no operation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf

from gradwatch.tracing import tf_seam

Tensor = Any
Operation = Any
Place = tuple[int, ...]
Node = tuple[Place, int]

READS = frozenset({"ReadVariableOp", "ResourceGather", "ResourceGatherNd"})
SHAPE_ONLY = frozenset({"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike", "TensorListLength"})
"""Operations that look at the shape of what they read and at no number in it."""

_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_WRITES = ("Assign", "ResourceScatter")


@dataclasses.dataclass(frozen=True)
class Edge:
    """A step from a tensor to one that is computed from it.

    Args:
        source: Node that is read.
        target: Node that is made.
        operation: The operation between them; `None` where a tensor is only passed on.
        is_state: Whether the value goes by a variable: it is written by the operation, and read from there later.
    """

    source: Node
    target: Node
    operation: Operation | None = None
    is_state: bool = False


class Flow:
    """The edges of a graph and of all functions that it calls.

    Args:
        graph: A function graph, in which a step is or was traced.
        within: Whether the n-th operation of the graph itself takes part in writing variables; those of an optimizer do
            not.
    """

    def __init__(self, graph: Any, within: Callable[[int], bool] = lambda number: True) -> None:
        self.graph = graph
        self.tensors: dict[Node, Tensor] = {}
        self.into: dict[Node, list[Edge]] = {}
        self.out_of: dict[Node, list[Edge]] = {}
        self.order: dict[str, int] = {operation.name: n for n, operation in enumerate(graph.get_operations())}
        self._within = within
        self._add((), graph)
        self._add_state()

    def node(self, tensor: Tensor) -> Node:
        """The node of a tensor of the graph itself."""
        return ((), id(tensor))

    def before(self, nodes: Iterable[Node], through: Callable[[Edge], bool] = lambda edge: True) -> set[Node]:
        """All nodes that lead to some, and these."""
        return _reached(nodes, self.into, through, lambda edge: edge.source)

    def after(self, nodes: Iterable[Node], through: Callable[[Edge], bool] = lambda edge: True) -> set[Node]:
        """All nodes that some lead to, and these."""
        return _reached(nodes, self.out_of, through, lambda edge: edge.target)

    def handles(self, variable: Any) -> list[Node]:
        """The nodes by which a variable comes into the graph."""
        parts = tf.distribute.get_strategy().experimental_local_results(variable)
        own = [part.handle for part in parts]
        return [self.node(inside) for outside, inside in tf_seam.captures(self.graph) if any(outside is h for h in own)]

    def _link(self, source: Node, target: Node, operation: Operation | None = None, *, is_state: bool = False) -> None:
        edge = Edge(source, target, operation, is_state)
        self.into.setdefault(target, []).append(edge)
        self.out_of.setdefault(source, []).append(edge)

    def _add(self, place: Place, graph: Any) -> None:
        for operation in graph.get_operations():
            sources = [self._name(place, tensor) for tensor in operation.inputs]
            targets = [self._name(place, tensor) for tensor in operation.outputs]
            functions = tf_seam.functions_called(operation)
            if functions:
                self._add_call(place, operation, sources, targets, functions)
            elif operation.type in SHAPE_ONLY or _is_idle(operation):
                continue
            elif operation.type == "IdentityN" and not has_own_gradient(operation):
                for source, target in zip(sources, targets, strict=True):
                    self._link(source, target, operation)
            else:
                for source in sources:
                    for target in targets:
                        self._link(source, target, operation)

    def _name(self, place: Place, tensor: Tensor) -> Node:
        node = (place, id(tensor))
        self.tensors[node] = tensor
        return node

    def _add_call(
        self, place: Place, operation: Operation, sources: list[Node], targets: list[Node], functions: dict[str, Any]
    ) -> None:
        """Passes tensors into the functions that an operation calls, and out of them."""
        arguments = sources
        if operation.type in ("If", "StatelessIf", "Case", "StatelessCase"):
            condition, *arguments = sources
            for target in targets:
                self._link(condition, target, operation)
        loops = operation.type in ("While", "StatelessWhile")
        if loops:
            for source, target in zip(sources, targets, strict=True):  # a loop may make no turn
                self._link(source, target)
        for number, (name, graph) in enumerate(functions.items()):
            if loops and name == "cond":
                continue
            inner = (*place, id(operation), number)
            self._add(inner, graph)
            inside = [self._name(inner, tensor) for tensor in graph.inputs]
            results = [self._name(inner, tensor) for tensor in graph.outputs]
            for source, argument in zip(arguments, inside, strict=False):
                self._link(source, argument)
            for result, target in zip(results, targets, strict=False):
                self._link(result, target)
            if loops:
                for result, argument in zip(results, inside, strict=False):
                    self._link(result, argument)

    def _add_state(self) -> None:
        """Leads from what is written into a variable to where it is read."""
        for node, tensor in list(self.tensors.items()):
            if tensor.dtype == tf.resource and not self.into.get(node):
                self._add_state_of(node)

    def _add_state_of(self, handle: Node) -> None:
        places = self.after([handle], lambda edge: edge.operation is None)
        users = [
            (place, operation)
            for place in places
            for operation in self.tensors[place].consumers()
            if operation.type in READS or operation.type.startswith(_WRITES)
        ]
        written = [(node, op) for node, op in users if op.type.startswith(_WRITES) and self._may_write(op)]
        for writer_node, writer in written:
            for reader_node, reader in users:
                if reader.type in READS and not self._is_before(reader, writer):
                    for source in writer.inputs[1:]:
                        for target in reader.outputs:
                            self._link(
                                (writer_node[0], id(source)), (reader_node[0], id(target)), writer, is_state=True
                            )

    def _may_write(self, operation: Operation) -> bool:
        return operation.graph is not self.graph or self._within(self.order[operation.name])

    def _is_before(self, operation: Operation, other: Operation) -> bool:
        if operation.graph is not self.graph or other.graph is not self.graph:
            return False
        return self.order[operation.name] < self.order[other.name]


def _is_idle(operation: Operation) -> bool:
    """Whether it is a read of which nothing is made, as those that are held in case that the step is bad."""
    return operation.type == "ReadVariableOp" and not operation.outputs[0].consumers()


def has_own_gradient(operation: Operation) -> bool:
    """Whether the user registered a gradient for it; TensorFlow itself does so for the functions that it traces."""
    return "_gradient_op_type" in operation.node_def.attr and operation.type not in _CALLS


def has_numbers(tensor: Tensor) -> bool:
    """Whether it is made of numbers that a gradient can be taken of."""
    return tensor.dtype.is_floating or tensor.dtype.is_complex


def _reached(
    nodes: Iterable[Node],
    edges: dict[Node, list[Edge]],
    through: Callable[[Edge], bool],
    end: Callable[[Edge], Node],
) -> set[Node]:
    found = set(nodes)
    waiting = list(found)
    while waiting:
        for edge in edges.get(waiting.pop(), ()):
            if end(edge) not in found and through(edge):
                found.add(end(edge))
                waiting.append(end(edge))
    return found
