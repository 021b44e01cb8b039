"""`check_gradients` and `assert_gradients_flow`: one step before training, after which everything is as it was."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from gradwatch import records, schema
from gradwatch.diagnosis import Diagnosis, diagnose
from gradwatch.errors import own_failures
from gradwatch.log import Log
from gradwatch.recording.session import Recorder
from gradwatch.recording.step import Step
from gradwatch.recording.variables import find_optimizers
from gradwatch.requirements import require_model, require_tensorflow_backend
from gradwatch.rules import RULES, Rule, Severity
from gradwatch.tracing import cuts, origin

BATCH_SIZE = 32


def check_gradients(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    sample_weight: Any = None,
    batch_size: int = BATCH_SIZE,
    allow: str | Sequence[str] = (),
    rules: Iterable[Rule] = RULES,
) -> Diagnosis:
    """Runs one training step on a batch, without the update, and judges its gradients.

    The step is the model's own `train_step`, traced as `fit` traces it; a model with `run_eagerly` runs it eagerly.
    Afterwards weights, optimizer, metrics and the state of random generators are what they were. A model that is not
    built yet is built.

    Args:
        model: A compiled Keras 3 model.
        x: Inputs as `fit` takes them: arrays, tensors, a structure of these, or a `tf.data.Dataset` of batches.
        y: Targets.
        sample_weight: Weights of the samples.
        batch_size: The first so many samples are used; of a dataset the first batch.
        allow: Glob patterns of variable paths that may have no gradient ("pooler/*").
        rules: Rules to judge by; those that need more than one step are among the skipped.

    Returns:
        The diagnosis. A missing gradient is the finding DetachedVariable, and its cause names where the path to the
        loss is cut.

    Raises:
        TypeError: If it is no Keras 3 model.
        ValueError: If the model is not compiled.

    Example:
    ```python
    flow = gradwatch.check_gradients(model, x, y)
    print(flow)
    ```
    """
    require_tensorflow_backend()
    require_model(model)
    data = _first_batch(x, y, sample_weight, batch_size)
    allowed = (allow,) if isinstance(allow, str) else tuple(allow)
    _build(model, data)
    names = schema.DEFAULT_STATISTICS
    without: list[records.Segment] = []  # calls in which no variable had a gradient

    def all_detached(optimizer: str, variables: list[Any]) -> Exception:
        numbers = recorder.table.add(variables)
        without[:] = [*without, records.detached_step(optimizer, numbers, len(without), names)]
        return ValueError(optimizer)

    suspects: list[Any] = []  # tensors that may be bad, loss before gradients

    def on_call(step: Step, grads: list[Any], variables: list[Any]) -> None:
        losses = [target for asked in step.tapes.asked for target in asked.targets]
        suspects.extend([*losses, *reversed(grads)])

    recorder = Recorder(
        statistics=names, applies=False, on_call=on_call, find_cuts=cuts.answer, on_all_detached=all_detached
    )
    step = recorder.watched(
        model.train_step,
        model=model,
        optimizers=lambda: find_optimizers(model),
        active=lambda: True,
        compiled=False,
    )
    recorder.start()
    traced = None if model.run_eagerly else tf.function(step, autograph=False).get_concrete_function(data)
    with _restored(_state_of(model, traced)), _new_metrics_reset(model):
        (traced or step)(data)
        log = _log(recorder, without, model, allowed)
    if not all(segment.is_finite for segment in log.segments):
        with own_failures("looking for the origin of a NaN"):
            if traced is None:
                suspects.clear()
                traced = tf.function(step, autograph=False).get_concrete_function(data)
            with _restored(_state_of(model, traced)):
                log = _with_origin(log, traced, data, suspects, cuts.names_of_layers(model))
    return diagnose(log, rules)


def assert_gradients_flow(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    sample_weight: Any = None,
    batch_size: int = BATCH_SIZE,
    allow: str | Sequence[str] = (),
) -> None:
    """Fails unless a gradient without NaN and Inf reaches every trainable variable; for tests.

    Args:
        model: See `check_gradients`, as for all that follow.
        x: See `check_gradients`.
        y: See `check_gradients`.
        sample_weight: See `check_gradients`.
        batch_size: See `check_gradients`.
        allow: See `check_gradients`.

    Raises:
        AssertionError: If there is a finding of severity "error" or "warning"; it names each cut.
        TypeError: If it is no Keras 3 model.
        ValueError: If the model is not compiled.

    Example:
    ```python
    def test_gradients_flow():
        gradwatch.assert_gradients_flow(make_model(), x, y, allow=("pooler/*",))
    ```
    """
    __tracebackhide__ = True  # pytest shows the line of the test
    found = check_gradients(model, x, y, sample_weight=sample_weight, batch_size=batch_size, allow=allow).findings
    faults = [finding for finding in found if finding.severity > Severity.INFO]
    if faults:
        lines = [f"The gradients of the model {model.name!r} do not flow:"]
        for finding in faults:
            lines.append(f"  {finding.code} {finding.rule}: {finding.message}")
            lines += [f"    at {finding.cause}"] if finding.cause is not None and finding.cause.op_type else []
            lines.append(f"    What to do: {finding.remedy}")
        raise AssertionError("\n".join(lines))


def _first_batch(x: Any, y: Any, sample_weight: Any, batch_size: int) -> Any:
    """The data of a step as `train_step` gets them, as tensors."""
    if isinstance(x, tf.data.Dataset):
        return next(iter(x))
    data = keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
    return tf.nest.map_structure(lambda leaf: None if leaf is None else _as_tensor(leaf)[:batch_size], data)


def _as_tensor(leaf: Any) -> Any:
    """A tensor; floats in Keras' float type, as `fit` makes them."""
    tensor = leaf if tf.is_tensor(leaf) else tf.convert_to_tensor(np.asarray(leaf))
    return tf.cast(tensor, keras.config.floatx()) if tensor.dtype.is_floating else tensor


