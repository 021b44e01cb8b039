"""Published programs whose fault is the activation of the output."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from benchmarks.faults import symptoms
from benchmarks.faults.program import FAULTY, Program, Run
from benchmarks.faults.programs import data, published_symptoms


def _train_softmax1_xor(run: Run) -> None:
    x = np.array([[1, 1], [0, 0], [1, 0], [0, 1], [1, 1], [0, 0]], "float32")
    y = np.array([[0], [0], [1], [1], [0], [0]], "float32")
    model = keras.Sequential(
        [
            keras.Input((2,)),
            layers.Dense(2, "sigmoid", kernel_initializer="random_uniform", name="hidden_1"),
            layers.Dense(3, "sigmoid", kernel_initializer="random_uniform", name="hidden_2"),
            layers.Dense(1, "softmax", kernel_initializer="random_uniform", name="output"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.001, momentum=0.9, nesterov=True), "mse")
    run.fit(model, x, y, epochs=20)


def _is_stuck_at_one(run: Run) -> bool:
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
    is_one = bool((published_symptoms.predictions(run, x) == 1).all())
    is_constant = np.allclose(run.losses, 4 / 6, atol=1e-6)
    return is_one and is_constant and published_symptoms.is_unchanged(run, "*")


def _ranges(rng: np.random.Generator) -> data.Arrays:
    x = rng.integers(15041, 24988, (800, 1)).astype("float32")
    return x, (x > 20000).astype("float32")


def _train_softmax1_mae(run: Run) -> None:
    x, y = _ranges(run.rng)
    model = keras.Sequential(
        [
            keras.Input((1,)),
            layers.Dense(1, "sigmoid", kernel_initializer="random_normal", name="hidden"),
            layers.Dense(1, "softmax", kernel_initializer="random_normal", name="output"),
        ]
    )
    model.compile("rmsprop", "mae")
    run.fit(model, x, y, batch_size=200, epochs=30)


def _is_saturated_and_stuck(run: Run) -> bool:
    x, y = _ranges(published_symptoms.data_rng(run))
    hidden = published_symptoms.activations(run, "hidden", x)
    is_one = bool((published_symptoms.predictions(run, x) == 1).all())
    is_saturated = bool((np.minimum(hidden, 1 - hidden) < 1e-4).all())
    is_constant = np.allclose(run.losses, 1 - y.mean(), atol=1e-5)
    return is_one and is_saturated and is_constant and published_symptoms.is_unchanged(run, "*")


def _signed_targets(rng: np.random.Generator) -> data.Arrays:
    x = rng.normal(size=(200, 2)).astype("float32")
    y = x @ np.array([[0.6], [-0.4]]) + 0.3 * x[:, :1] * x[:, 1:] + rng.normal(0, 0.1, (200, 1))
    return x, (y - np.median(y)).astype("float32")


def _train_relu_output(run: Run) -> None:
    x, y = _signed_targets(run.rng)
    model = keras.Sequential(
        [
            keras.Input((2,)),
            layers.Dense(4, "relu", name="hidden"),
            layers.Dense(1, "relu", kernel_initializer=keras.initializers.RandomUniform(-1, -0.05), name="output"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.01), "mse")
    run.fit(model, x, y, batch_size=10, epochs=50)


def _is_output_dead(run: Run) -> bool:
    x, y = _signed_targets(published_symptoms.data_rng(run))
    is_zero = bool((published_symptoms.predictions(run, x) == 0).all())
    is_half_negative = 0.4 < np.mean(y < 0) < 0.6
    return is_zero and is_half_negative and published_symptoms.is_flat(run)


def _train_relu_classes(run: Run) -> None:
    x, y = data.blobs(run.rng)
    hidden = [layers.Dense(50, "relu", kernel_initializer="he_uniform", name=f"hidden_{n}") for n in range(1, 5)]
    model = keras.Sequential([keras.Input((2,)), *hidden, layers.Dense(3, "relu", name="output")])
    model.compile(keras.optimizers.Adam(1e-4), "categorical_crossentropy")
    run.fit(model, x, y, batch_size=256, epochs=50)


def _is_class_lost(run: Run) -> bool:
    x, y = data.blobs(published_symptoms.data_rng(run))
    if symptoms.is_nonfinite(run):
        return True
    predicted = published_symptoms.predictions(run, x)
    return bool(published_symptoms.is_dead(predicted).any()) and published_symptoms.accuracy(y, predicted) < 0.75


def _train_relu_logits(run: Run) -> None:
    x, y = data.digits(1000)
    model = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(
                64,
                "relu",
                kernel_initializer=_truncated(),
                bias_initializer=keras.initializers.Constant(0.1),
                name="hidden",
            ),
            layers.Dense(
                10, "relu", kernel_initializer=_truncated(), bias_initializer=_biases_of_logits, name="logits"
            ),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    run.fit(model, x, y, epochs=12)


def _truncated() -> keras.initializers.Initializer:
    return keras.initializers.TruncatedNormal(stddev=0.1)


def _biases_of_logits(shape: tuple[int, ...], dtype: str | None = None) -> np.ndarray:
    biases = np.full(shape, 0.1, dtype)
    biases[[3, 7]] = -3
    return biases


def _are_classes_never_learned(run: Run) -> bool:
    x, y = data.digits(1000)
    logits = published_symptoms.activations(run, "logits", x)
    is_dead = published_symptoms.is_dead(logits)
    is_right, is_lost = logits.argmax(axis=1) == y, is_dead[y]
    return bool(is_dead[[3, 7]].all() and not is_right[is_lost & (y > 0)].any() and is_right[~is_lost].mean() > 0.8)


def _series(rng: np.random.Generator) -> data.Arrays:
    return rng.uniform(size=(200, 5, 1)).astype("float32"), rng.uniform(size=(200, 5, 1)).astype("float32")


def _train_softmax1_series(run: Run) -> None:
    x, y = _series(run.rng)
    model = keras.Sequential(
        [
            keras.Input((5, 1)),
            layers.Dense(60, "relu", name="hidden_1"),
            layers.Dense(50, "relu", name="hidden_2"),
            layers.Dense(1, "softmax", name="output"),
        ]
    )
    model.compile("adam", "binary_crossentropy")
    run.fit(model, x, y, batch_size=1, epochs=5)


def _is_one_though_trained(run: Run) -> bool:
    x, y = _series(published_symptoms.data_rng(run))
    predicted = published_symptoms.predictions(run, x)
    is_one = bool((predicted == 1).all())
    is_worse = np.mean((y - predicted) ** 2) > 2 * np.var(y)
    return is_one and is_worse and published_symptoms.is_changed(run, "hidden_*", "output")


PROGRAMS: tuple[Program, ...] = (
    Program(
        name="so34311586_softmax1_xor_mse",
        kind=FAULTY,
        about="XOR with a softmax on a single output unit: it is 1 whatever comes in, so that no gradient gets "
        "through.",
        train=_train_softmax1_xor,
        symptom=_is_stuck_at_one,
        expect=("ZeroGradient", "OutputActivation"),
        layers=("hidden_*", "output"),
        source="https://stackoverflow.com/questions/34311586",
    ),
    Program(
        name="so45442843_softmax1_mae_unscaled",
        kind=FAULTY,
        about="A softmax on a single unit is always 1, and one raw feature of about 20000 saturates the sigmoid "
        "before it.",
        train=_train_softmax1_mae,
        symptom=_is_saturated_and_stuck,
        expect=("ZeroGradient", "OutputActivation", "InputScale", "SaturatedActivation"),
        layers=("hidden", "output"),
        source="https://stackoverflow.com/questions/45442843",
    ),
    Program(
        name="so48251943_relu_output_negative_target",
        kind=FAULTY,
        about="A ReLU puts out targets half of which are negative. Its kernel starts below zero here, the unlucky "
        "draw made certain, so that the unit is dead for every row.",
        train=_train_relu_output,
        symptom=_is_output_dead,
        expect=("DeadUnits", "OutputActivation"),
        layers=("output",),
        source="https://stackoverflow.com/questions/48251943",
    ),
    Program(
        name="autotrainer_improper_activation_blob",
        kind=FAULTY,
        about="Three blobs are told apart by a ReLU on the classes instead of a softmax, with cross-entropy.",
        train=_train_relu_classes,
        symptom=_is_class_lost,
        expect=("OutputActivation", "NonFiniteLoss", "DeadUnits"),
        layers=("output",),
        source="https://github.com/shiningrain/AUTOTRAINER",
    ),
    Program(
        name="zhang_ips11_relu_logits",
        kind=FAULTY,
        about="Digits whose logits pass a ReLU before the softmax: a class whose logit is dead is never learned. "
        "Two of the logits have a bias of -3 at first here, so that they are dead for every seed.",
        train=_train_relu_logits,
        symptom=_are_classes_never_learned,
        expect=("DeadUnits", "OutputActivation"),
        layers=("logits",),
        source="https://stackoverflow.com/questions/43239467",
    ),
    Program(
        name="so45337371_softmax1_bce_timeseries_masked",
        kind=FAULTY,
        about="A softmax on a single unit puts out 1 for every step of a series; Keras hides it from the gradients, "
        "since the cross-entropy takes the logits, so that the weights train and the predictions stay.",
        train=_train_softmax1_series,
        symptom=_is_one_though_trained,
        expect=("OutputActivation",),
        layers=("output",),
        source="https://stackoverflow.com/questions/45337371",
    ),
)
