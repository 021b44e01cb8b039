"""Published programs whose fault is the scale of data, of the loss or of the learning rate."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from benchmarks.faults import symptoms
from benchmarks.faults.program import FAULTY, Program, Run
from benchmarks.faults.programs import data, published_symptoms


def parabola(rng: np.random.Generator) -> data.Arrays:
    """Fifty points of five times a square, with cubed noise."""
    x = np.arange(0, 5, 0.1)[:, None]
    return x.astype("float32"), (5 * x**2 + rng.normal(size=x.shape) ** 3).astype("float32")


def train_parabola(run: Run, x: np.ndarray, y: np.ndarray, learning_rate: float) -> None:
    """Fits a parabola with two hidden layers and 50 epochs of SGD."""
    model = keras.Sequential(
        [
            keras.Input((1,)),
            layers.Dense(50, "relu", kernel_initializer="random_uniform", name="hidden_1"),
            layers.Dense(30, "relu", kernel_initializer="random_uniform", name="hidden_2"),
            layers.Dense(1, kernel_initializer=keras.initializers.RandomUniform(-0.1, 0.1), name="output"),
        ]
    )
    model.compile(keras.optimizers.SGD(learning_rate), "mse")
    run.fit(model, x, y, batch_size=32, epochs=50)


def line(rng: np.random.Generator) -> data.Arrays:
    """Eight points near a line, with a mean square of the inputs above 12."""
    slope, intercept = rng.uniform(-8, 8, 2)
    x = rng.uniform(-8, 8, (8, 1))
    while np.mean(x**2) < 12:
        x = rng.uniform(-8, 8, (8, 1))
    return x.astype("float32"), (slope * x + intercept + rng.uniform(-1, 1, (8, 1))).astype("float32")


def train_line(run: Run, learning_rate: float) -> None:
    """Fits `line` with one linear unit from zero, 100 full batches of SGD."""
    x, y = line(run.rng)
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1, kernel_initializer="zeros", name="output")])
    model.compile(keras.optimizers.SGD(learning_rate), "mse")
    run.fit(model, x, y, batch_size=8, epochs=100)


def _is_killed_by_burst(run: Run) -> bool:
    x, y = parabola(published_symptoms.data_rng(run))
    is_dead = published_symptoms.is_dead(published_symptoms.activations(run, "hidden_2", x)).all()
    is_burst = max(run.losses[:3]) > 10 * np.mean(y**2)
    return bool(is_dead and is_burst and np.ptp(published_symptoms.predictions(run, x)) == 0)


def _is_diverged(run: Run) -> bool:
    finite = np.array([loss for loss in run.losses if np.isfinite(loss)])
    is_growing = len(finite) > 10 and (np.diff(finite[-10:]) > 0).all() and finite[-1] > 1e6 * finite[0]
    return bool(is_growing and symptoms.is_nonfinite(run))


def _train_quadratic_features(run: Run) -> None:
    x = np.arange(4, dtype="float32")[:, None]
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1, kernel_initializer="zeros", name="output")])
    model.compile(keras.optimizers.SGD(0.01), keras.losses.MeanSquaredError(reduction="sum"))
    run.fit(model, np.concatenate([x**2, x], axis=1), x**2, batch_size=4, epochs=100)


def _is_slowly_diverging(run: Run) -> bool:
    factors = np.array(run.losses[11:]) / np.array(run.losses[10:-1])
    return bool(np.isfinite(run.losses).all() and (factors > 1.2).all() and (factors < 2).all())


def _squares() -> data.Arrays:
    x = np.arange(100, dtype="float32")[:, None]
    return data.standardized(x), x**2 + 3


def _train_unscaled_target(run: Run) -> None:
    x, y = _squares()
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1, name="hidden"), layers.Dense(1, name="output")])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    run.fit(model, x, y, batch_size=32, epochs=40)


def _is_ruined(run: Run) -> bool:
    return symptoms.is_nonfinite(run) and published_symptoms.is_ruined(run, "hidden", "output")


def _train_sum_of_raw(run: Run) -> None:
    x, y = data.cars(run.rng, 640)
    hidden = [layers.Dense(64, "relu", kernel_initializer="he_normal", name=f"hidden_{n}") for n in (1, 2)]
    output = layers.Dense(1, kernel_initializer="he_normal", name="output")
    model = keras.Sequential([keras.Input((9,)), *hidden, output])
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.MeanSquaredError(reduction="sum"))
    run.fit(model, x, 10 * y, batch_size=160, epochs=30)


def _is_steep_and_unlearned(run: Run) -> bool:
    x, y = data.cars(published_symptoms.data_rng(run), 640)
    sizes = published_symptoms.at_first(run, lambda: published_symptoms.gradient_sizes(run, x[:160], 10 * y[:160]))
    return min(sizes) > 2e5 and published_symptoms.explained(10 * y, published_symptoms.predictions(run, x)) < 0.3


def _raw_pixels() -> data.Arrays:
    x, y = data.digits(1000, scale=255 / 16)
    x = x.reshape(-1, 8, 8).repeat(4, axis=1).repeat(4, axis=2)[:, 2:-2, 2:-2]  # to 28 by 28 pixels
    return x.reshape(-1, 784), data.one_hot(y, 10)


def _train_raw_pixels(run: Run) -> None:
    x, y = _raw_pixels()
    model = keras.Sequential(
        [
            keras.Input((784,)),
            layers.Dense(784, name="hidden_1"),
            layers.Dense(50, "relu", name="hidden_2"),
            layers.Dense(10, "sigmoid", name="output"),
        ]
    )
    model.compile(keras.optimizers.SGD(1e-4), "categorical_crossentropy")
    run.fit(model, x, y, batch_size=32, epochs=10)


def _is_thrown_and_unlearned(run: Run) -> bool:
    x, y = _raw_pixels()
    is_thrown = run.losses[0] > 5 * np.log(10)
    return bool(is_thrown and published_symptoms.accuracy(y, published_symptoms.predictions(run, x)) < 0.6)


def _quartic() -> data.Arrays:
    x = np.arange(-100, 100, 0.5, dtype="float32")[:, None]
    return x, x**4


def _train_quartic(run: Run) -> None:
    x, y = _quartic()
    model = keras.Sequential(
        [
            keras.Input((1,)),
            layers.Dense(50, "sigmoid", name="hidden_1"),
            layers.Dense(50, "elu", name="hidden_2"),
            layers.Dense(1, name="output"),
        ]
    )
    model.compile("adam", "mse")
    run.fit(model, np.tile(x, (10, 1)), np.tile(y, (10, 1)), batch_size=400, epochs=15, shuffle=False)


def _is_saturated_and_stuck(run: Run) -> bool:
    x = _quartic()[0]
    hidden = published_symptoms.at_first(run, lambda: published_symptoms.activations(run, "hidden_1", x))
    is_saturated = np.mean(np.minimum(hidden, 1 - hidden) < 0.01) > 0.5
    return bool(is_saturated and run.losses[-1] > 1e14 and abs(symptoms.gain(run)) < 1e-3)


PROGRAMS: tuple[Program, ...] = (
    Program(
        name="so48934338_lr_too_high_quadratic",
        kind=FAULTY,
        about="A parabola with targets up to 125 is fitted with a learning rate of 0.1: the first steps burst, and "
        "then the whole second layer is dead.",
        train=lambda run: train_parabola(run, *parabola(run.rng), learning_rate=0.1),
        symptom=_is_killed_by_burst,
        expect=("ExplodingGradient", "DeadUnits", "UpdateTooLarge", "UnstableLoss"),
        layers=("hidden_1", "hidden_2", "output"),
        source="https://stackoverflow.com/questions/48934338",
    ),
    Program(
        name="zhang_ips5_linear_regression_diverges",
        kind=FAULTY,
        about="A line is fitted with inputs up to 8 and a learning rate of 0.1, which is above what is stable.",
        train=lambda run: train_line(run, learning_rate=0.1),
        symptom=_is_diverged,
        expect=("ExplodingGradient", "NonFiniteLoss", "UpdateTooLarge"),
        layers=("output",),
        source="https://stackoverflow.com/questions/39939881",
    ),
    Program(
        name="zhang_ips17_quadratic_features",
        kind=FAULTY,
        about="Squared errors are summed and not averaged, so that the learning rate is just above what is stable: "
        "the loss grows slowly, at every step.",
        train=_train_quadratic_features,
        symptom=_is_slowly_diverging,
        expect=("ExplodingGradient", "UpdateTooLarge"),
        layers=("output",),
        source="https://stackoverflow.com/questions/46577203",
    ),
    Program(
        name="se418955_unscaled_target_diverges",
        kind=FAULTY,
        about="Two linear layers are fitted to targets up to 9804, which nobody scaled, and diverge at once.",
        train=_train_unscaled_target,
        symptom=_is_ruined,
        expect=("ExplodingGradient", "NonFiniteLoss", "InputScale"),
        layers=("hidden", "output"),
        source="https://stats.stackexchange.com/questions/418955",
    ),
    Program(
        name="tdc_regrnn_sum_loss_unscaled",
        kind=FAULTY,
        about="Miles per gallon, times ten, from features in pounds and cubic inches, with errors summed over the "
        "batch: the gradients are huge, and the predictions are worse than the mean.",
        train=_train_sum_of_raw,
        symptom=_is_steep_and_unlearned,
        expect=("ExplodingGradient", "InputScale"),
        layers=("hidden_*", "output"),
        source="https://github.com/thedeepchecker/thedeepchecker",
    ),
    Program(
        name="so55328966_raw_pixels_sigmoid_cce",
        kind=FAULTY,
        about="Digits with pixels up to 255 go through a linear layer as they are: the first steps throw the "
        "weights about, and half of the digits stay unlearned. Each pixel is 4 by 4 here, since the published "
        "one has larger digits.",
        train=_train_raw_pixels,
        symptom=_is_thrown_and_unlearned,
        expect=("InputScale", "ExplodingGradient"),
        layers=("hidden_1",),
        source="https://stackoverflow.com/questions/55328966",
    ),
    Program(
        name="so52800582_x4_unscaled",
        kind=FAULTY,
        about="Fourth powers up to 100 million of raw inputs up to 100, which saturate the sigmoids: the loss stays "
        "at 1e15.",
        train=_train_quartic,
        symptom=_is_saturated_and_stuck,
        expect=("InputScale", "SaturatedActivation", "ExplodingGradient"),
        layers=("hidden_1",),
        source="https://stackoverflow.com/questions/52800582",
    ),
)
