"""What gradients a step asks of which tape, and what the tapes recorded: needed to say why one came out as `None`.

While a step is traced, public methods of `tf.GradientTape` also tell what they were called with. Nothing is
added to the graph. In eager mode nothing is listened to: there a step is traced once for the question.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from gradwatch.errors import own_failures
from gradwatch.recording.probe import raw

Tensor = Any
Spans = list[tuple[int, int]]

LISTENED_TO = ("__enter__", "__exit__", "stop_recording", "gradient")


@dataclasses.dataclass(frozen=True)
class Asked:
    """Gradients that were asked of a tape.

    Args:
        graph: The graph in which it was asked.
        targets: What was differentiated.
        sources: With respect to what.
        spans: Parts of the graph that the tape recorded, as numbers of operations from and to; `None` if not known.
    """

    graph: Any
    targets: list[Tensor]
    sources: list[Any]
    spans: Spans | None = None


class Tapes:
    """What the tapes of one step have done so far."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._spans: dict[int, list[tuple[Any, int, int]]] = {}  # with the graph
        self._open: dict[int, tuple[Any, int]] = {}
        self._kept: list[Any] = []  # so that no identity is used twice

    def opened(self, tape: Any) -> None:
        """The tape begins to record."""
        self._kept.append(tape)
        self._open[id(tape)] = _here()

    def closed(self, tape: Any) -> None:
        """The tape records no more."""
        if id(tape) in self._open:
            self._spans.setdefault(id(tape), []).append((*self._open.pop(id(tape)), _here()[1]))

    def was_asked(self, tape: Any, target: Any, sources: Any) -> None:
        """A gradient is asked of the tape."""
        graph, end = _here()
        spans = [*self._spans.get(id(tape), [])]
        if id(tape) in self._open:
            spans.append((*self._open[id(tape)], end))
        is_known = bool(spans) and all(place is graph for place, _, _ in spans)
        targets = [tensor for tensor in tf.nest.flatten(target) if tf.is_tensor(tensor)]
        flat = tf.nest.flatten(sources)
        parts = [(first, last) for _, first, last in spans] if is_known else None
        self.asked.append(Asked(graph, targets, flat, parts))

    def about(self, variables: list[Any], graph: Any) -> Asked | None:
        """The last question in a graph about some of the variables, or else the last one in that graph."""
        wanted = {id(raw(variable)) for variable in variables}
        here = [asked for asked in self.asked if asked.graph is graph and asked.targets]
        fitting = [asked for asked in here if wanted & {id(raw(source)) for source in asked.sources}]
        found = fitting or here
        return found[-1] if found else None


@contextlib.contextmanager
def listen(current: Callable[[], Tapes | None]) -> Iterator[None]:
    """A context in which the tapes of all threads tell what they do.

    Args:
        current: Gives what listens in the thread that calls, if anything does.
    """
    enter, leave, stop, gradient = (getattr(tf.GradientTape, name) for name in LISTENED_TO)

    @tf.autograph.experimental.do_not_convert
    def entered(tape: Any) -> Any:
        result = enter(tape)
        _tell(current, lambda tapes: tapes.opened(tape))
        return result

    @tf.autograph.experimental.do_not_convert
    def left(tape: Any, *error: Any) -> Any:
        _tell(current, lambda tapes: tapes.closed(tape))
        return leave(tape, *error)

    @contextlib.contextmanager
    def stopped(tape: Any) -> Iterator[None]:
        _tell(current, lambda tapes: tapes.closed(tape))
        with stop(tape):
            yield
        _tell(current, lambda tapes: tapes.opened(tape))

    @tf.autograph.experimental.do_not_convert
    def asked(tape: Any, target: Any, sources: Any, *args: Any, **kwargs: Any) -> Any:
        _tell(current, lambda tapes: tapes.was_asked(tape, target, sources))
        return gradient(tape, target, sources, *args, **kwargs)

    own = dict(zip(LISTENED_TO, (enter, leave, stop, gradient), strict=True))
    _set(dict(zip(LISTENED_TO, (entered, left, stopped, asked), strict=True)))
    try:
        yield
    finally:
        _set(own)


def _set(methods: dict[str, Any]) -> None:
    for name, method in methods.items():
        setattr(tf.GradientTape, name, method)


def _tell(current: Callable[[], Tapes | None], what: Callable[[Tapes], None]) -> None:
    tapes = None if tf.executing_eagerly() else current()
    if tapes is not None:
        with own_failures("listening to a tape"):
            what(tapes)


def _here() -> tuple[Any, int]:
    """The graph that is being traced into, and how many operations it has so far."""
    graph = tf.compat.v1.get_default_graph()
    return graph, len(graph.get_operations())
