"""What is done with a bad step: it is run once more, from where it began, to name what made its first NaN or Inf."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from gradwatch.bad_step import encoded
from gradwatch.causes import Cause
from gradwatch.errors import own_failures
from gradwatch.recording import keras_seam
from gradwatch.recording.held import Caught
from gradwatch.recording.probe import raw
from gradwatch.recording.session import Recorder
from gradwatch.records import Origin
from gradwatch.rules.base import listed, plural
from gradwatch.store import StoredArray
from gradwatch.trial import Trial, restored, state_of

MOST_LOOKED_AT = 8
"""Bad steps of a run that are run once more."""

MOST_KEPT = 4
"""Bad steps of a run that are kept: the first one, and the first of each new origin."""


class Postmortem:
    """Finds the origins of the bad steps of a run, and says which of them are worth keeping.

    Args:
        recorder: Has the bad steps.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.origins: tuple[Origin, ...] = ()
        self._recorder = recorder
        self._trial: tuple[Caught, Trial] | None = None
        self._num_looked_at = 0
        self._num_kept = 0

    def look(self) -> tuple[Caught, Cause | None] | None:
        """To be called when a bad step was recorded.

        Returns:
            The bad step and its origin, if it is one to keep.
        """
        bad = self._recorder.bad_step()
        if bad is None:
            return None
        self._num_looked_at += 1
        cause = _in_the_weights(bad)
        if cause is None and bad.runs_again:
            with own_failures("looking for the origin of a NaN"):
                cause = self._origin(bad)
            if self._num_looked_at < MOST_LOOKED_AT:
                self._recorder.ask_for_another()
        elif cause is not None and self.origins:
            return None  # what comes after a bad update tells nothing new
        is_new = cause is not None and all(_place(cause) != _place(origin.cause) for origin in self.origins)
        if cause is not None and is_new:
            self.origins = (*self.origins, Origin(bad.step, cause))
        if self._num_kept and (not is_new or self._num_kept >= MOST_KEPT):
            return None
        self._num_kept += 1
        return bad, cause

    def _origin(self, bad: Caught) -> Cause | None:
        trial = self._trial_of(bad)
        args, kwargs = bad.arguments
        with restored([*bad.variables, *state_of(bad.model, bad.optimizers)]):
            bad.put_back()
            for metric in [] if bad.model is None else bad.model.metrics:
                metric.reset_state()
            cause = trial.origin(*args, **kwargs)
        left_out = cause is not None and cause.kind == "in the weights" and not bad.is_complete
        return None if left_out else cause

    def _trial_of(self, bad: Caught) -> Trial:
        """One for all bad steps of a function: a second one need not be traced again."""
        if self._trial is None or self._trial[0].function is not bad.function:
            template = dataclasses.replace(bad, values=[], arguments=((), {}))
            trial = Trial(bad.function, model=bad.model, optimizers=lambda: template.optimizers)
            self._trial = template, trial
        return self._trial[1]


def described(bad: Caught, cause: Cause | None, epoch: int) -> tuple[dict[str, Any], list[StoredArray]]:
    """A bad step as what is stored of it; see `gradwatch.BadStep`."""
    structure, arrays = encoded(bad.arguments)
    own = _paths(bad)
    scalars = {id(raw(v)): v.path for optimizer in bad.optimizers.values() for v in optimizer.variables}
    order = {key: position for position, key in enumerate(own)}
    pairs = sorted(zip(bad.variables, bad.values, strict=True), key=lambda pair: order.get(id(pair[0]), len(order)))
    for variable, value in pairs:
        path = own.get(id(variable)) or scalars.get(id(variable)) or variable.name.removesuffix(":0")
        role = "optimizer" if id(variable) in scalars and id(variable) not in own else "variable"
        if isinstance(value, tf.IndexedSlices):
            arrays.append(StoredArray("indices", path, value.indices.numpy()))
            role, value = "rows", value.values
        arrays.append(StoredArray(role, path, value.numpy()))
    about = {
        "step": bad.step,
        "epoch": epoch,
        "cause": None if cause is None else dataclasses.asdict(cause),
        "arguments": structure,
        "versions": {"keras": keras.__version__, "tensorflow": tf.__version__},
    }
    return about, arrays


def _place(cause: Cause) -> tuple:
    return cause.kind, cause.op_type, cause.source, cause.op


def _in_the_weights(bad: Caught) -> Cause | None:
    """Says so if trained weights were bad before the step already."""
    spoilt = [
        variable
        for variable, value in zip(bad.variables, bad.values, strict=True)
        if variable.trainable and value.dtype.is_floating and not _is_finite(value)
    ]
    if not spoilt:
        return None
    names = _paths(bad)
    paths = [names.get(id(variable), variable.name.removesuffix(":0")) for variable in spoilt]
    held = f"{plural(len(paths), 'variable')} held NaN or Inf before the step: {listed(paths)}"
    layer = paths[0].rpartition("/")[0] or None
    if bad.step == 0:
        return Cause("in the weights", layer=layer, op=paths[0], detail=held)
    optimizer = next((o for o in bad.optimizers.values() if _trains(o, spoilt)), None)
    name = None if optimizer is None else type(_inner(optimizer)).__name__
    return Cause("optimizer", op_type=name, layer=layer, detail=held + _tiny_epsilon(optimizer, spoilt))


def _paths(bad: Caught) -> dict[int, str]:
    """Path of each variable of the model, by its identity, in model order."""
    return {} if bad.model is None else {id(raw(variable)): variable.path for variable in bad.model.variables}


def _is_finite(value: Any) -> bool:
    numbers = value.values if isinstance(value, tf.IndexedSlices) else value
    return bool(tf.reduce_all(tf.math.is_finite(numbers)))


def _trains(optimizer: Any, variables: Sequence[Any]) -> bool:
    return optimizer.built and id(variables[0]) in {id(raw(v)) for v in keras_seam.optimizer_variables(optimizer)}


def _inner(optimizer: Any) -> Any:
    return optimizer.inner_optimizer if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) else optimizer


def _tiny_epsilon(optimizer: Any, variables: Sequence[Any]) -> str:
    """Says so if the number that keeps an optimizer from dividing by zero is itself zero to the variables."""
    epsilon = getattr(_inner(optimizer), "epsilon", None)
    dtype = variables[0].dtype
    if not isinstance(epsilon, float) or epsilon == 0 or dtype.size > 2:
        return ""
    is_zero = not np.asarray(epsilon, dtype.as_numpy_dtype)
    return f"; its epsilon of {epsilon:g} is 0 in {dtype.name}" if is_zero else ""
