"""Faults of the optimizer: steps that are too large, too small, none at all, or that swing."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from benchmarks.faults.program import FAULTY, Program, Run
from benchmarks.faults.programs import own_data, own_measures
from benchmarks.faults.symptoms import gain, moved


def train_rate_one(run: Run) -> None:
    """Classifies digits by convolutions, with Adam at a rate of 1."""
    x, y = own_data.digit_images()
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            layers.Conv2D(8, 3, activation="relu", name="strokes"),
            layers.Conv2D(16, 3, activation="relu", name="shapes"),
            layers.Flatten(),
            layers.Dense(10, "softmax", name="classes"),
        ]
    )
    model.compile(keras.optimizers.Adam(1.0), "sparse_categorical_crossentropy", jit_compile=False)
    run.fit(model, x, y, epochs=5, batch_size=32)


def rate_one_destroys(run: Run) -> bool:
    """Weights moved by many times what they were, and what was learnt is far worse than it should be."""
    x, y = own_data.digit_images()
    kernels = [change for change, first in zip(moved(run), run.first_weights, strict=True) if first.ndim > 1]
    return min(kernels) > 3.0 and run.losses[-1] > 1.5 and own_measures.accuracy(run, x, y) < 0.5


def train_tiny_rate(run: Run) -> None:
    """Tells benign tumours, with Adam at a rate of 1e-7."""
    x, y = own_data.tumours()
    model = keras.Sequential(
        [
            keras.Input((30,)),
            layers.Dense(24, "relu", name="hidden_1"),
            layers.Dense(24, "relu", name="hidden_2"),
            layers.Dense(1, "sigmoid", name="benign"),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-7), "binary_crossentropy", jit_compile=False)
    run.fit(model, x, y, epochs=14, batch_size=32)


def tiny_rate_stands(run: Run) -> bool:
    """The loss is high and does not fall, and kernels are within a thousandth of where they began."""
    kernels = [change for change, first in zip(moved(run), run.first_weights, strict=True) if first.ndim > 1]
    return run.losses[-1] > 0.3 and abs(gain(run)) < 0.02 and 0 < max(kernels) < 1e-3


class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warm-up that divides whole numbers, and so gives 0 until it is over.

    Args:
        peak: Rate after the warm-up.
        num_steps: Steps that it takes.
    """

    def __init__(self, peak: float, num_steps: int) -> None:
        self.peak, self.num_steps = peak, num_steps

    def __call__(self, step: Any) -> Any:
        """Returns the rate of a step."""
        return self.peak * ops.cast(ops.minimum(ops.cast(step, "int32") // self.num_steps, 1), "float32")


def train_warm_up(run: Run) -> None:
    """Classifies digits; the whole training is a part of the warm-up."""
    x, y = own_data.digit_rows()
    model = keras.Sequential(
        [keras.Input((64,)), layers.Dense(32, "relu", name="hidden"), layers.Dense(10, "softmax", name="classes")]
    )
    optimizer = keras.optimizers.Adam(WarmUp(3e-3, 1000))
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    run.fit(model, x, y, epochs=5, batch_size=32)


def warm_up_stands(run: Run) -> bool:
    """No bit of any weight changed, although there is a gradient to follow."""
    same = all(np.array_equal(now, first) for now, first in zip(run.weights, run.first_weights, strict=True))
    return same and min(own_measures.grad_norms(run, *own_data.digit_rows()).values()) > 1e-3


def train_momentum(run: Run) -> None:
    """Predicts the progress of a disease with so much momentum that every valley is overshot."""
    x, y = own_data.diabetes()
    model = keras.Sequential(
        [keras.Input((10,)), layers.Dense(16, "tanh", name="hidden"), layers.Dense(1, name="progress")]
    )
    model.compile(keras.optimizers.SGD(0.1, momentum=0.96), "mse", jit_compile=False)
    run.fit(model, x, own_data.standardised(y), epochs=20, batch_size=32)


def momentum_swings(run: Run) -> bool:
    """The loss of epochs rises and falls again and again, up to several times what predicting the mean would cost."""
    losses = np.array(run.losses)
    rises, falls = (np.diff(losses) > 0).mean(), (np.diff(losses) < 0).mean()
    return bool(losses.max() > 4.0 and min(rises, falls) > 0.15 and np.mean(losses[-5:]) > 1.0)


PROGRAMS: tuple[Program, ...] = (
    Program(
        name="convolutions_rate_one",
        kind=FAULTY,
        about="Adam at a rate of 1 throws the kernels of a small convolutional network about.",
        train=train_rate_one,
        symptom=rate_one_destroys,
        expect=(
            "UpdateTooLarge",
            "UnstableLoss",
            "StalledLoss",
            "ExplodingGradient",
            "DeadUnits",
            "ZeroGradient",
            "SaturatedActivation",
        ),
    ),
    Program(
        name="tumours_tiny_rate",
        kind=FAULTY,
        about="Adam at a rate of 1e-7 would need a million steps; gradients are healthy and not vanishing.",
        train=train_tiny_rate,
        symptom=tiny_rate_stands,
        expect=("UpdateTooSmall", "StalledLoss"),
    ),
    Program(
        name="warm_up_of_whole_numbers",
        kind=FAULTY,
        about="A warm-up divides whole numbers, so that the rate is 0 and no weight ever changes.",
        train=train_warm_up,
        symptom=warm_up_stands,
        expect=("UnchangedVariable", "UpdateTooSmall", "StalledLoss"),
        held_back=True,
    ),
    Program(
        name="momentum_overshoots",
        kind=FAULTY,
        about="A momentum of 0.96 at a rate of 0.1: the loss swings and never settles.",
        train=train_momentum,
        symptom=momentum_swings,
        expect=("UnstableLoss", "UpdateTooLarge", "ExplodingGradient", "SaturatedActivation", "StalledLoss"),
        held_back=True,
    ),
)
