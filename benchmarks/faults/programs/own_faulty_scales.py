"""Faults of fit: inputs and targets of the wrong scale, and last activations that cannot be what the loss wants."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from benchmarks.faults.program import FAULTY, Program, Run
from benchmarks.faults.programs import own_data, own_measures
from benchmarks.faults.symptoms import gain


def train_one_softmax(run: Run) -> None:
    """Tells benign tumours by a softmax over one unit."""
    x, y = own_data.tumours()
    model = keras.Sequential(
        [keras.Input((30,)), layers.Dense(16, "relu", name="hidden"), layers.Dense(1, "softmax", name="benign")]
    )
    model.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy", jit_compile=False)
    run.fit(model, x, y, epochs=10, batch_size=32)


def one_softmax_is_one(run: Run) -> bool:
    """It says 1 to all rows, so that it is right for benign ones alone, although the loss of its logits falls."""
    x, y = own_data.tumours()
    predicted = own_measures.outputs(run, x)
    return bool((predicted == 1.0).all() and own_measures.accuracy(run, x, y) < 0.64 and gain(run) > 0.5)


def strengths() -> tuple[np.ndarray, np.ndarray]:
    """The features of wines but the first, and the first, their alcohol in percent: 11 to 14.8."""
    x, _ = own_data.wines(raw=True)
    return own_data.standardised(x[:, 1:]), x[:, :1]


def train_bounded_output(run: Run) -> None:
    """Predicts the alcohol of wines in percent by a sigmoid."""
    x, y = strengths()
    model = keras.Sequential(
        [keras.Input((12,)), layers.Dense(16, "relu", name="hidden"), layers.Dense(1, "sigmoid", name="alcohol")]
    )
    model.compile(keras.optimizers.Adam(1e-2), "mse", jit_compile=False)
    run.fit(model, x, y, epochs=15, batch_size=16)


def bounded_output_saturates(run: Run) -> bool:
    """It says 1 where at least 11 is right, and so the loss stays above a hundred times the variance."""
    x, y = strengths()
    predicted = own_measures.outputs(run, x)
    return bool(np.mean(predicted > 0.99) > 0.95 and y.min() > 10 and run.losses[-1] > 100 * y.var())


def train_relu_classes(run: Run) -> None:
    """Classifies digits by ReLUs that are given to the cross-entropy as if they were probabilities."""
    x, y = own_data.digit_rows()
    model = keras.Sequential(
        [keras.Input((64,)), layers.Dense(32, "relu", name="hidden"), layers.Dense(10, "relu", name="classes")]
    )
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", jit_compile=False)
    run.fit(model, x, y, epochs=6, batch_size=32)


def relu_classes_fail(run: Run) -> bool:
    """What comes out is no distribution, and at least three digits in ten are wrong."""
    x, y = own_data.digit_rows()
    sums = own_measures.outputs(run, x).sum(axis=1)
    return bool(np.mean(np.abs(sums - 1.0) > 0.2) > 0.8 and own_measures.accuracy(run, x, y) < 0.7)


def train_raw_households(run: Run) -> None:
    """Tells solvent households by raw amounts of money."""
    x, y = own_data.households(run.rng, 1280)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(24, "tanh", name="hidden_1"),
            layers.Dense(16, "tanh", name="hidden_2"),
            layers.Dense(1, "sigmoid", name="solvent"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.05), "binary_crossentropy", jit_compile=False)
    run.fit(model, x, y, epochs=6, batch_size=32)


def raw_households_fail(run: Run) -> bool:
    """The first layer is saturated by the inputs, and a fifth is wrong where a linear rule is exact."""
    x, y = own_data.households(np.random.default_rng(99), 1000)
    flat = np.mean(np.abs(own_measures.activations(run, "hidden_1", x)) > 0.99)
    return bool(np.abs(x).mean() > 1e4 and flat > 0.9 and own_measures.accuracy(run, x, y) < 0.8)


def train_raw_prices(run: Run) -> None:
    """Predicts prices in single euros."""
    x, y = own_data.prices(run.rng, 1280)
    model = keras.Sequential(
        [keras.Input((5,)), layers.Dense(32, "relu", name="hidden"), layers.Dense(1, name="price")]
    )
    model.compile(keras.optimizers.Adam(1e-3), "mse", jit_compile=False)
    run.fit(model, x, y, epochs=8, batch_size=32)


def raw_prices_are_far(run: Run) -> bool:
    """Predictions are below a hundredth of the prices, and the loss is what it was: 1e11."""
    x, y = own_data.prices(np.random.default_rng(99), 500)
    far = own_measures.outputs(run, x).mean() < 0.01 * y.mean()
    return bool(far and abs(gain(run)) < 0.01 and run.losses[-1] > 1e10)


PROGRAMS: tuple[Program, ...] = (
    Program(
        name="tumours_softmax_of_one",
        kind=FAULTY,
        about="A softmax over one unit is always 1. Keras hands its logits to the cross-entropy, so that the loss "
        "falls and nothing but the output is wrong.",
        train=train_one_softmax,
        symptom=one_softmax_is_one,
        expect=("OutputActivation",),
        layers=("benign",),
    ),
    Program(
        name="alcohol_by_sigmoid",
        kind=FAULTY,
        about="A sigmoid, which ends at 1, shall predict percents of 11 to 15; it saturates, and its gradient dies.",
        train=train_bounded_output,
        symptom=bounded_output_saturates,
        expect=(
            "OutputActivation",
            "SaturatedActivation",
            "StalledLoss",
            "VanishingGradient",
            "UpdateTooSmall",
            "InputScale",
            "ZeroGradient",
        ),
        layers=("alcohol",),
        held_back=True,
    ),
    Program(
        name="digits_by_relu",
        kind=FAULTY,
        about="ReLUs instead of a softmax go into the cross-entropy: a class at 0 has no gradient.",
        train=train_relu_classes,
        symptom=relu_classes_fail,
        expect=(
            "OutputActivation",
            "DeadUnits",
            "StalledLoss",
            "ZeroGradient",
            "UnstableLoss",
            "NonFiniteLoss",
            "NonFiniteGradient",
            "UnchangedVariable",
        ),
        layers=("classes",),
    ),
    Program(
        name="raw_households",
        kind=FAULTY,
        about="Amounts of some ten thousand go into a tanh layer unscaled, which saturates on all of them.",
        train=train_raw_households,
        symptom=raw_households_fail,
        expect=(
            "InputScale",
            "SaturatedActivation",
            "ZeroGradient",
            "VanishingGradient",
            "StalledLoss",
            "DeadUnits",
            "UnchangedVariable",
            "ExplodingGradient",
            "UpdateTooLarge",
        ),
    ),
    Program(
        name="raw_prices",
        kind=FAULTY,
        about="Prices of 3e5 are predicted unscaled: the loss is 1e11, and steps of Adam are a drop in the ocean.",
        train=train_raw_prices,
        symptom=raw_prices_are_far,
        expect=("InputScale", "StalledLoss", "ExplodingGradient", "UpdateTooSmall"),
        held_back=True,
    ),
)
