"""Faults of the start: signals and gradients that die out, blow up, or are stuck where nothing has a slope."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from benchmarks.faults.program import FAULTY, Program, Run
from benchmarks.faults.programs import own_data, own_measures
from benchmarks.faults.symptoms import gain

CROSS_ENTROPY = "sparse_categorical_crossentropy"


def train_sigmoids(run: Run) -> None:
    """Classifies digits through twelve sigmoids with small kernels."""
    x, y = own_data.digit_rows()
    small = keras.initializers.RandomNormal(stddev=0.1)
    stack = [layers.Dense(24, "sigmoid", kernel_initializer=small, name=f"sigmoid_{n:02}") for n in range(1, 13)]
    model = keras.Sequential([keras.Input((64,)), *stack, layers.Dense(10, "softmax", name="classes")])
    model.compile(keras.optimizers.SGD(0.1), CROSS_ENTROPY, jit_compile=False)
    run.fit(model, x, y, epochs=6, batch_size=32)


def sigmoids_vanish(run: Run) -> bool:
    """Gradients of the first layer are a millionth of those of the last, and nothing is learnt."""
    x, y = own_data.digit_rows()
    norms = own_measures.grad_norms(run, x, y)
    with own_measures.first_weights(run):
        first_norms = own_measures.grad_norms(run, x, y)
    shares = [each["sigmoid_01/kernel"] / each["classes/kernel"] for each in (norms, first_norms)]
    return max(shares) < 1e-6 and run.losses[-1] > 2.25 and own_measures.accuracy(run, x, y) < 0.2


def train_recurrence(run: Run) -> None:
    """Sums long sequences with a linear recurrence that nothing bounds; only its steps are clipped."""
    x, y = own_data.drifting_sequences(run.rng, 640)
    recurrence = layers.SimpleRNN(
        16, activation="linear", recurrent_initializer=keras.initializers.Orthogonal(gain=1.0), name="recurrence"
    )
    model = keras.Sequential([keras.Input(x.shape[1:]), recurrence, layers.Dense(1, name="sum")])
    model.compile(keras.optimizers.SGD(0.1, clipnorm=1.0), "mse", jit_compile=False)
    run.fit(model, x, y, epochs=12, batch_size=32)


def recurrence_explodes(run: Run) -> bool:
    """Epochs cost far more than predicting 0, which costs 1, but no weight ran away: the loss bursts and returns."""
    later = run.losses[1:]
    bounded = max(np.abs(weight).max() for weight in run.weights) < 10.0
    return bool(bounded and max(later) > 10.0 and np.mean(later) > 3.0 and max(later) > 5.0 * min(later))


def train_negative_biases(run: Run) -> None:
    """Classifies digits; the biases of the second layer start far below 0."""
    x, y = own_data.digit_rows()
    low = keras.initializers.RandomUniform(-4.0, 0.0)
    model = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(48, "relu", name="hidden_1"),
            layers.Dense(48, "relu", bias_initializer=low, name="hidden_2"),
            layers.Dense(10, "softmax", name="classes"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.05), CROSS_ENTROPY, jit_compile=False)
    run.fit(model, x, y, epochs=8, batch_size=32)


def negative_biases_kill(run: Run) -> bool:
    """Most units of the layer are 0 for every digit, at first and in the end."""
    x, _ = own_data.digit_rows()
    with own_measures.first_weights(run):
        before = own_measures.dead_share(run, "hidden_2", x)
    return before > 0.5 and own_measures.dead_share(run, "hidden_2", x) > 0.5


def train_large_kernels(run: Run) -> None:
    """Tells benign tumours through two tanh layers whose kernels are drawn far too large."""
    x, y = own_data.tumours()
    large = keras.initializers.RandomNormal(stddev=5.0)
    model = keras.Sequential(
        [
            keras.Input((30,)),
            layers.Dense(32, "tanh", kernel_initializer=large, name="hidden_1"),
            layers.Dense(32, "tanh", kernel_initializer=large, name="hidden_2"),
            layers.Dense(1, "sigmoid", name="benign"),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy", jit_compile=False)
    run.fit(model, x, y, epochs=10, batch_size=32)


def large_kernels_saturate(run: Run) -> bool:
    """Nearly all hidden values are at -1 or 1, at first and in the end, and the kernels stay what they were."""
    x, _ = own_data.tumours()
    saturated = [np.mean(np.abs(own_measures.activations(run, f"hidden_{n}", x)) > 0.99) for n in (1, 2)]
    with own_measures.first_weights(run):
        saturated += [np.mean(np.abs(own_measures.activations(run, f"hidden_{n}", x)) > 0.99) for n in (1, 2)]
    still = [own_measures.changes(run, f"hidden_{n}")[0] / np.linalg.norm(run.first_weights[2 * n - 2]) for n in (1, 2)]
    return bool(min(saturated) > 0.8 and max(still) < 0.05)


def train_zero_kernels(run: Run) -> None:
    """Classifies digits; every kernel starts at 0."""
    x, y = own_data.digit_rows()
    model = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(32, "tanh", kernel_initializer="zeros", name="hidden_1"),
            layers.Dense(32, "tanh", kernel_initializer="zeros", name="hidden_2"),
            layers.Dense(10, "softmax", kernel_initializer="zeros", name="classes"),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-2), CROSS_ENTROPY, jit_compile=False)
    run.fit(model, x, y, epochs=5, batch_size=32)


def zero_kernels_stay(run: Run) -> bool:
    """All but the last bias is 0 to the last bit, and all digits get the same answer."""
    x, _ = own_data.digit_rows()
    still = all(not weight.any() for weight in run.weights[:-1]) and run.weights[-1].any()
    return bool(still and np.ptp(own_measures.outputs(run, x), axis=0).max() == 0.0 and gain(run) < 0.05)


PROGRAMS: tuple[Program, ...] = (
    Program(
        name="twelve_small_sigmoids",
        kind=FAULTY,
        about="Twelve sigmoids with small kernels let a tenth of the gradient through each.",
        train=train_sigmoids,
        symptom=sigmoids_vanish,
        expect=("VanishingGradient", "UpdateTooSmall", "StalledLoss", "UnchangedVariable", "ZeroGradient"),
        layers=("sigmoid_0*",),
    ),
    Program(
        name="growing_recurrence",
        kind=FAULTY,
        about="A linear recurrence over 40 steps, whose gradient bursts to a thousand times its size if an eigenvalue "
        "passes 1; clipping saves the weights, not the training.",
        train=train_recurrence,
        symptom=recurrence_explodes,
        expect=(
            "ExplodingGradient",
            "UpdateTooLarge",
            "UnstableLoss",
            "NonFiniteLoss",
            "NonFiniteGradient",
            "NonFiniteWeight",
        ),
        layers=("recurrence",),
    ),
    Program(
        name="negative_biases",
        kind=FAULTY,
        about="Biases of a ReLU layer start so far below 0 that most of its units never fire.",
        train=train_negative_biases,
        symptom=negative_biases_kill,
        expect=("DeadUnits", "StalledLoss", "VanishingGradient"),
        layers=("hidden_2",),
        held_back=True,
    ),
    Program(
        name="large_tanh_kernels",
        kind=FAULTY,
        about="Kernels of deviation 5 push two tanh layers onto their flat parts; only the output layer learns.",
        train=train_large_kernels,
        symptom=large_kernels_saturate,
        expect=("SaturatedActivation", "VanishingGradient", "UpdateTooSmall", "ZeroGradient", "DeadUnits"),
        layers=("hidden_*",),
    ),
    Program(
        name="zero_kernels",
        kind=FAULTY,
        about="All kernels start at 0, so that all gradients but that of the last bias are exactly 0 for ever.",
        train=train_zero_kernels,
        symptom=zero_kernels_stay,
        expect=("ZeroGradient", "UnchangedVariable", "DeadUnits", "StalledLoss"),
        layers=("hidden_*", "classes"),
    ),
)
