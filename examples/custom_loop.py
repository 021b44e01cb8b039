"""Watch a training loop of your own, without `fit`: wrap the step, and call it as before.

Start it with `python examples/custom_loop.py`.
"""

from __future__ import annotations

import os
from typing import Any

import digits
import keras
import tensorflow as tf

import gradwatch


def train(run_dir: str | os.PathLike[str] | None = None, *, epochs: int = 5) -> gradwatch.WatchedStep:
    """Trains a classifier of the digits in a loop, watched.

    Args:
        run_dir: Where to keep the log; `None` keeps it in memory.
        epochs: How often to go through the data.

    Returns:
        The watched step, closed; its log can still be read.
    """
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(32, activation="relu", name="hidden"),
            keras.layers.Dense(10, name="digit"),
        ]
    )
    optimizer = keras.optimizers.Adam()
    loss_function = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    batches = tf.data.Dataset.from_tensor_slices(digits.load()).shuffle(1797, seed=0).batch(32)

    @tf.function
    def train_step(images: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_function(labels, model(images, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss  # the log takes the loss from here

    # The optimizer is not an attribute of the model (there was no `compile`), so it has to be named.
    with gradwatch.watch_train_step(train_step, model=model, optimizers=optimizer, run_dir=run_dir) as step:
        for epoch in range(epochs):
            step.epoch = epoch  # a loop has no epochs that a step could know of
            for images, labels in batches:
                step(images, labels)
    return step


def main() -> None:
    """Trains, and prints the diagnosis and the mean gradient norm of each epoch."""
    step = train()
    print(step.diagnosis)
    print()
    print(step.log.steps().groupby("epoch")[["loss", "global_norm"]].mean().to_string())


if __name__ == "__main__":
    main()
