"""`log(relu(x) + eps)` in a `Lambda` before a mean squared error: three ways in which it goes wrong, and the mend.

The model sees the upper half of a digit and says how bright each of the four lower rows is, on a logarithmic scale.

* Where x is a little above zero, the slope of the logarithm is `1 / (x + eps)`: the gradient has spikes.
* Where x is below zero, the slope of the ReLU is zero: that output learns nothing from that image. A spike pushes
  outputs down there, and once an output is below zero for all images, it never comes back.
* Without `eps`, the logarithm of zero is minus infinity: the first gradient holds NaN, and so do then all weights.

The mend is one word: `softplus` instead of `relu` is positive as well, but its slope is never zero.

Start it with `python examples/log_lambda.py`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

import digits
import keras
import numpy as np

import gradwatch

EPS = 1e-7
SEED = 4


def build_model(positive: Callable[[Any], Any], *, eps: float) -> keras.Model:
    """A model that ends in `log(positive(x) + eps)`.

    Args:
        positive: Makes what goes into the logarithm positive: `keras.ops.relu` or `keras.ops.softplus`.
        eps: What keeps the logarithm away from zero.

    Returns:
        The compiled model.
    """
    model = keras.Sequential(
        [
            keras.Input((32,)),
            keras.layers.Dense(64, activation="relu", name="hidden"),
            keras.layers.Dense(4, name="brightness"),
            keras.layers.Lambda(lambda x: keras.ops.log(positive(x) + eps), name="log"),
        ],
        name="log_brightness",
    )
    model.compile(keras.optimizers.SGD(0.5), "mse")
    return model


def train(
    run_dir: str | os.PathLike[str] | None = None,
    *,
    positive: Callable[[Any], Any] = keras.ops.relu,
    eps: float = EPS,
    epochs: int = 4,
    fail_fast: bool = False,
) -> gradwatch.GradientWatch:
    """Trains the model, watched.

    Args:
        run_dir: Where to keep the log; `None` keeps it in memory.
        positive: See `build_model`.
        eps: See `build_model`.
        epochs: How often to go through the data.
        fail_fast: Whether to end the training at the first NaN, with the weights from before it.

    Returns:
        The watch.
    """
    keras.utils.set_random_seed(SEED)
    images, _ = digits.load()
    upper, lower = images[:, :32], images[:, 32:]
    targets = np.log(lower.reshape(-1, 4, 8).mean(axis=2) + 0.01)  # [1797, 4]
    watch = gradwatch.GradientWatch(run_dir, fail_fast=fail_fast)
    with contextlib.suppress(gradwatch.NonFiniteGradientError):  # the watch has it in its diagnosis as well
        build_model(positive, eps=eps).fit(upper, targets, epochs=epochs, verbose=0, callbacks=[watch])
    return watch


def describe(watch: gradwatch.GradientWatch) -> str:
    """The two numbers that show the harm: the largest gradient, and how many outputs get none at the end."""
    norms = watch.log.steps()["global_norm"]
    # The bias of the last layer has one entry an output, so its zeros are the outputs without a gradient. They are
    # counted at each tenth step.
    dead = watch.log.wide("zero_fraction").filter(like="brightness/bias").dropna().iloc[-1, 0]
    return f"largest gradient norm {norms.max():.3g}, outputs without a gradient at the end {dead:.0%}"


def main() -> None:
    """Trains the three variants and prints what the watch says about each."""
    print("--- log(relu(x) + eps)")
    watch = train()
    print(describe(watch), watch.diagnosis, sep="\n")
    print("\n--- log(relu(x)), without eps")
    watch = train(eps=0.0, epochs=1)
    # A Lambda has no variables, so the finding names those that were hit, first the layer right before the Lambda.
    print(watch.diagnosis)
    print("\n--- log(softplus(x) + eps), the mend")
    watch = train(positive=keras.ops.softplus)
    print(describe(watch), watch.diagnosis, sep="\n")


if __name__ == "__main__":
    main()
