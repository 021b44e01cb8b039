"""What symptoms of our own programs measure on a trained model and on the same model with its first weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.faults.program import Run


def outputs(run: Run, x: Any) -> np.ndarray:
    """What the model predicts, as float64."""
    return np.asarray(keras.ops.convert_to_numpy(run.model(x, training=False)), dtype="float64")


def accuracy(run: Run, x: Any, y: np.ndarray) -> float:
    """Share of right classes: the largest of several outputs, or one output above a half."""
    predicted = outputs(run, x)
    classes = predicted.argmax(axis=-1) if predicted.shape[-1] > 1 else (predicted > 0.5).astype(int)
    return float((classes == y.reshape(classes.shape)).mean())


@contextlib.contextmanager
def first_weights(run: Run) -> Iterator[None]:
    """The model with the weights that it had before training, for the time of the block."""
    last = run.weights
    run.model.set_weights(run.first_weights)
    try:
        yield
    finally:
        run.model.set_weights(last)


def activations(run: Run, layer: str, x: np.ndarray) -> np.ndarray:
    """Output of a layer of a functional or sequential model; shape (rows, units)."""
    (inputs,) = run.model.inputs
    part = keras.Model(inputs, run.model.get_layer(layer).output)
    return np.asarray(keras.ops.convert_to_numpy(part(x, training=False)), dtype="float64")


def dead_share(run: Run, layer: str, x: np.ndarray) -> float:
    """Share of the units of a layer, or of its channels, that are 0 for every row."""
    values = activations(run, layer, x)
    return float((values.reshape(-1, values.shape[-1]) == 0).all(axis=0).mean())


def grad_norms(run: Run, x: Any, y: Any) -> dict[str, float]:
    """L2 norm of the gradient of the loss over all rows, NaN for `None`, by layer and variable ("dense/kernel")."""
    variables = run.model.trainable_variables
    with tf.GradientTape() as tape:
        loss = run.model.compute_loss(x=x, y=tf.convert_to_tensor(y), y_pred=run.model(x, training=True))
    grads = tape.gradient(loss, [variable.value for variable in variables])
    return {
        "/".join(variable.path.split("/")[-2:]): float("nan")
        if grad is None
        else float(tf.norm(tf.convert_to_tensor(grad)))
        for variable, grad in zip(variables, grads, strict=True)
    }


def changes(run: Run, layer: str) -> list[float]:
    """For each weight of a layer of the model, the norm of its change over the run."""
    mine = {id(weight) for weight in run.model.get_layer(layer).weights}
    return [
        float(np.linalg.norm(now - before))
        for weight, before, now in zip(run.model.weights, run.first_weights, run.weights, strict=True)
        if id(weight) in mine
    ]
