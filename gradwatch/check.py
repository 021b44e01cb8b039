"""`check_gradients` and `assert_gradients_flow`: one step before training, after which everything is as it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from gradwatch import records
from gradwatch.diagnosis import Diagnosis, diagnose
from gradwatch.errors import own_failures
from gradwatch.log import Log
from gradwatch.recording.variables import find_optimizers
from gradwatch.requirements import require_model, require_tensorflow_backend
from gradwatch.rules import RULES, Rule, Severity
from gradwatch.trial import Trial, restored, state_of

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
    trial = Trial(model.train_step, model=model, optimizers=lambda: find_optimizers(model))
    log = trial.log(data, eagerly=bool(model.run_eagerly))
    info = dataclasses.replace(log.info, model=model.name, allow_detached=allowed)
    bad = [int(segment.steps["step"].min()) for segment in log.segments if not segment.is_finite]
    if bad:
        with own_failures("looking for the origin of a NaN"):
            cause = trial.origin(data)
            info = dataclasses.replace(info, origins=() if cause is None else (records.Origin(min(bad), cause),))
    return diagnose(Log(log.variable_infos, log.segments, info), rules)


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
        with restored(state_of(model, find_optimizers(model))):
            model(x)
