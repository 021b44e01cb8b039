"""What a log says of its run beside the records: model, options, versions, how it stands, what was found out."""

from __future__ import annotations

import math
import platform
import weakref
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from gradwatch.errors import own_failures, warn
from gradwatch.options import Options, plain
from gradwatch.recording.variables import find_optimizers
from gradwatch.records import Origin, Output, RunInfo
from gradwatch.standing import Standing
from gradwatch.version import __version__

VERSIONS = {
    "gradwatch": __version__,
    "keras": keras.__version__,
    "tensorflow": tf.__version__,
    "python": platform.python_version(),
}


class Facts:
    """Gathers them.

    Args:
        options: The options of the watch.
    """

    def __init__(self, options: Options) -> None:
        self.model_name = ""
        self.standing = Standing()
        self._options = options
        self._plain_options = plain(options)
        self._model: weakref.ref | None = None
        self._summary: str | None = None
        self._nonfinite_metrics: tuple[str, ...] = ()

    @property
    def model(self) -> Any:
        """The model, if there is one and it is still there."""
        return None if self._model is None else self._model()

    def begin(self, model: Any) -> None:
        """A run begins.

        Args:
            model: The model that is trained, or `None`.
        """
        if self.model not in (None, model):
            warn(
                f"This watch has watched the model {self.model_name!r} before; the records of {model.name!r} go into "
                "the same log. Use a watch of its own for each model."
            )
        self._model = None if model is None else weakref.ref(model)
        self.model_name = getattr(model, "name", "") or ""
        self.standing.begin()

    def saw_metrics(self, logs: Mapping[str, Any]) -> None:
        """Takes note of metrics that are NaN or Inf."""
        bad = [name for name, value in logs.items() if isinstance(value, float) and not math.isfinite(value)]
        known = self._nonfinite_metrics
        self._nonfinite_metrics = (*known, *(name for name in bad if name not in known and name != "loss"))

    def info(
        self,
        num_trainable: int | None,
        origins: tuple[Origin, ...],
        output: Output | None,
        nonfinite_variables: tuple[str, ...],
    ) -> RunInfo:
        """All of it as it is now.

        Args:
            num_trainable: Number of trainable variables of the model, `None` until the first step was seen.
            origins: What made the first NaN or Inf of steps for which that was found out.
            output: How the model ends, if that is known.
            nonfinite_variables: Variables that held NaN or Inf when it ended.
        """
        info = RunInfo(
            model=self.model_name,
            versions=VERSIONS,
            every_steps=self._options.every_steps,
            statistics=self._options.statistics,
            on_nonfinite=self._options.on_nonfinite,
            allow_detached=self._options.allow_detached,
            num_trainable=num_trainable,
            origins=origins,
            output=output,
            nonfinite_variables=nonfinite_variables,
            nonfinite_metrics=self._nonfinite_metrics,
            options=self._plain_options,
            summary=self._model_summary(),
        )
        return self.standing.put_into(info)

    def _model_summary(self) -> str:
        model = self.model
        if self._summary is None and model is not None and model.built:
            self._summary = ""  # asked for once, whether it can be had or not
            with own_failures("reading the summary of the model"):
                self._summary = summary_of(model)
        return self._summary or ""


def nonfinite_variables(model: Any) -> tuple[str, ...]:
    """Paths of the variables of a model and its optimizers, trained or not, that hold NaN or Inf."""
    if model is None:
        return ()
    optimizers = find_optimizers(model).values()
    variables = [*model.variables, *(variable for optimizer in optimizers for variable in optimizer.variables)]
    floats = [variable for variable in variables if tf.as_dtype(variable.dtype).is_floating]
    finite = [tf.reduce_all(tf.math.is_finite(tf.convert_to_tensor(variable))) for variable in floats]
    known = tf.stack(finite).numpy() if finite else []
    return tuple(variable.path for variable, is_finite in zip(floats, known, strict=True) if not is_finite)


def summary_of(model: Any) -> str:
    """A line on the model, and one on each of its layers: name, class, shape of its output, number of weights.

    Not what `model.summary()` prints: in a notebook that leaves an empty output, also where it is only asked for text.

    Args:
        model: A model that is built.
    """
    num_trainable = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    lines = [
        f"{model.name} ({type(model).__name__}): {len(model.layers)} layers, {model.count_params():,} weights, "
        f"{num_trainable:,} of them trainable"
    ]
    for layer in model.layers:
        shape = getattr(getattr(layer, "output", None), "shape", "?")
        num_weights = f"{layer.count_params():,}" if layer.built else "?"
        frozen = "" if layer.trainable else ", frozen"
        lines.append(f"{layer.name} ({type(layer).__name__}): {shape}, {num_weights}{frozen}")
    return "\n".join(lines)
