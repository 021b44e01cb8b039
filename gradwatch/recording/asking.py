"""Asks why a gradient came out as `None`, while the graph is at hand; an eager step is traced once for the question."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from gradwatch.causes import Cause
from gradwatch.recording import replicas
from gradwatch.recording.probe import current_graph
from gradwatch.recording.step import Step
from gradwatch.recording.tapes import Asked, listen
from gradwatch.recording.variables import VariableTable

Finder = Callable[[Any, "Asked | Exception", list[Any]], list[tuple[Cause, ...]]]
Listener = Callable[["Asked | Exception"], None]
"""Given what was asked of the tape, or why the step cannot be traced."""


class CutSearch:
    """Asks about each variable once, and tells the table what was answered.

    Args:
        find: Given the model, what was asked of the tape or why an eager step cannot be traced, and the variables, it
            returns causes for each.
        table: Keeps the causes.
        enter: Makes a context in which another step is the one that runs.
    """

    def __init__(self, find: Finder, table: VariableTable, enter: Callable[[Step], Any]) -> None:
        self._find = find
        self._table = table
        self._enter = enter
        self._asked_about: list[Any] = []

    def look(self, step: Step, missing: list[Any]) -> None:
        """To be called when an optimizer is given no gradient for some variables, before it goes on."""
        if not step.only_asks:
            if all(any(variable is known for known in self._asked_about) for variable in missing):
                return
            self._asked_about += missing

        def tell(asked: Asked | Exception) -> None:
            self._table.set_cuts(missing, self._find(step.model, asked, missing))

        if not tf.executing_eagerly():
            ask(step, missing, tell)
        elif step.function is not None:
            trace_to_ask(step, tell, self._enter)


class EnoughTraced(BaseException):
    """Ends the tracing of a step that was traced only to ask; no `except Exception` of the user's may stop it."""


def ask(step: Step, missing: list[Any], tell: Listener) -> None:
    """Tells what was asked of the tape, in a graph that is being traced.

    Args:
        step: The step.
        missing: The variables without a gradient.
        tell: Is told, unless it is not known what was differentiated.

    Raises:
        EnoughTraced: If the step is traced only to ask.
    """
    graph = current_graph()
    asked = step.tapes.about(missing, graph)
    if asked is None and step.loss is not None and step.loss.graph is graph:
        asked = Asked(graph, [step.loss], [])
    if asked is not None:
        tell(asked)
    if step.only_asks:
        raise EnoughTraced


def trace_to_ask(step: Step, tell: Listener, enter: Callable[[Step], Any]) -> None:
    """Traces an eager step as far as it takes for `ask`; where that fails, it tells why.

    Args:
        step: The step that runs.
        tell: Is told.
        enter: Makes a context in which another step is the one that runs.
    """
    assert step.function is not None
    args, kwargs = tf.nest.map_structure(_as_tensor, step.arguments)
    inner = Step(step.model, None, only_asks=True)

    def traced(*args: Any, **kwargs: Any) -> None:
        nonlocal inner
        inner = Step(step.model, current_graph(), only_asks=True)
        with enter(inner), listen(lambda: inner.tapes):
            step.function(*args, **kwargs)  # type: ignore[misc]

    failure: Exception | None = None
    for autograph in (False, True):  # a step that needs AutoGraph is traced with it, and then has no plain traceback
        try:
            with contextlib.suppress(EnoughTraced):
                tf.function(traced, autograph=autograph).get_concrete_function(*args, **kwargs)
            return
        except Exception as error:
            failure = failure or error
            if not isinstance(error, tf.errors.OperatorNotAllowedInGraphError):
                break
    assert failure is not None
    if inner.loss is not None and replicas.is_distributed():
        # What replicas do together, such as the update of a metric, cannot be traced from within one of them; the loss
        # is computed before that.
        tell(Asked(inner.graph, [inner.loss], []))
    else:
        tell(failure)


def _as_tensor(leaf: Any) -> Any:
    return tf.convert_to_tensor(leaf) if isinstance(leaf, np.ndarray) and leaf.dtype.kind in "fiub" else leaf
