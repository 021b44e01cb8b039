"""A layer of your own after the softmax, with numbers in it that are not trained: is the gradient still whole?

It is. The layer multiplies and adds, both can be differentiated, so every trainable variable gets its gradient. `scale`
and `shift` have `trainable=False`: nobody expects a gradient for them, so the watch does not miss one.

Start it with `python examples/output_scaler.py`.
"""

from __future__ import annotations

import os
from typing import Any

import digits
import keras
import numpy as np

import gradwatch


class OutputScaler(keras.layers.Layer):
    """Returns `inputs * scale + shift`; both are part of the saved model, neither is trained."""

    def __init__(self, scale: float, shift: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._start = {"scale": scale, "shift": shift}

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the two variables."""
        for name, value in self._start.items():
            weight = self.add_weight(
                name=name, shape=(), initializer=keras.initializers.Constant(value), trainable=False
            )
            setattr(self, name, weight)

    def call(self, inputs: Any) -> Any:
        """Scales and shifts."""
        return inputs * self.scale + self.shift


def build_model() -> keras.Model:
    """A classifier whose scores lie between 0.05 and 0.95 instead of 0 and 1."""
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(32, activation="relu", name="hidden"),
            keras.layers.Dense(10, activation="softmax", name="digit"),
            OutputScaler(scale=0.9, shift=0.05, name="output_scaler"),
        ],
        name="scaled_scores",
    )
    model.compile("adam", "mse")
    return model


def train(
    run_dir: str | os.PathLike[str] | None = None, *, model: keras.Model | None = None, epochs: int = 5
) -> gradwatch.GradientWatch:
    """Trains the classifier on soft targets, watched.

    Args:
        run_dir: Where to keep the log; `None` keeps it in memory.
        model: What to train; `None` builds it.
        epochs: How often to go through the data.

    Returns:
        The watch.
    """
    keras.utils.set_random_seed(0)
    images, labels = digits.load()
    targets = np.eye(10, dtype="float32")[labels] * 0.9 + 0.05  # [1797, 10]
    watch = gradwatch.GradientWatch(run_dir, statistics="full")
    (model or build_model()).fit(images, targets, epochs=epochs, verbose=0, callbacks=[watch])
    return watch


def main() -> None:
    """Trains, and prints what was found and which variables were looked at."""
    watch = train()
    print(watch.diagnosis)
    print()
    # `scale` and `shift` are not in this table: it has the variables that are to be trained.
    print(watch.log.variables()[["variable", "size", "detached"]].to_string(index=False))


if __name__ == "__main__":
    main()
