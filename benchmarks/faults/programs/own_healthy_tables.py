"""Healthy models of tables: odd schedules and batches, raw columns, trainings that begin or end next to a loss of 0."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from benchmarks.faults.program import HEALTHY, Program, Run
from benchmarks.faults.programs import own_data, own_measures
from benchmarks.faults.symptoms import gain, moved

CROSS_ENTROPY = "sparse_categorical_crossentropy"


def perceptron(width: int, hidden: tuple[int, ...], *, classes: int, activation: str = "relu") -> keras.Sequential:
    """Hidden layers and a softmax."""
    stack = [layers.Dense(units, activation, name=f"hidden_{n}") for n, units in enumerate(hidden, start=1)]
    return keras.Sequential([keras.Input((width,)), *stack, layers.Dense(classes, "softmax", name="classes")])


def train_deep_norm(run: Run) -> None:
    """Classifies digits through ten normalised layers."""
    x, y = own_data.digit_rows()
    stack: list[Any] = [keras.Input((64,))]
    for number in range(1, 11):
        stack += [
            layers.Dense(32, use_bias=False, name=f"hidden_{number:02}"),
            layers.BatchNormalization(momentum=0.9, name=f"norm_{number:02}"),
            layers.ReLU(),
        ]
    model = keras.Sequential([*stack, layers.Dense(10, "softmax", name="classes")])
    model.compile(keras.optimizers.Adam(3e-3), CROSS_ENTROPY, jit_compile=False)
    run.fit(model, x, y, epochs=9, batch_size=64)


def deep_norm_learns(run: Run) -> bool:
    """It is right on unseen digits."""
    x, y = own_data.digit_rows(1797)
    return gain(run) > 0.66 and own_measures.accuracy(run, x[1280:], y[1280:]) > 0.8


def train_fine_tuning(run: Run) -> None:
    """Fits a network, then goes on with it at a hundredth of the rate."""
    x, y = own_data.digit_rows()
    model = perceptron(64, (48, 48), classes=10)
    model.compile(keras.optimizers.Adam(3e-3), CROSS_ENTROPY, jit_compile=False)
    model.fit(x, y, epochs=6, batch_size=32, verbose=0)
    model.compile(keras.optimizers.Adam(3e-5), CROSS_ENTROPY, jit_compile=False)
    run.fit(model, x, y, epochs=5, batch_size=32)


def fine_tuning_learns(run: Run) -> bool:
    """The loss was low at first and yet became lower, with small steps."""
    x, y = own_data.digit_rows()
    return run.losses[0] < 0.3 and gain(run) > 0.1 and max(moved(run)) < 0.2 and own_measures.accuracy(run, x, y) > 0.95


def train_converged(run: Run) -> None:
    """Classifies wines until nothing is left to learn."""
    x, y = own_data.wines()
    model = perceptron(13, (24,), classes=3, activation="tanh")
    model.compile(keras.optimizers.Adam(2e-2), CROSS_ENTROPY, jit_compile=False)
    run.fit(model, x, y, epochs=60, batch_size=16)


def converged_learns(run: Run) -> bool:
    """Every wine is right, and the loss ended next to 0."""
    return run.losses[-1] < 1e-3 and own_measures.accuracy(run, *own_data.wines()) == 1.0


def train_single_rows(run: Run) -> None:
    """Classifies wines, one at a time."""
    x, y = own_data.wines()
    model = perceptron(13, (16,), classes=3)
    model.compile(keras.optimizers.SGD(0.01), CROSS_ENTROPY, jit_compile=False)
    run.fit(model, x, y, epochs=5, batch_size=1)


def train_raw_columns(run: Run) -> None:
    """Classifies wines from raw columns, which an adapted layer of the model standardises."""
    x, y = own_data.wines(raw=True)
    scaling = layers.Normalization(name="scaling")
    scaling.adapt(x)
    model = keras.Sequential(
        [
            keras.Input((13,)),
            scaling,
            layers.Dense(16, "relu", name="hidden_1"),
            layers.Dense(3, "softmax", name="classes"),
        ]
    )
    model.compile(keras.optimizers.Adam(5e-3), CROSS_ENTROPY, jit_compile=False)
    run.fit(model, x, y, epochs=15, batch_size=16)


def train_decay_to_zero(run: Run) -> None:
    """Classifies digits at a rate that falls to exactly 0 on the last step."""
    x, y = own_data.digit_rows()
    model = perceptron(64, (48,), classes=10, activation="tanh")
    rate = keras.optimizers.schedules.CosineDecay(0.1, decay_steps=400)
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), CROSS_ENTROPY, jit_compile=False)
    run.fit(model, x, y, epochs=10, batch_size=32)


def decay_to_zero_learns(run: Run) -> bool:
    """It is right on unseen digits, and the last epochs changed next to nothing."""
    x, y = own_data.digit_rows(1797)
    still = abs(run.losses[-1] - run.losses[-2]) < 0.05 * run.losses[0]
    return gain(run) > 0.66 and still and own_measures.accuracy(run, x[1280:], y[1280:]) > 0.85


def train_accumulated(run: Run) -> None:
    """Tells benign tumours, with clipped gradients that are applied after every fourth small batch."""
    x, y = own_data.tumours()
    model = keras.Sequential(
        [keras.Input((30,)), layers.Dense(24, "relu", name="hidden"), layers.Dense(1, "sigmoid", name="benign")]
    )
    optimizer = keras.optimizers.Adam(5e-3, clipnorm=0.5, gradient_accumulation_steps=4)
    model.compile(optimizer, "binary_crossentropy", jit_compile=False)
    run.fit(model, x, y, epochs=12, batch_size=16)


def patients() -> tuple[np.ndarray, np.ndarray]:
    """Patients, and the progress of their disease in hundreds: 0.25 to 3.46, never below 0."""
    x, y = own_data.diabetes()
    return x, y / 100.0


def train_positive_output(run: Run) -> None:
    """Predicts a positive quantity through a ReLU."""
    x, y = patients()
    model = keras.Sequential(
        [
            keras.Input((10,)),
            layers.Dense(24, "relu", name="hidden"),
            layers.Dense(1, "relu", bias_initializer=keras.initializers.Constant(1.5), name="progress"),
        ]
    )
    model.compile(keras.optimizers.Adam(5e-3), "mse", jit_compile=False)
    run.fit(model, x, y, epochs=15, batch_size=32)


def positive_output_learns(run: Run) -> bool:
    """It explains the progress about as well as can be done, and hardly ever is stuck at 0."""
    x, y = patients()
    predicted = own_measures.outputs(run, x)
    return bool(np.square(predicted - y).mean() < 0.6 * y.var() and (predicted > 0).mean() > 0.98)


PROGRAMS: tuple[Program, ...] = (
    Program(
        name="deep_batch_norm",
        kind=HEALTHY,
        about="Ten layers with batch normalisation; gradients of kernels shrink as weights grow, which they may.",
        train=train_deep_norm,
        symptom=deep_norm_learns,
    ),
    Program(
        name="fine_tuning_tiny_rate",
        kind=HEALTHY,
        about="A trained network is fitted on with a rate of 3e-5: its steps are small, and the loss is low already.",
        train=train_fine_tuning,
        symptom=fine_tuning_learns,
        expect=("DeadUnits",),  # up to a fifth of its units are dead indeed
    ),
    Program(
        name="converged_wines",
        kind=HEALTHY,
        about="Trained until the loss is next to 0; gradients and steps end thousands of times smaller than at first.",
        train=train_converged,
        symptom=converged_learns,
        held_back=True,
    ),
    Program(
        name="single_row_batches",
        kind=HEALTHY,
        about="SGD on one row at a time: the loss of a step jumps, and units are inactive on most batches.",
        train=train_single_rows,
        symptom=lambda run: gain(run) > 0.66 and own_measures.accuracy(run, *own_data.wines()) > 0.95,
    ),
    Program(
        name="raw_columns_normalized",
        kind=HEALTHY,
        about="Raw columns of up to 1680 come in; an adapted layer of the model standardises them.",
        train=train_raw_columns,
        symptom=lambda run: gain(run) > 0.66 and own_measures.accuracy(run, *own_data.wines(raw=True)) > 0.95,
        held_back=True,
    ),
    Program(
        name="cosine_decay_to_zero",
        kind=HEALTHY,
        about="The rate falls to 0 along a cosine, so that the last steps change nothing, as planned.",
        train=train_decay_to_zero,
        symptom=decay_to_zero_learns,
    ),
    Program(
        name="accumulated_clipped",
        kind=HEALTHY,
        about="Clipped gradients are accumulated over four batches; in three of four steps no weight changes.",
        train=train_accumulated,
        symptom=lambda run: gain(run) > 0.66 and own_measures.accuracy(run, *own_data.tumours()) > 0.95,
    ),
    Program(
        name="positive_relu_output",
        kind=HEALTHY,
        about="A positive target is predicted through a ReLU that starts active, which is fit for it.",
        train=train_positive_output,
        symptom=positive_output_learns,
    ),
)
