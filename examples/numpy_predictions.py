"""Predictions taken out with `model.predict` and multiplied in NumPy: why nothing is trained, and the mend.

TensorFlow follows a computation back from the loss to the weights, through TensorFlow operations only. An array that
`model.predict` (or `.numpy()`) has returned is a list of numbers that does not know where it came from; a loss made of
it has no way back to the weights, and every gradient is `None`. The mend: do the multiplication in a layer.

Start it with `python examples/numpy_predictions.py`.
"""

from __future__ import annotations

import os
from typing import Any

import digits
import keras
import numpy as np
import tensorflow as tf

import gradwatch

FACTORS = np.linspace(0.5, 1.5, 10, dtype="float32")  # [classes]
"""How much each class counts, in this story."""


class TrainedOnNumpy(keras.Model):
    """Broken on purpose: leaves TensorFlow between its weights and its loss."""

    def train_step(self, data: tuple[Any, Any]) -> dict[str, Any]:
        """Runs eagerly only (`run_eagerly=True`), since there are no numbers to take out while a step is traced."""
        images, labels = data
        with tf.GradientTape() as tape:
            # Within `fit`, `self.predict(images)` is refused by TensorFlow; this does the same to the gradient.
            predictions = self(images, training=True).numpy()
            weighted = predictions * FACTORS  # the path to the weights is lost here
            loss = self.compute_loss(images, labels, weighted)
        gradients = tape.gradient(loss, self.trainable_variables)  # every one of them is None
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": loss}


class ClassFactors(keras.layers.Layer):
    """The mend: the same multiplication in a layer, so the gradient flows through it."""

    def call(self, inputs: Any) -> Any:
        """Multiplies each class by its factor."""
        return inputs * FACTORS


def build_model(*, mended: bool) -> keras.Model:
    """The classifier: broken, or with the multiplication in a layer and the `train_step` that Keras has."""
    inputs = keras.Input((64,))
    hidden = keras.layers.Dense(32, activation="relu", name="hidden")(inputs)
    outputs = keras.layers.Dense(10, activation="softmax", name="digit")(hidden)
    if mended:
        model = keras.Model(inputs, ClassFactors(name="class_factors")(outputs), name="weighted_digits")
    else:
        model = TrainedOnNumpy(inputs, outputs, name="weighted_digits")
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=not mended)
    return model


def train(
    watch: gradwatch.GradientWatch, *, model: keras.Model | None = None, mended: bool = False, epochs: int = 5
) -> None:
    """Trains the classifier, watched. The watch is given, since it can be read also after `fit` has raised.

    Args:
        watch: The watch.
        model: What to train; `None` builds it.
        mended: Whether to do the multiplication in a layer.
        epochs: How often to go through the data.

    Raises:
        DetachedVariableError: If not mended.
    """
    keras.utils.set_random_seed(0)
    images, labels = digits.load()
    (model or build_model(mended=mended)).fit(images, labels, epochs=epochs, verbose=0, callbacks=[watch])


def train_with_predict(run_dir: str | os.PathLike[str] | None = None, *, model: keras.Model | None = None) -> None:
    """The same mistake in a loop of one's own, where `model.predict` can be called.

    Args:
        run_dir: Where to keep the log; `None` keeps it in memory.
        model: What to train; `None` builds it.

    Raises:
        DetachedVariableError: At the first step.
    """
    keras.utils.set_random_seed(0)
    images, labels = digits.load()
    trained = model or build_model(mended=True)

    def train_step(images: np.ndarray, labels: np.ndarray) -> Any:
        with tf.GradientTape() as tape:
            weighted = trained.predict(images, verbose=0) * FACTORS
            loss = trained.compute_loss(images, labels, weighted)
        gradients = tape.gradient(loss, trained.trainable_variables)
        trained.optimizer.apply_gradients(zip(gradients, trained.trainable_variables, strict=True))
        return loss

    with gradwatch.watch_train_step(train_step, model=trained, run_dir=run_dir) as step:
        for start in range(0, len(images), 32):
            step(images[start : start + 32], labels[start : start + 32])


def main() -> None:
    """Shows the error in `fit` and in a loop, and then the mended version."""
    broken = {"in fit": lambda: train(gradwatch.GradientWatch()), "in a loop, with model.predict": train_with_predict}
    for where, run in broken.items():
        print(f"--- predictions multiplied in NumPy, {where}")
        try:
            run()
        except gradwatch.DetachedVariableError as error:
            print(f"{type(error).__name__}: {error}\n")
    print("--- the multiplication in a layer")
    watch = gradwatch.GradientWatch()
    train(watch, mended=True)
    print(watch.diagnosis)


if __name__ == "__main__":
    main()
