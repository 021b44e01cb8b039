"""What a step holds on to until it knows whether it was bad, and what is known of one that was.

A good step copies nothing that it need not. The forward pass reads every weight anyway; the step only holds on to what
was read, and TensorFlow, which shares the memory between a variable and those who read it, then writes the new value
elsewhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from gradwatch.recording.probe import current_graph, raw

Tensor = Any

READS = frozenset({"ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VariableShape"})


@dataclasses.dataclass(frozen=True)
class Caught:
    """A step with a NaN or Inf.

    Args:
        step: Number of the optimizer call.
        function: The step as the user wrote it.
        model: The model it trains, or `None`.
        optimizers: Its optimizers by name.
        arguments: What it was given: positional and keyword arguments.
        variables: Variables that the step may have changed.
        values: Their values from before the step; of those with sparse gradients `tf.IndexedSlices`, the rows that the
            batch uses.
        is_complete: Whether no variable is left out.
        runs_again: Whether the step can be run once more: not if its update is in a `tf.function` of the user's own.
    """

    step: int
    function: Any
    model: Any
    optimizers: dict[str, Any]
    arguments: tuple[tuple, dict[str, Any]]
    variables: list[Any]
    values: list[Any]
    is_complete: bool = True
    runs_again: bool = True

    def put_back(self) -> None:
        """Gives the variables the values they had before the step."""
        for variable, value in zip(self.variables, self.values, strict=True):
            if isinstance(value, tf.IndexedSlices):
                variable.scatter_update(value)
            else:
                variable.assign(value)


@dataclasses.dataclass
class Held:
    """What a step holds on to until it knows whether it was bad.

    Args:
        function: The step as the user wrote it.
        model: The model it trains, or `None`.
        optimizers: Its optimizers by name.
        arguments: What it was called with: positional and keyword arguments.
        graph: The graph it is traced into, or `None` when it runs eagerly.
        reads: Variables, and what is read from each before the step.
        rows: Of variables with a sparse gradient the rows that it is about.
        left_out: Identities of variables that must not be held as a whole.
    """

    function: Any
    model: Any
    optimizers: dict[str, Any]
    arguments: tuple[tuple, dict[str, Any]]
    graph: Any
    reads: list[tuple[Any, Tensor]]
    rows: list[tuple[Any, tf.IndexedSlices]] = dataclasses.field(default_factory=list)
    left_out: set[int] = dataclasses.field(default_factory=set)

    def before_update(self, grads: Sequence[Any], variables: Sequence[Any]) -> None:
        """To be called before an update: to hold a variable of sparse updates would mean to copy all of it."""
        for grad, variable in zip(grads, map(raw, variables), strict=True):
            if isinstance(grad, tf.IndexedSlices) and id(variable) not in self.left_out:
                self.left_out.add(id(variable))
                if current_graph() is self.graph:
                    indices = tf.identity(grad.indices)
                    # Of what the step has read, if it has: to gather from the variable itself makes TensorFlow copy all
                    # of it at each update from then on.
                    source = variable if self.graph is None else self._found(variable)
                    self.rows.append((variable, tf.IndexedSlices(tf.gather(source, indices), indices)))

    def _found(self, variable: Any) -> Any:
        """What the step has read of a variable before it could be written, or else the variable."""
        fresh = next((read for known, read in self.reads if known is variable), None)
        return variable if fresh is None else _reads_of_the_step(self.graph).get(fresh.op.inputs[0].name, variable)

    def state(self) -> list[tuple[Any, Any]]:
        """The variables with their values from before the step."""
        found = {} if self.graph is None else _reads_of_the_step(self.graph)
        whole = [
            (variable, value if self.graph is None else found.get(value.op.inputs[0].name, value))
            for variable, value in self.reads
            if id(variable) not in self.left_out
        ]
        return [*whole, *self.rows]

    def caught(self, number: int, arguments: Any, variables: list[Any], values: list[Any]) -> Caught:
        """The step as a bad one."""
        is_complete = len(self.rows) == len(self.left_out)
        return Caught(
            number, self.function, self.model, self.optimizers, arguments, variables, values, is_complete=is_complete
        )


def _reads_of_the_step(graph: Any) -> dict[str, Tensor]:
    """For each variable, by the name of its handle, what was read first, if nothing can have written to it before."""
    found: dict[str, Tensor] = {}
    written: set[str] = set()
    for operation in graph.get_operations():
        handles = [tensor.name for tensor in operation.inputs if tensor.dtype == tf.resource]
        if operation.type == "ReadVariableOp":
            if handles[0] not in written and operation.outputs[0].consumers():
                found.setdefault(handles[0], operation.outputs[0])
        elif operation.type not in READS:
            written.update(handles)
    return found
