"""A step that is run on trial: no update is made, and afterwards everything is as it was."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from gradwatch import records, schema
from gradwatch.causes import Cause
from gradwatch.log import Log
from gradwatch.recording.probe import raw
from gradwatch.recording.session import Recorder
from gradwatch.recording.stash import kinds_of
from gradwatch.recording.step import Step
from gradwatch.tracing import cuts, inputs, origin


class Trial:
    """Runs a step on trial.

    Args:
        function: The step as the user wrote it.
        model: The model it trains, or `None`.
        optimizers: Gives the optimizers by name.
    """

    def __init__(self, function: Callable[..., Any], *, model: Any, optimizers: Callable[[], dict[str, Any]]) -> None:
        self._function = function
        self._model = model
        self._optimizers = optimizers
        self._without: list[records.Segment] = []
        self._suspects: list[Any] = []
        self._known: dict[str, tuple[Any, list[Any]]] = {}
        self._recorder = Recorder(
            statistics=schema.GRADIENT_STATISTICS,
            applies=False,
            on_call=self._on_call,
            find_cuts=cuts.answer,
            on_all_detached=self._all_detached,
        )
        self._step = self._recorder.watched(function, model=model, optimizers=optimizers, active=lambda: True)
        self._recorder.start()

    def log(self, *arguments: Any, eagerly: bool = False) -> Log:
        """The log of one step.

        Args:
            *arguments: What the step is given.
            eagerly: Run it eagerly, as it was written.
        """
        traced = None if eagerly else self._traced(arguments)
        with restored(self._state(traced)), _new_metrics_reset(self._model):
            (traced or self._step)(*arguments)
            segments = [*self._recorder.drain(), *self._without]
        infos, places = self._recorder.table.ordered()
        info = records.RunInfo(num_trainable=self._recorder.num_trainable)
        return Log(infos, records.join([records.renumber(segment, places) for segment in segments]), info)

    def origin(self, *arguments: Any, **options: Any) -> Cause | None:
        """What makes the first NaN or Inf of the step, or `None` if it makes none, or none that can be traced."""
        traced, suspects = self._traced_once(arguments, options)
        batch = inputs.tensors_in((arguments, options))
        with restored(self._state(traced)):
            found = origin.find_origin(traced.graph, [*batch, *traced.captured_inputs], suspects)
        if found is None:
            return None
        if found.operation.type == "Placeholder":
            return Cause("in the batch", detail=inputs.bad_ones(self._function, arguments, options) or None)
        sizes = [tensor.shape[0] for tensor in batch if tensor.shape.rank]
        return origin.cause_of(found, cuts.names_of_layers(self._model), sizes[0] if sizes else None)

    def _traced_once(self, arguments: Sequence[Any], options: dict[str, Any]) -> tuple[Any, list[Any]]:
        """The traced step and the tensors in it that may be bad; traced anew only for inputs of another kind."""
        key = repr(kinds_of((arguments, options)))
        if key not in self._known:
            self._suspects.clear()
            traced = self._traced(arguments, options)
            here = [tensor for tensor in self._suspects if tensor.graph is traced.graph]
            self._known[key] = traced, here or [tensor for tensor in traced.outputs if tensor.dtype.is_floating]
        return self._known[key]

    def _traced(self, arguments: Sequence[Any], options: dict[str, Any] | None = None) -> Any:
        """The traced step; with AutoGraph, which hides where an error comes from, only if it needs it."""
        step = functools.partial(self._step, **options) if options else self._step
        try:
            return tf.function(step, autograph=False).get_concrete_function(*arguments)
        except tf.errors.OperatorNotAllowedInGraphError:
            return tf.function(step).get_concrete_function(*arguments)

    def _on_call(self, step: Step, grads: list[Any], variables: list[Any]) -> None:
        """Takes note of what may be bad, the loss before the gradients, those nearest to it first."""
        losses = [target for asked in step.tapes.asked for target in asked.targets]
        tensors = [grad.values if isinstance(grad, tf.IndexedSlices) else grad for grad in reversed(grads)]
        self._suspects += [tensor for tensor in (*losses, *tensors) if tf.is_symbolic_tensor(tensor)]

    def _all_detached(self, optimizer: str, variables: list[Any]) -> Exception:
        """Keeps a step of the log for an optimizer that was given no gradient at all."""
        numbers = self._recorder.table.add(variables)
        segment = records.detached_step(optimizer, numbers, len(self._without), schema.GRADIENT_STATISTICS)
        self._without.append(segment)
        return ValueError(optimizer)

    def _state(self, traced: Any) -> list[tf.Variable]:
        """All that a step may change: what model and optimizers have, and what the traced step uses."""
        used = [] if traced is None else list(traced.graph.variables)
        return [*used, *state_of(self._model, self._optimizers())]


def state_of(model: Any, optimizers: dict[str, Any]) -> list[tf.Variable]:
    """The variables of a model, of its metrics and of optimizers."""
    holders = [] if model is None else [*model.variables, *model.metrics_variables]
    return [raw(v) for v in (*holders, *(v for optimizer in optimizers.values() for v in optimizer.variables))]


@contextlib.contextmanager
def restored(variables: Sequence[tf.Variable]) -> Iterator[None]:
    """Gives variables back the values they have now, whatever happens to them."""
    kept = {id(variable): (variable, tf.identity(variable)) for variable in variables}
    try:
        yield
    finally:
        for variable, value in kept.values():
            variable.assign(value)


@contextlib.contextmanager
def _new_metrics_reset(model: Any) -> Iterator[None]:
    """Empties the metrics that an eager step made."""
    known = {id(metric) for metric in _metrics(model) if metric.variables}
    try:
        yield
    finally:
        for metric in _metrics(model):
            if id(metric) not in known:
                metric.reset_state()


def _metrics(model: Any) -> list[keras.Metric]:
    return [] if model is None else model.metrics
