"""Published programs that train well, most of them the repair of a faulty one, for false alarms to be counted by."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from benchmarks.faults import symptoms
from benchmarks.faults.program import HEALTHY, Program, Run
from benchmarks.faults.programs import data, published_nonfinite, published_scales, published_symptoms


def _normal(stddev: float = 0.05) -> keras.initializers.Initializer:
    return keras.initializers.RandomNormal(stddev=stddev)


def _train_wide_init(run: Run) -> None:
    x, y = data.digits(1000)
    model = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(30, "sigmoid", kernel_initializer=_normal(1), bias_initializer=_normal(1), name="hidden"),
            layers.Dense(10, "softmax", kernel_initializer=_normal(1), bias_initializer=_normal(1), name="output"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.3), "categorical_crossentropy")
    run.fit(model, x, data.one_hot(y, 10), batch_size=10, epochs=12)


def _are_digits_learned(run: Run) -> bool:
    x, y = data.digits(1000)
    return symptoms.gain(run) > 0.8 and published_symptoms.accuracy(y, published_symptoms.predictions(run, x)) > 0.9


def _train_iris(run: Run, activation: str, *, is_scaled: bool) -> None:
    x, y = data.iris(run.rng, is_scaled=is_scaled)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(4, "relu", kernel_initializer=_normal(), name="hidden"),
            layers.Dense(3, activation, kernel_initializer=_normal(), name="output"),
        ]
    )
    model.compile("adam", "categorical_crossentropy")
    run.fit(model, x, y, batch_size=5, epochs=50)


def _are_irises_learned(run: Run, *, is_scaled: bool) -> bool:
    x, y = data.iris(published_symptoms.data_rng(run), is_scaled=is_scaled)
    return symptoms.gain(run, 5) > 0.4 and published_symptoms.accuracy(y, published_symptoms.predictions(run, x)) > 0.65


def _scaled_parabola(rng: np.random.Generator) -> data.Arrays:
    x, y = published_scales.parabola(rng)
    return np.tile(x, (6, 1)), np.tile(data.standardized(y), (6, 1))


def _is_parabola_fitted(run: Run) -> bool:
    x, y = _scaled_parabola(published_symptoms.data_rng(run))
    return symptoms.gain(run) > 0.8 and published_symptoms.explained(y, published_symptoms.predictions(run, x)) > 0.8


def _threshold(rng: np.random.Generator) -> data.Arrays:
    x = rng.integers(15041, 24988, (4000, 1))
    return data.standardized(x), (x > 20000).astype("float32")


def _train_scaled_sigmoid(run: Run) -> None:
    x, y = _threshold(run.rng)
    model = keras.Sequential(
        [
            keras.Input((1,)),
            layers.Dense(1, "sigmoid", kernel_initializer=_normal(), name="hidden"),
            layers.Dense(1, "sigmoid", kernel_initializer=_normal(), name="output"),
        ]
    )
    model.compile("rmsprop", "binary_crossentropy")
    run.fit(model, x, y, batch_size=200, epochs=80)


def _is_threshold_learned(run: Run) -> bool:
    x, y = _threshold(published_symptoms.data_rng(run))
    return symptoms.gain(run) > 0.05 and published_symptoms.accuracy(y, published_symptoms.predictions(run, x)) > 0.9


def _is_line_fitted(run: Run) -> bool:
    x, y = published_scales.line(published_symptoms.data_rng(run))
    slope, intercept = np.polyfit(x[:, 0], y[:, 0], 1)
    return bool(symptoms.gain(run) > 0.9 and run.losses[-1] < 2 + np.mean((y - slope * x - intercept) ** 2))


def _train_cnn(run: Run) -> None:
    x, y = data.digits(1000)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(8, 3, padding="same", activation="relu", name="conv_1"),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 3, padding="same", activation="relu", name="conv_2"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, "relu", name="hidden"),
            layers.Dense(10, "softmax", name="output"),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-3), "categorical_crossentropy")
    run.fit(model, x.reshape(-1, 8, 8, 1), data.one_hot(y, 10), batch_size=32, epochs=12)


def _are_images_learned(run: Run) -> bool:
    x, y = data.digits(1000)
    predicted = published_symptoms.predictions(run, x.reshape(-1, 8, 8, 1))
    return symptoms.gain(run) > 0.8 and published_symptoms.accuracy(y, predicted) > 0.9


def _train_circles(run: Run) -> None:
    x, y = data.circles(run.rng, factor=0.4)
    hidden = [layers.Dense(5, "selu", kernel_initializer="lecun_normal", name=f"hidden_{n}") for n in range(1, 5)]
    model = keras.Sequential([keras.Input((2,)), *hidden, layers.Dense(1, "sigmoid", name="output")])
    model.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy")
    run.fit(model, x, y, batch_size=32, epochs=50)


def _are_circles_learned(run: Run) -> bool:
    x, y = data.circles(published_symptoms.data_rng(run), factor=0.4)
    return symptoms.gain(run) > 0.4 and published_symptoms.accuracy(y, published_symptoms.predictions(run, x)) > 0.9


PROGRAMS: tuple[Program, ...] = (
    Program(
        name="h_48385830_fixed",
        kind=HEALTHY,
        about="Digits with weights that start as wide as 1: the first loss is high, and it learns all the same.",
        train=_train_wide_init,
        symptom=_are_digits_learned,
        source="https://stackoverflow.com/questions/48385830",
    ),
    Program(
        name="h_51930566_iris_standardised",
        kind=HEALTHY,
        about="Standardised irises through a hidden layer of four units, of which one may be dead.",
        train=lambda run: _train_iris(run, "softmax", is_scaled=True),
        symptom=lambda run: _are_irises_learned(run, is_scaled=True),
        source="https://stackoverflow.com/questions/51930566",
    ),
    Program(
        name="h_51930566_iris_sigmoid_cce_benign",
        kind=HEALTHY,
        about="Irises as they are, with a sigmoid where a softmax should be: Keras takes the logits, so that it "
        "learns.",
        train=lambda run: _train_iris(run, "sigmoid", is_scaled=False),
        symptom=lambda run: _are_irises_learned(run, is_scaled=False),
        expect=("OutputActivation",),
        source="https://stackoverflow.com/questions/51930566",
    ),
    Program(
        name="h_48934338_lr_small",
        kind=HEALTHY,
        about="The parabola that a learning rate of 0.1 ruins, with 0.01 and standardized targets. With the "
        "published repair, 0.001 and targets as they are, the loss goes up and down to the end.",
        train=lambda run: published_scales.train_parabola(run, *_scaled_parabola(run.rng), learning_rate=0.01),
        symptom=_is_parabola_fitted,
        expect=("DeadUnits",),
        source="https://stackoverflow.com/questions/48934338",
    ),
    Program(
        name="h_45442843_scaled_sigmoid",
        kind=HEALTHY,
        about="One standardised feature through two sigmoid units, with a label that is a threshold on it: it "
        "learns slowly.",
        train=_train_scaled_sigmoid,
        symptom=_is_threshold_learned,
        expect=("StalledLoss",),
        source="https://stackoverflow.com/questions/45442843",
    ),
    Program(
        name="h_ips5_lr_01",
        kind=HEALTHY,
        about="The line that a learning rate of 0.1 makes diverge, with 0.01.",
        train=lambda run: published_scales.train_line(run, learning_rate=0.01),
        symptom=_is_line_fitted,
        source="https://stackoverflow.com/questions/39939881",
    ),
    Program(
        name="h_tdc_basecnn_clean",
        kind=HEALTHY,
        about="A small convolutional network on digits.",
        train=_train_cnn,
        symptom=_are_images_learned,
        source="https://github.com/thedeepchecker/thedeepchecker",
    ),
    Program(
        name="h_autotrainer_circle_normal",
        kind=HEALTHY,
        about="Two circles are told apart by four layers of five SELU units; the learning rate is 0.003 to be quick.",
        train=_train_circles,
        symptom=_are_circles_learned,
        source="https://github.com/shiningrain/AUTOTRAINER",
    ),
    Program(
        name="h_siamese_eps",
        kind=HEALTHY,
        about="Pairs of which half are equal, with a distance that is bounded below under the square root.",
        train=lambda run: published_nonfinite.train_siamese(run, epsilon=1e-7),
        symptom=lambda run: symptoms.gain(run) > 0.5,
        source="https://github.com/keras-team/keras/issues/9097",
    ),
)
