"""`watch_train_step`, for custom steps and loops without `fit`."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

import keras
import tensorflow as tf

from gradwatch import glance
from gradwatch.diagnosis import Diagnosis
from gradwatch.errors import warn
from gradwatch.log import Log
from gradwatch.options import Options, check_options
from gradwatch.recording import keras_seam
from gradwatch.recording.variables import find_optimizers
from gradwatch.reporting import Report
from gradwatch.requirements import require_strategy, require_tensorflow_backend
from gradwatch.rules import RULES, Rule
from gradwatch.sinks import Sink
from gradwatch.watcher import Watcher


class WatchedStep:
    """A training step that is watched; call it as the step it was made of.

    Args:
        train_step: The step, a Python function or a `tf.function`.
        model: The model it trains, or `None`.
        optimizers: The optimizers by name.
        options: Checked options.
    """

    def __init__(
        self, train_step: Callable[..., Any], model: Any, optimizers: dict[str, Any], options: Options
    ) -> None:
        self._watcher = Watcher(options)
        self._watcher.start(model)
        self._optimizers = optimizers
        self._epoch = 0
        self._seen = False
        traced = keras_seam.is_traceable(train_step)
        compiled = traced and keras_seam.is_compiled(train_step)
        watched = self._watcher.recorder.watched(
            train_step.python_function if traced else train_step,  # type: ignore[attr-defined]
            model=model,
            optimizers=lambda: optimizers,
            active=lambda: True,
            compile_it=functools.partial(keras_seam.clone_function, train_step) if compiled else None,
        )
        self._step = keras_seam.clone_function(train_step, watched, compiled=False) if traced else watched

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs one step and returns what it returns."""
        if tf.executing_eagerly():
            self._watcher.settle(lambda: self._optimizers)
        try:
            result = self._step(*args, **kwargs)
        except Exception as error:
            # AutoGraph turns an error that is raised while it traces into one of its own.
            if self._watcher.refusal is None or error is self._watcher.refusal:
                raise
            raise self._watcher.refusal from error
        if tf.executing_eagerly():  # else it is being traced into a function of the user's, and nothing has run yet
            self._check_seen()
            self._watcher.look(1)
        return result

    @property
    def epoch(self) -> int:
        """The epoch that records are filed under; set it where an epoch begins."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch = int(epoch)
        self._watcher.recorder.start_epoch(self._epoch)

    @property
    def log(self) -> Log:
        """Everything recorded so far."""
        return self._watcher.log

    @property
    def diagnosis(self) -> Diagnosis:
        """What is wrong with what was recorded so far."""
        return self._watcher.diagnosis

    def report(self) -> Report:
        """The report on what was recorded so far; shows itself in a notebook."""
        return self._watcher.report()

    def __repr__(self) -> str:
        return glance.line("WatchedStep", self._watcher.facts.model_name, self._watcher.last_step)

    def _repr_html_(self) -> str:
        return glance.card(self.report(), "WatchedStep")

    def close(self) -> None:
        """Ends the run: judges the whole log, says what is wrong, closes the sinks."""
        self._watcher.finish()
        self._watcher.close()

    def __enter__(self) -> WatchedStep:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._watcher.close()

    def _check_seen(self) -> None:
        if self._seen:
            return
        self._seen = True
        if self._watcher.recorder.num_calls_traced == 0:
            warn(
                "The watched step ran without calling `apply` on any watched optimizer, so nothing is recorded. If the "
                "step calls a `tf.function` that ran before, wrap that function instead; if it uses another optimizer, "
                "name it with `optimizers=`."
            )


def watch_train_step(
    train_step: Callable[..., Any],
    *,
    model: Any = None,
    optimizers: Any = None,
    run_dir: str | os.PathLike[str] | None = None,
    every_steps: int = 1,
    statistics: str | tuple[str, ...] = "default",
    fail_fast: bool | Collection[str] | None = None,
    on_nonfinite: str = "record",
    max_consecutive_skips: int = 10,
    allow_detached: Sequence[str] = (),
    save_bad_step: bool = True,
    find_origin: bool = True,
    rules: Iterable[Rule] = RULES,
    sinks: Iterable[Sink] = (),
) -> WatchedStep:
    """Wraps a training step of your own, so that it records the gradients it gives to its optimizers.

    Args:
        train_step: The step: a Python function, or a `tf.function`, which is traced anew.
        model: The model that it trains; gives the optimizers and the order of the variables.
        optimizers: An optimizer, a sequence or a dict by name of them. `None` finds every Keras optimizer that is an
            attribute of the model.
        run_dir: See `GradientWatch`, as for all that follow.
        every_steps: See `GradientWatch`.
        statistics: See `GradientWatch`.
        fail_fast: See `GradientWatch`.
        on_nonfinite: See `GradientWatch`.
        max_consecutive_skips: See `GradientWatch`.
        allow_detached: See `GradientWatch`.
        save_bad_step: See `GradientWatch`.
        find_origin: See `GradientWatch`.
        rules: See `GradientWatch`.
        sinks: See `GradientWatch`.

    Returns:
        A step to call in place of yours. It has `log`, `diagnosis`, `report()`, `close()` and `epoch`, and closes
        itself as a context manager. The loss is taken from what the step returns: a scalar, or the entry "loss" of a
        dict, or the first of a tuple.

    Raises:
        TypeError: If the step cannot be called, or an optimizer is not a Keras 3 optimizer.
        ValueError: If there is no optimizer, or an option has a value that is not known.
        OSError: If `run_dir` cannot be written.

    Example:
    ```python
    with gradwatch.watch_train_step(train_step, model=model) as step:
        for batch in dataset:
            step(batch)
    print(step.diagnosis)
    ```
    """
    require_tensorflow_backend()
    if not callable(train_step):
        raise TypeError(f"`train_step` must be a function. Received: {train_step!r}.")
    options = check_options(
        run_dir=run_dir,
        every_steps=every_steps,
        statistics=statistics,
        fail_fast=fail_fast,
        on_nonfinite=on_nonfinite,
        max_consecutive_skips=max_consecutive_skips,
        allow_detached=allow_detached,
        save_bad_step=save_bad_step,
        find_origin=find_origin,
        rules=rules,
        sinks=sinks,
    )
    require_strategy(tf.distribute.get_strategy())
    return WatchedStep(train_step, _checked_model(model), _named_optimizers(optimizers, model), options)


def _checked_model(model: Any) -> Any:
    if model is not None and not isinstance(model, keras.Model):
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        raise TypeError(f"`model` must be a Keras 3 model or None. Received: an object of class {kind}.")
    return model


def _named_optimizers(given: Any, model: Any) -> dict[str, Any]:
    if given is None:
        found = {} if model is None else find_optimizers(model)
        if not found:
            raise ValueError(
                "There is no optimizer to watch. Received: optimizers=None, and "
                + (
                    "no model."
                    if model is None
                    else f"the model {model.name!r} has no Keras optimizer as an attribute."
                )
                + " Name the optimizers that the step calls: optimizers=[optimizer]."
            )
        return found
    if isinstance(given, Mapping):
        named = {str(name): optimizer for name, optimizer in given.items()}
    else:
        named = {}
        for optimizer in given if isinstance(given, Iterable) and not isinstance(given, str) else (given,):
            named[_unused(getattr(optimizer, "name", "optimizer"), named)] = optimizer
    for optimizer in named.values():
        if not isinstance(optimizer, keras.optimizers.Optimizer):
            raise TypeError(
                f"`optimizers` must be Keras 3 optimizers. Received: {optimizer!r} of class "
                f"{type(optimizer).__module__}.{type(optimizer).__qualname__}."
            )
    if not named:
        raise ValueError(f"There is no optimizer to watch. Received: optimizers={given!r}.")
    return named


def _unused(name: str, taken: Collection[str]) -> str:
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    return candidate
