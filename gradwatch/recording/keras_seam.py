"""The only place that touches what Keras and TensorFlow do not promise, and why each is needed.

* `Optimizer._trainable_variables`: `optimizer.apply(grads)` may be called without variables; the optimizer alone knows
  which ones it was built with.
* `tf.function`'s `_clone` and `_jit_compile`: a step that is already a traced function must be traced anew to be
watched,
  with the options it was made with (`jit_compile`, `input_signature`, ...), which no public call gives back.
* `FuncGraph._watched_variables`: while a step is traced, the only trace of a variable that was used but never tracked.

* `tf.function`'s `_jit_compile` is also set, on a clone: around a step that XLA compiles stands one that it does not.
* `FuncGraph` and its `outer_graph`: whether an optimizer is called in a `tf.function` of the user's own.

`tests/recording/test_keras_seam.py` fails when any of them changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def optimizer_variables(optimizer: Any) -> list[Any]:
    """The model variables that an optimizer was built with."""
    return list(optimizer._trainable_variables)


def is_traceable(function: Any) -> bool:
    """Whether `function` is a `tf.function`."""
    return isinstance(function, type(tf.function(lambda: None)))


def clone_function(function: Any, python_function: Callable[..., Any], *, compiled: bool | None = None) -> Any:
    """A fresh `tf.function` of `python_function` with the options of `function`.

    Args:
        function: A `tf.function`.
        python_function: What the other is made of.
        compiled: Whether XLA compiles it; `None` for what `function` says.
    """
    clone = function._clone(python_function)
    if compiled is not None:
        clone._jit_compile = compiled
    return clone


def variables_used(graph: Any) -> list[Any]:
    """The trainable `tf.Variable`s that the operations of a function graph read."""
    return list(graph._watched_variables)


def is_compiled(function: Any) -> bool:
    """Whether XLA compiles this `tf.function`."""
    return bool(function._jit_compile)


def is_in_function(graph: Any, outer: Any) -> bool:
    """Whether a graph, or one around it below `outer`, is of a `tf.function`, not of a branch or a loop.

    Such a function is traced once and called again: it must hold nothing of the graph around it, and what was built
    into it cannot be left out when the step is run once more.

    Args:
        graph: The graph, or `None` where operations run at once.
        outer: The graph of the step, or `None` if it runs eagerly.
    """
    while graph is not None and graph is not outer:
        if type(graph).__name__ == "FuncGraph":
            return True
        graph = getattr(graph, "outer_graph", None)
    return False