def _build(model: Any, data: Any) -> None:
    """Builds a model that has no weights yet, by a look at the batch."""
    if not model.built:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        with _restored(_state_of(model)):
            model(x)


def _state_of(model: Any, traced: Any = None) -> list[Any]:
    """All that a step may change: what the model and its optimizers have, and what the traced step uses."""
    used = [] if traced is None else list(traced.graph.variables)
    holders = [*model.variables, *model.metrics_variables]
    holders += [variable for optimizer in find_optimizers(model).values() for variable in optimizer.variables]
    return [*used, *(variable.value if isinstance(variable, keras.Variable) else variable for variable in holders)]


@contextlib.contextmanager
def _restored(variables: Sequence[tf.Variable]) -> Iterator[None]:
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
    known = {id(metric) for metric in model.metrics if metric.variables}
    try:
        yield
    finally:
        for metric in model.metrics:
            if id(metric) not in known:
                metric.reset_state()


def _with_origin(log: Log, traced: Any, data: Any, suspects: list[Any], layers: Collection[str]) -> Log:
    """The log with what made the first NaN or Inf of the step."""
    flat = [tensor for tensor in tf.nest.flatten(data) if tensor is not None]
    tensors = [suspect.values if isinstance(suspect, tf.IndexedSlices) else suspect for suspect in suspects]
    here = [tensor for tensor in tensors if tensor is not None and tensor.graph is traced.graph]
    found = origin.find_origin(traced.graph, [*flat, *traced.captured_inputs], here)
    if found is None:
        return log
    first = min(int(segment.steps["step"].min()) for segment in log.segments if not segment.is_finite)
    cause = origin.cause_of(found, layers, int(flat[0].shape[0]))
    return Log(log.variable_infos, log.segments, dataclasses.replace(log.info, origins=(records.Origin(first, cause),)))


def _log(recorder: Recorder, without: list[records.Segment], model: Any, allowed: tuple[str, ...]) -> Log:
    segments = [*recorder.drain(), *without]
    infos, places = recorder.table.ordered()
    info = records.RunInfo(model=model.name, allow_detached=allowed, num_trainable=recorder.num_trainable)
    return Log(infos, records.join([records.renumber(segment, places) for segment in segments]), info)
