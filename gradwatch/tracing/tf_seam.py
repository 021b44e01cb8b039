"""The only place that looks inside of TensorFlow's function graphs, and why it must.

* `FuncGraph.captures`: what a traced function reads of the outside, which is how a variable comes into a graph.
* `Graph._get_function`: an operation that calls a function (`PartitionedCall`, `If`, `While`) knows only its name; the
  graph behind the name has the operations, and where in the user's source they were made.

`tests/tracing/test_tf_seam.py` fails when any of them changes.
"""

from __future__ import annotations

from typing import Any


def captures(graph: Any) -> list[tuple[Any, Any]]:
    """Pairs of a tensor outside and the placeholder that stands for it inside of a function graph."""
    return list(getattr(graph, "captures", ()))


def functions_called(operation: Any) -> dict[str, Any]:
    """The function graphs that an operation calls, by the name of the attribute; those of a list are numbered."""
    found = {}
    for name, value in operation.node_def.attr.items():
        functions = [value.func] if value.HasField("func") else list(value.list.func)
        for number, function in enumerate(functions):
            definition = operation.graph._get_function(function.name)
            graph = getattr(definition, "graph", None)
            if graph is not None:
                found[name if value.HasField("func") else f"{name}/{number}"] = graph
    return found
