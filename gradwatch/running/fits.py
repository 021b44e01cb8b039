"""Every `fit` of a program, watched: one watch, and one run directory, for each model."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import re
import types
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from gradwatch.environment import RUN_DIR_VARIABLE
from gradwatch.errors import own_failures
from gradwatch.running.importing import when_imported
from gradwatch.running.program import UnusableRunDirError

if TYPE_CHECKING:
    from gradwatch.callback import GradientWatch
    from gradwatch.log import Log

_WATCH = "_gradwatch_watch"


class WatchedRun:
    """What was seen of one model.

    The model holds on to its watch, and this to its log only: a watch knows its model, and a program that makes many
    models has to be able to let them go.

    Args:
        model: The model.
        watch: Its watch.
        run_dir: Where its log is written to, if anywhere.
    """

    def __init__(self, model: Any, watch: GradientWatch, run_dir: str | None) -> None:
        self.name = str(model.name)
        self.run_dir = run_dir
        self.is_training = False
        self.log: Log | None = None
        self._model = weakref.ref(model)
        self._watch = weakref.ref(watch)
        vars(model)[_WATCH] = watch  # not by setattr, which Keras listens to

    def is_of(self, model: Any) -> bool:
        """Whether it is the run of this model."""
        return self._model() is model

    @property
    def watch(self) -> GradientWatch | None:
        """The watch, as long as there is the model."""
        return self._watch()

    def end_fit(self) -> None:
        """To be called after each `fit`, also one that raised."""
        self.is_training = False
        watch = self.watch
        if watch is not None:
            self.log = watch.log
            watch.let_go()

    def close(self) -> None:
        """Takes the last records, and the watch off the model."""
        model, watch = self._model(), self.watch
        if model is not None:
            vars(model).pop(_WATCH, None)
        if watch is not None:
            self.log = watch.log
            watch.close()


class WatchedFits:
    """Adds a `GradientWatch` to each call of `keras.Model.fit` that has none.

    Args:
        run_dir: Where to write the log of the first model; further ones go beside it, with the name of the model at the
            end of the name. `None` keeps all in memory.
        tell: Called with what the user should know.
    """

    def __init__(self, run_dir: str | None, tell: Callable[[str], None]) -> None:
        self.runs: list[WatchedRun] = []
        self.num_fits = 0
        self.num_own = 0
        self._run_dir = run_dir
        self._tell = tell
        self._told: set[str] = set()
        self._keras: Any = None
        self._process = os.getpid()
        self._undo = contextlib.ExitStack()

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Watches what is fitted while the block runs; Keras may be imported in it or before."""
        try:
            with self._undo, when_imported("keras", self._put_on):
                yield
        finally:
            for run in self.runs:
                with own_failures("closing the log"):
                    run.close()

    def _put_on(self, keras: types.ModuleType) -> None:
        self._keras = keras
        self._check_run_dir()
        model_class = keras.Model
        is_own = "fit" in vars(model_class)
        plain = model_class.fit

        @functools.wraps(plain)
        def fit(*args: Any, **kwargs: Any) -> Any:
            return self._fit(plain, args, kwargs)

        model_class.fit = fit
        if is_own:
            self._undo.callback(setattr, model_class, "fit", plain)
        else:
            self._undo.callback(delattr, model_class, "fit")

    def _check_run_dir(self) -> None:
        """Ends the program now rather than after its data was read, if the directory cannot be written."""
        if self._run_dir is None or "TF_CONFIG" in os.environ:  # of several workers one writes
            return
        from gradwatch.sinks import ParquetSink

        try:
            ParquetSink(self._run_dir).close()
        except OSError as error:
            raise UnusableRunDirError(str(error)) from error

    def _fit(self, plain: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.num_fits += 1
        run, call = None, None
        with own_failures("watching `fit`"):
            run, call = self._watched_call(plain, args, kwargs)
        if run is None or call is None:
            return plain(*args, **kwargs)
        run.is_training = True
        try:
            return plain(*call.args, **call.kwargs)
        finally:
            with own_failures("reading the records"):
                run.end_fit()

    def _watched_call(
        self, plain: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[WatchedRun | None, inspect.BoundArguments | None]:
        """The run that a call belongs to, and the call with its watch; nothing where it is not to be watched."""
        if os.getpid() != self._process:  # a fork: it would write where its parent does
            return None, None
        try:
            call = inspect.signature(plain).bind(*args, **kwargs)
        except TypeError:
            return None, None  # Keras says it
        model = call.args[0]
        if not self._can_watch(model):
            return None, None
        callbacks = call.arguments.get("callbacks")
        if self._has_watch(callbacks):
            self.num_own += 1
            return None, None
        run = self._run_of(model)
        if run.watch is None or run.is_training:  # from within its own `fit`
            return None, None
        call.arguments["callbacks"] = self._added(callbacks, run.watch, model)
        return run, call

    def _can_watch(self, model: Any) -> bool:
        """Whether gradwatch can watch the model; says so if it cannot, and leaves the training alone."""
        backend = self._keras.backend.backend()
        if backend != "tensorflow":  # what asks this in words imports TensorFlow
            return self._tell_once(f"Not watched: gradwatch needs TensorFlow, and Keras runs on {backend}.")
        from gradwatch.requirements import require_model

        try:
            require_model(model)
        except (TypeError, ValueError, NotImplementedError) as error:
            return self._tell_once(f"Not watched: {error}")
        return True

    def _tell_once(self, message: str) -> bool:
        if message not in self._told:
            self._told.add(message)
            self._tell(message)
        return False

    def _run_of(self, model: Any) -> WatchedRun:
        for run in self.runs:
            if run.is_of(model):
                return run
        run_dir = self._free_place(model)
        try:
            watch = _new_watch(run_dir)
        except OSError as error:
            self._tell(f"The log of the model {model.name!r} is kept in memory only. {error}")
            run_dir, watch = None, _new_watch(None)
        self.runs.append(WatchedRun(model, watch, run_dir))
        return self.runs[-1]

    def _free_place(self, model: Any) -> str | None:
        """The directory for a new model: the one that was named, or one beside it that no other model has.

        Not one inside of it: readers of Parquet directories would take the parts of both for one log.
        """
        if self._run_dir is None:
            return None
        taken = {run.run_dir for run in self.runs}
        if not taken and not self.num_own:
            return self._run_dir
        model_name = re.sub(r"[^\w.-]+", "_", model.name)
        name = f"{self._run_dir.rstrip('/' + os.sep)}-{model_name}"
        number, place = 1, name
        while place in taken:
            number += 1
            place = f"{name}-{number}"
        return place

    def _has_watch(self, callbacks: Any) -> bool:
        from gradwatch.callback import GradientWatch

        return any(isinstance(callback, GradientWatch) for callback in self._flat(callbacks))

    def _flat(self, callbacks: Any) -> Iterator[Any]:
        """All callbacks in what `fit` takes: one, several, nested, or a list that Keras made of them."""
        for callback in self._keras.tree.flatten(callbacks):
            if isinstance(callback, self._keras.callbacks.CallbackList):
                yield from self._flat(callback.callbacks)
            elif callback is not None:
                yield callback

    def _added(self, callbacks: Any, watch: GradientWatch, model: Any) -> Any:
        """The callbacks with the watch at their end; what the user gave is not changed."""
        lists = self._keras.callbacks.CallbackList
        if isinstance(callbacks, lists):
            # Keras neither tells such a list of the model nor adds anything to it, so both stay as they were.
            watch.set_model(model)
            return lists([callbacks, watch])
        return [*self._keras.tree.flatten(callbacks), watch] if callbacks else [watch]


def _new_watch(run_dir: str | None) -> GradientWatch:
    from gradwatch.callback import GradientWatch

    if run_dir is not None:
        return GradientWatch(run_dir)
    named = os.environ.pop(RUN_DIR_VARIABLE, None)  # it would stand in for None
    try:
        return GradientWatch()
    finally:
        if named is not None:
            os.environ[RUN_DIR_VARIABLE] = named
