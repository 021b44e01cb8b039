"""What has to be so before anything is watched; what cannot work is refused here, with words that say what to do."""

from __future__ import annotations

import sys
from typing import Any

import keras
import tensorflow as tf


def require_tensorflow_backend() -> None:
    """Raises a RuntimeError unless Keras runs on TensorFlow."""
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise RuntimeError(
            f"gradwatch reads gradients from TensorFlow. Received: Keras backend {backend!r}. Set the environment "
            "variable KERAS_BACKEND=tensorflow before Keras is imported."
        )


def require_model(model: Any) -> None:
    """Raises unless the model is a compiled Keras 3 model that Keras can train as it was compiled."""
    if not isinstance(model, keras.Model):
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        legacy = "tf_keras" in sys.modules and isinstance(model, sys.modules["tf_keras"].Model)
        which = f"a Keras 2 model ({kind})" if legacy or kind.startswith("tf_keras") else f"an object of class {kind}"
        raise TypeError(
            f"gradwatch watches Keras 3 models. Received: {which}. Build the model with `import keras` (version 3) "
            "and leave TF_USE_LEGACY_KERAS unset."
        )
    if not model.compiled:
        raise ValueError(
            f"The model {model.name!r} is not compiled, so there is no optimizer to watch. Call `model.compile(...)` "
            "first; for a loop of your own use `gradwatch.watch_train_step`."
        )
    require_strategy(model.distribute_strategy)
    _require_execution(model, model.distribute_strategy)


def _require_execution(model: Any, strategy: Any) -> None:
    """Raises a NotImplementedError for what Keras cannot run on several replicas, with words it does not have."""
    if model.run_eagerly or strategy is None or strategy.num_replicas_in_sync == 1:
        return
    if model.jit_compile is True:
        raise NotImplementedError(
            "Keras cannot compile a step with XLA that runs on several replicas: a compiled step reads the variables "
            f"of one device only. Received: jit_compile=True and {strategy.num_replicas_in_sync} replicas. Compile the "
            "model with jit_compile=False, or train on one replica."
        )
    on_cpus = all("CPU" in device for device in strategy.extended.worker_devices)
    if on_cpus and int(model.steps_per_execution) > 1:
        raise NotImplementedError(
            "Keras cannot run several steps per execution on several CPU replicas: TensorFlow stops at the end of the "
            f"data with a missing placeholder. Received: steps_per_execution={int(model.steps_per_execution)} and "
            f"{strategy.num_replicas_in_sync} replicas. Compile the model with steps_per_execution=1."
        )


def require_strategy(strategy: Any) -> None:
    """Raises a NotImplementedError for a strategy that does not keep its replicas in step."""
    known = (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy, tf.distribute.OneDeviceStrategy)
    if type(strategy).__name__ != "_DefaultDistributionStrategy" and not isinstance(strategy, known):
        raise NotImplementedError(
            f"gradwatch does not watch training under this strategy. Received: {type(strategy).__name__}. It works "
            "with MirroredStrategy, MultiWorkerMirroredStrategy and OneDeviceStrategy; leave the watch out with others."
        )
