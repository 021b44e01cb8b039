"""`GradientWatch`, the callback for `model.fit`."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from gradwatch import glance
from gradwatch.diagnosis import Diagnosis
from gradwatch.errors import warn
from gradwatch.log import Log
from gradwatch.options import check_options
from gradwatch.recording import keras_seam
from gradwatch.recording.variables import find_optimizers
from gradwatch.reporting import Report
from gradwatch.requirements import require_model, require_tensorflow_backend
from gradwatch.rules import RULES, Rule
from gradwatch.sinks import Sink
from gradwatch.watcher import Watcher


class GradientWatch(keras.callbacks.Callback):
    """Records the gradients that the optimizer is given, at every batch, and says what is wrong with them.

    It works with every compiled Keras 3 model on TensorFlow, its own `train_step` or yours, and any number of
    optimizers. The statistics are computed inside the traced step from the gradients that are applied; nothing is
    computed twice, and the weights are bit for bit those of a run without the watch.

    Args:
        run_dir: Directory to write the log to as Parquet while training. `None` keeps it in memory, unless the
            environment variable `GRADWATCH_RUN_DIR` names a directory.
        every_steps: Record each N-th call of an optimizer. A gradient with NaN or Inf is recorded all the same.
        statistics: "default", "full", or a tuple of names of statistics and signals. Those that are named are taken at
            every recorded step. Of the two sets `grad_norm`, `nan_count` and `inf_count` are; `grad_max` and
            `zero_fraction` at each tenth recorded step, and on a step with NaN or Inf; norms of weights and updates and
            the signals for rules at each 47th, with "full" at each tenth. At the first 20 steps everything is taken.
        fail_fast: `True` raises at the first finding of severity "error", a collection of rule names or codes at the
            first finding of these. A gradient with NaN or Inf then never reaches the weights. The default is `False`,
            unless the environment variable `GRADWATCH_FAIL_FAST` is 1.
        on_nonfinite: "record" trains as without the watch; "skip" drops an update with NaN or Inf.
        max_consecutive_skips: With "skip", so many dropped updates in a row are allowed; one more raises.
        allow_detached: Glob patterns of variable paths that may have no gradient ("pooler/*").
        save_bad_step: With a `run_dir`, keep the batch and the weights of the first bad step, and of the first one of
            each further origin, for `load_bad_step`.
        find_origin: Run a bad step once more to name what made its first NaN or Inf. For that each step holds on to the
            weights that it has read: memory for one more copy of them, and the time to make it. With `False` nothing is
            held, and no bad step is kept.
        rules: The rules to judge by.
        sinks: Further places to write records to; see `gradwatch.sinks.Sink`. `gradwatch.LiveView()` shows the run in a
            notebook while it trains.

    Raises:
        ValueError: If an option has a value that is not known.
        TypeError: If an option is of the wrong kind, or the model is not a Keras 3 model.
        RuntimeError: If Keras does not run on TensorFlow.
        OSError: If `run_dir` cannot be written.
        GradientError: From `fit`, where fail-fast stops it.

    Example:
    ```python
    watch = gradwatch.GradientWatch()
    model.fit(x, y, callbacks=[watch])
    print(watch.diagnosis)
    watch.log.layers()
    ```
    """

    def __init__(
        self,
        run_dir: str | os.PathLike[str] | None = None,
        *,
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
    ) -> None:
        super().__init__()
        require_tensorflow_backend()
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
        self._watcher = Watcher(options)
        self._function: _WatchedFunction | None = None
        self._batch_begun = 0

    @property
    def log(self) -> Log:
        """Everything recorded so far; may be read during training, after it, and after an exception."""
        return self._watcher.log

    @property
    def diagnosis(self) -> Diagnosis:
        """What is wrong with what was recorded so far."""
        return self._watcher.diagnosis

    def report(self) -> Report:
        """The report on what was recorded so far; shows itself in a notebook."""
        return self._watcher.report()

    def __repr__(self) -> str:
        return glance.line("GradientWatch", self._watcher.facts.model_name, self._watcher.last_step)

    def _repr_html_(self) -> str:
        return glance.card(self.report(), "GradientWatch")

    def close(self) -> None:
        """Closes the sinks. Not needed in order to read the log; a later `fit` is then kept in memory only."""
        self._watcher.close()

    def let_go(self) -> None:
        """Lets the model be freed after a `fit` while the log is kept; a later `fit` may have this watch again."""
        super().set_model(None)
        self._function = None

    def set_model(self, model: Any) -> None:
        """Puts the watched step on the model, for Keras to take when it makes its train function."""
        super().set_model(model)
        require_model(model)
        self._watcher.start(model, int(model.steps_per_execution))
        plain = model.train_step
        compiled = not model.run_eagerly and bool(model.jit_compile or hasattr(plain, "gradwatch_compiles"))
        step = self._watcher.recorder.watched(
            plain,
            model=model,
            optimizers=lambda: find_optimizers(model),
            active=lambda: self._function is not None and self._function.running,
            compile_it=_compiled if compiled else None,
        )
        function = model.train_function
        reuse = isinstance(function, _WatchedFunction) and function.watches == [self]
        if not reuse:
            _warn_of_trainable(model)
        _put_step(model, plain, step, function, compiled)
        if not reuse:
            model.train_function = None  # else it was traced with this watch, and is not traced again

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Takes the watched step off the model again; Keras has made its train function of it."""
        _take_step_off(self.model, trained=True)
        self._function = _WatchedFunction.around(self.model)
        self._function.add(self)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Leaves a model alone that is evaluated, not trained."""
        _take_step_off(self.model, trained=False)

    def on_predict_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Leaves a model alone that predicts."""
        _take_step_off(self.model, trained=False)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Tells the device which epoch it is."""
        self._watcher.recorder.start_epoch(epoch)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Lets the train function record, for one call."""
        self._batch_begun = batch
        self._watcher.settle(lambda: find_optimizers(self.model))
        if self._function is not None:
            self._function.arm()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks at the device when it is time."""
        self._watcher.look(batch - self._batch_begun + 1)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Takes what was recorded."""
        self._watcher.facts.saw_metrics(
            {name: value for name, value in (logs or {}).items() if not name.startswith("val_")}
        )
        self._watcher.drain()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Judges the whole log and says what is wrong."""
        self._watcher.finish()


class _WatchedFunction:
    """Stands where Keras keeps its train function, and uses the watched one only in a `fit` that has the watch.

    When `fit` raises, Keras calls no callback and keeps the train function for the next `fit`. So every call must be
    armed by `on_train_batch_begin`; one that is not makes Keras build its plain function anew and steps aside for good.

    Args:
        model: The model.
        function: The train function Keras made of the watched step.
    """

    def __init__(self, model: Any, function: Callable[..., Any]) -> None:
        self.running = False
        self._model = model
        self._function = function
        self._armed = False
        self.watches: list[Any] = []

    @classmethod
    def around(cls, model: Any) -> _WatchedFunction:
        """The one that stands on the model already, if another watch of this `fit` put it there, or else a new one."""
        if not isinstance(model.train_function, cls):
            model.train_function = cls(model, model.train_function)
        return model.train_function

    def add(self, watch: Any) -> None:
        """Takes note of a watch that is built into the function."""
        if watch not in self.watches:
            self.watches.append(watch)

    def arm(self) -> None:
        """Lets the next call record."""
        self._armed = True

    def __call__(self, iterator: Any) -> Any:
        if not self._armed:
            self._model.make_train_function(force=True)
            return self._model.train_function(iterator)
        self._armed = False
        self.running = True
        try:
            return self._function(iterator)
        finally:
            self.running = False


def _compiled(step: Callable[..., Any]) -> Callable[..., Any]:
    """The step as Keras compiles it."""
    return tf.function(step, jit_compile=True, reduce_retracing=True, autograph=False)


def _put_step(model: Any, plain: Callable[..., Any], step: Callable[..., Any], function: Any, compiled: bool) -> None:
    """Puts a step on the model that knows how to take itself, and other watched steps under it, off again.

    A step that has itself compiled by XLA must not be compiled with what is around it, so while Keras makes its train
    function of it, the model says that it is not compiled.
    """
    had_own = "train_step" in vars(model)
    jit_compile = model.jit_compile
    under = getattr(plain, "gradwatch_restores", None)

    def restore(trained: bool) -> None:
        if under is not None:
            under(trained)
            return
        if had_own:
            model.train_step = plain
        else:
            del model.train_step
        if compiled:
            model.jit_compile = jit_compile
        if not trained:
            model.train_function = function

    step.gradwatch_restores = restore  # type: ignore[attr-defined]
    model.train_step = step
    if compiled:
        step.gradwatch_compiles = True  # type: ignore[attr-defined]
        model.jit_compile = False


def _take_step_off(model: Any, *, trained: bool) -> None:
    restore = getattr(vars(model).get("train_step"), "gradwatch_restores", None)
    if restore is not None:
        restore(trained)


def _warn_of_trainable(model: Any) -> None:
    """Says so when a layer was frozen or unfrozen without compiling again, which Keras alone would not heed."""
    if model.train_function is None or model.optimizer is None or not model.optimizer.built:
        return
    compiled = {id(variable) for variable in keras_seam.optimizer_variables(model.optimizer)}
    if type(model).train_step is keras.Model.train_step and compiled != {id(v) for v in model.trainable_variables}:
        warn(
            f"Layers of the model {model.name!r} were frozen or unfrozen after it was compiled and trained. Keras goes "
            "on with the variables of before until `compile` is called again; a watched `fit` is traced anew and heeds "
            "the change at once. Call `model.compile(...)` after changing `trainable`."
        )
