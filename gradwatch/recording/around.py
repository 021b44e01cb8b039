"""What a recorder does around a step: before it, after it, and outside of what XLA compiles of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

from gradwatch.errors import own_failures
from gradwatch.recording import replicas
from gradwatch.recording.probe import current_graph
from gradwatch.recording.stash import Stash
from gradwatch.recording.step import Step

Tensor = Any


class Recorder(Protocol):
    """What is needed of a recorder."""

    def begin(self, step: Step | None, optimizers: dict[str, Any]) -> None:
        """Begins a step."""

    def end(self) -> None:
        """Ends it, also when it raised."""

    def finish(self, result: Any) -> Tensor:
        """Writes the rows of a step that returned."""


class AroundStep:
    """What is done around a step, each time it is traced or runs eagerly; see `wrap`.

    Args:
        recorder: Does it.
        stash: Keeps what a bad step was given, or `None`.
        function: The step as the user wrote it, or one that is wrapped already.
        model: The model it trains, or `None`.
        optimizers: Gives the optimizers by name.
        active: Whether to do it.
        compiled: Whether XLA compiles the step.
    """

    def __init__(
        self,
        recorder: Recorder,
        stash: Stash | None,
        function: Callable[..., Any],
        model: Any,
        optimizers: Callable[[], dict[str, Any]],
        active: Callable[[], bool],
        compiled: bool,
    ) -> None:
        self._recorder = recorder
        self._stash = stash
        self._function = written(function)
        self._model = model
        self._optimizers = optimizers
        self._active = active
        self._compiled = compiled
        self._local = threading.local()  # replicas run side by side

    def hold(self, arguments: Any) -> None:
        """Before the step, outside of what is compiled; it is left out where another watch compiles around it."""
        self._local.held = None
        # Not on replicas, for each has its own batch.
        if self._stash is not None and self._active() and not replicas.is_distributed():
            with own_failures("keeping the weights"):
                self._local.held = self._stash.hold(self._function, self._model, self._optimizers(), arguments)

    def begin(self, arguments: Any) -> None:
        """Before the step."""
        if not self._active():
            self._recorder.begin(None, {})
            return
        held = getattr(self._local, "held", None)
        step = Step(self._model, current_graph(), self._function, arguments, compiled=self._compiled, held=held)
        self._recorder.begin(step, self._optimizers() if held is None else held.optimizers)

    def end(self) -> None:
        """After the step, also when it raised."""
        self._recorder.end()

    def finish(self, result: Any) -> Tensor:
        """After it returned; what this returns goes to `keep`."""
        return self._recorder.finish(result)

    def keep(self, number: Tensor) -> None:
        """After the step, outside of what is compiled; it is left out where `hold` was."""
        held, self._local.held = self._local.held, None
        if self._stash is not None and held is not None:
            with own_failures("keeping a bad step"):
                self._stash.keep(held, number)


def written(step: Callable[..., Any]) -> Callable[..., Any]:
    """The step as the user wrote it, of one that may be wrapped."""
    return getattr(step, "gradwatch_of", step)
