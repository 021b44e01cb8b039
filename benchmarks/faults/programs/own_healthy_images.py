"""Healthy models of images: convolutions with and without normalisation, frozen layers, half precision, raw pixels."""

from __future__ import annotations

import keras
from keras import layers

from benchmarks.faults.program import HEALTHY, Program, Run
from benchmarks.faults.programs import own_data, own_measures
from benchmarks.faults.symptoms import gain


def classifies_unseen(run: Run, at_least: float, scale: float = 1.0) -> bool:
    """The loss fell by two thirds, and the model is right on so many digits that were not in training."""
    x, y = own_data.digit_images(1797)
    return gain(run) > 0.66 and own_measures.accuracy(run, x[1280:] * scale, y[1280:]) > at_least


def residual_block(x: keras.KerasTensor, number: int, channels: int = 16) -> keras.KerasTensor:
    """Two normalised convolutions, added to what went in."""
    hidden = layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"convolution_{number}_1")(x)
    hidden = layers.ReLU()(layers.BatchNormalization(name=f"norm_{number}_1")(hidden))
    hidden = layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"convolution_{number}_2")(hidden)
    hidden = layers.BatchNormalization(gamma_initializer="zeros", name=f"norm_{number}_2")(hidden)
    return layers.ReLU()(layers.Add()([x, hidden]))


def train_residual(run: Run) -> None:
    """Classifies digits; as is good practice, the last norm of each block starts at 0."""
    x, y = own_data.digit_images()
    image = keras.Input(x.shape[1:])
    hidden = layers.Conv2D(16, 3, padding="same", activation="relu", name="stem")(image)
    for number in (1, 2):
        hidden = residual_block(hidden, number)
    hidden = layers.Flatten()(layers.AveragePooling2D(2)(hidden))
    model = keras.Model(image, layers.Dense(10, "softmax", name="classes")(hidden))
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    run.fit(model, x, y, epochs=8, batch_size=32)


def train_plain(run: Run) -> None:
    """Classifies digits with two ReLU convolutions."""
    x, y = own_data.digit_images()
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            layers.Conv2D(12, 3, activation="relu", name="strokes"),
            layers.Conv2D(24, 3, activation="relu", name="shapes"),
            layers.Flatten(),
            layers.Dense(10, "softmax", name="classes"),
        ]
    )
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", jit_compile=False)
    run.fit(model, x, y, epochs=8, batch_size=32)


def train_raw_pixels(run: Run) -> None:
    """Classifies digits whose pixels are 0..255, which a layer of the model scales."""
    x, y = own_data.digit_images()
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            layers.Rescaling(1.0 / 255.0, name="scaling"),
            layers.Conv2D(16, 3, activation="relu", name="strokes"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(32, "relu", name="shapes"),
            layers.Dense(10, "softmax", name="classes"),
        ]
    )
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", jit_compile=False)
    run.fit(model, x * 255.0, y, epochs=10, batch_size=32)


def later_digits() -> tuple[tuple, tuple]:
    """Digits 0..4, and digits 5..9 counted from 0."""
    x, y = own_data.digit_images(1797)
    return (x[y < 5], y[y < 5]), (x[y >= 5], y[y >= 5] - 5)


def train_transfer(run: Run) -> None:
    """Learns features on five digits, freezes them, and learns the other five digits with a new head."""
    (first_x, first_y), (x, y) = later_digits()
    features = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            layers.Conv2D(12, 3, activation="relu", name="strokes"),
            layers.BatchNormalization(name="strokes_norm"),
            layers.Conv2D(24, 3, activation="relu", name="shapes"),
            layers.Flatten(),
        ],
        name="features",
    )
    before = keras.Sequential([features, layers.Dense(5, "softmax", name="first_classes")])
    before.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", jit_compile=False)
    before.fit(first_x, first_y, epochs=3, batch_size=32, verbose=0)
    features.trainable = False
    image = keras.Input(x.shape[1:])
    model = keras.Model(image, layers.Dense(5, "softmax", name="classes")(features(image, training=False)))
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", jit_compile=False)
    run.fit(model, x[:700], y[:700], epochs=10, batch_size=32)


def transfer_learns(run: Run) -> bool:
    """It is right on unseen digits, although only the two weights of the head ever changed."""
    _, (x, y) = later_digits()
    same = [bool((now == first).all()) for now, first in zip(run.weights, run.first_weights, strict=True)]
    return same.count(False) == 2 and gain(run) > 0.66 and own_measures.accuracy(run, x[700:], y[700:]) > 0.9


def train_half_precision(run: Run) -> None:
    """Classifies digits in float16 with a dynamic loss scale, which starts so high that the first steps overflow."""
    x, y = own_data.digit_rows()
    model = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(64, "relu", dtype="mixed_float16", name="hidden_1"),
            layers.Dense(64, "relu", dtype="mixed_float16", name="hidden_2"),
            layers.Dense(10, "softmax", dtype="float32", name="classes"),
        ]
    )
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.Adam(2e-3), initial_scale=2.0**24, dynamic_growth_steps=60
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    run.fit(model, x, y, epochs=8, batch_size=32)


def half_precision_learns(run: Run) -> bool:
    """It is right on unseen digits, and the loss scale came down to where gradients fit into float16."""
    x, y = own_data.digit_rows(1797)
    scale = float(run.model.optimizer.dynamic_scale)
    return gain(run) > 0.66 and own_measures.accuracy(run, x[1280:], y[1280:]) > 0.88 and 1.0 < scale < 2.0**24


PROGRAMS: tuple[Program, ...] = (
    Program(
        name="residual_digits",
        kind=HEALTHY,
        about="A residual network with batch normalisation; the last scale of each block starts at 0, so that the "
        "convolutions before it have exactly zero gradient in the first step.",
        train=train_residual,
        symptom=lambda run: classifies_unseen(run, 0.85),
        expect=("DeadUnits",),  # up to a third of the channels of its stem are dead indeed
        held_back=True,
    ),
    Program(
        name="plain_convolutions",
        kind=HEALTHY,
        about="Two ReLU convolutions classify digits.",
        train=train_plain,
        symptom=lambda run: classifies_unseen(run, 0.9),
    ),
    Program(
        name="raw_pixels_rescaled",
        kind=HEALTHY,
        about="Pixels come in as 0..255; the model itself scales them, so that their scale is no fault.",
        train=train_raw_pixels,
        symptom=lambda run: classifies_unseen(run, 0.88, scale=255.0),
        expect=("DeadUnits",),  # a quarter of its units is dead indeed
    ),
    Program(
        name="transfer_frozen_features",
        kind=HEALTHY,
        about="A new head learns on frozen convolutions; nothing but the head can or should change.",
        train=train_transfer,
        symptom=transfer_learns,
    ),
    Program(
        name="half_precision_digits",
        kind=HEALTHY,
        about="Mixed precision with a loss scale that overflows at first, comes down and goes on, as it is meant to.",
        train=train_half_precision,
        symptom=half_precision_learns,
        expect=("DeadUnits",),  # a seventh of its units is dead indeed
    ),
)
