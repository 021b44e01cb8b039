"""What the symptoms of the published programs are seen by: activations, predictions and changes of layers."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from typing import TypeVar

import keras
import numpy as np
import tensorflow as tf

from benchmarks.faults.program import Run

T = TypeVar("T")


def data_rng(run: Run) -> np.random.Generator:
    """A generator that gives again what `run.rng` gave when the run began."""
    return np.random.default_rng(run.seed)


def activations(run: Run, layer: str, x: np.ndarray) -> np.ndarray:
    """What a layer puts out for some rows, with the weights as they are."""
    part = keras.Model(run.model.inputs, run.model.get_layer(layer).output)
    return np.asarray(part(x, training=False))


def predictions(run: Run, x: np.ndarray) -> np.ndarray:
    """What the model puts out for some rows, with the weights as they are."""
    return np.asarray(run.model(x, training=False))


def at_first(run: Run, see: Callable[[], T]) -> T:
    """What `see` returns with the weights that the model began with."""
    now = run.weights
    run.model.set_weights(run.first_weights)
    try:
        return see()
    finally:
        run.model.set_weights(now)


def weights_of(run: Run, *layers: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each weight of the layers that match one of the patterns, at first and now."""
    pairs = zip(run.model.weights, run.first_weights, run.weights, strict=True)
    found = [
        (before, now)
        for variable, before, now in pairs
        if any(fnmatch.fnmatch(part, layer) for part in variable.path.split("/") for layer in layers)
    ]
    if not found:
        raise ValueError(f"The model has no weight of {layers}.")
    return found


def is_unchanged(run: Run, *layers: str) -> bool:
    """No weight of the layers differs from what it was at first, in any bit."""
    return all(np.array_equal(before, now) for before, now in weights_of(run, *layers))


def is_changed(run: Run, *layers: str) -> bool:
    """Every weight of the layers is finite, and not what it was at first."""
    pairs = weights_of(run, *layers)
    return all(np.isfinite(now).all() and not np.array_equal(before, now) for before, now in pairs)


def is_ruined(run: Run, *layers: str) -> bool:
    """Every weight of the layers was finite at first, and holds NaN or Inf now."""
    pairs = weights_of(run, *layers)
    return all(np.isfinite(before).all() and not np.isfinite(now).all() for before, now in pairs)


def gradient_sizes(run: Run, x: np.ndarray, y: np.ndarray) -> list[float]:
    """Root mean square of the gradient of each kernel, with the weights as they are."""
    kernels = [variable for variable in run.model.trainable_variables if variable.ndim > 1]
    with tf.GradientTape() as tape:
        loss = run.model.compute_loss(x, y, run.model(x, training=False))
    return [float(np.sqrt(np.mean(np.square(grad)))) for grad in tape.gradient(loss, kernels)]


def is_dead(values: np.ndarray) -> np.ndarray:
    """Which units of a ReLU are zero for every row."""
    return np.asarray((values.reshape(-1, values.shape[-1]) == 0).all(axis=0))


def is_flat(run: Run, tolerance: float = 1e-6) -> bool:
    """The loss was the same in every epoch, but for a share of it."""
    return bool(np.ptp(run.losses) <= tolerance * abs(run.losses[0]))


def explained(y: np.ndarray, predicted: np.ndarray) -> float:
    """Share of the variance of the targets that the predictions explain."""
    return float(1 - np.mean((y - predicted) ** 2) / np.var(y))


def accuracy(y: np.ndarray, predicted: np.ndarray) -> float:
    """Share of rows whose class is predicted: classes, one-hot rows or a share of one class."""
    if predicted.shape[-1] == 1:
        return float(np.mean((predicted > 0.5) == (y > 0.5)))
    classes = y.argmax(axis=-1) if y.shape == predicted.shape else y
    return float(np.mean(predicted.argmax(axis=-1) == classes))
