"""Published programs that hardly learn: gradients that vanish, units that die, weights that stay the same."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from benchmarks.faults import symptoms
from benchmarks.faults.program import FAULTY, Program, Run
from benchmarks.faults.programs import data, published_symptoms

_NUM_DEEP = 34
_NUM_NARROW = 15


def _train_deep_relu(run: Run) -> None:
    x, y = data.digits(640)
    hidden = [layers.Dense(64, "relu", name=f"hidden_{n}") for n in range(1, _NUM_DEEP + 1)]
    model = keras.Sequential([keras.Input((64,)), *hidden, layers.Dense(10, "softmax", name="output")])
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    run.fit(model, x, y, batch_size=32, epochs=5)


def _is_deep_unlearned(run: Run) -> bool:
    x, y = data.digits(640)
    last = published_symptoms.activations(run, f"hidden_{_NUM_DEEP}", x)
    is_at_chance = published_symptoms.accuracy(y, published_symptoms.predictions(run, x)) < 0.3
    return bool(is_at_chance and published_symptoms.is_dead(last).mean() > 0.3)


def _bits(rng: np.random.Generator) -> data.Arrays:
    x = (np.arange(256)[:, None] >> np.arange(8) & 1).astype("float32")
    return x, rng.permutation(x)


def _train_bits(run: Run) -> None:
    x, y = _bits(run.rng)
    names = ("hidden_1", "hidden_2", "output")
    stack = [layers.Dense(8, "sigmoid", kernel_initializer="random_normal", name=name) for name in names]
    model = keras.Sequential([keras.Input((8,)), *stack])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    run.fit(model, x, y, batch_size=50, epochs=50)


def _is_nothing_learned(run: Run) -> bool:
    changes = [np.linalg.norm(now - then) / np.linalg.norm(then) for then, now in _kernels(run, "hidden_1", "hidden_2")]
    return max(changes) < 1e-2 and 0.24 < run.losses[-1] < 0.26


def _kernels(run: Run, *names: str) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(then, now) for then, now in published_symptoms.weights_of(run, *names) if then.ndim == 2]


def _train_tiny_weights(run: Run) -> None:
    x = run.rng.uniform(-1, 1, (1000, 1)).astype("float32")

    def dense(units: int, activation: str | None, name: str) -> layers.Layer:
        first = [keras.initializers.RandomNormal(stddev=1e-3) for _ in range(2)]
        return layers.Dense(units, activation, kernel_initializer=first[0], bias_initializer=first[1], name=name)

    model = keras.Sequential(
        [keras.Input((1,)), dense(16, "relu", "hidden_1"), dense(16, "relu", "hidden_2"), dense(1, None, "output")]
    )
    model.compile(keras.optimizers.SGD(1e-3, clipvalue=4.5), lambda y, out: keras.ops.square(y - 2 * out))
    run.fit(model, x, x, batch_size=1, epochs=3)


def _is_middle_still(run: Run) -> bool:
    x = np.linspace(-1, 1, 101, dtype="float32")[:, None]
    [(before, now)] = _kernels(run, "hidden_2")
    is_still = np.linalg.norm(now - before) < 0.01 * np.linalg.norm(before)
    is_constant = np.ptp(published_symptoms.predictions(run, x)) < 1e-3
    return bool(is_still and is_constant and abs(symptoms.gain(run)) < 0.05)


def _train_same_units(run: Run) -> None:
    x, y = data.cars(run.rng)
    same = keras.initializers.Constant(0.01)
    hidden = [layers.Dense(64, "relu", kernel_initializer=same, name=f"hidden_{n}") for n in (1, 2)]
    model = keras.Sequential([keras.Input((9,)), *hidden, layers.Dense(1, name="output")])
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    run.fit(model, data.standardized(x), y, epochs=20)


def _are_units_same(run: Run) -> bool:
    kernel = run.weights[0]
    is_same = np.abs(kernel - kernel[:, :1]).max() < 1e-3 * np.abs(kernel).max()
    return bool(is_same and published_symptoms.is_changed(run, "hidden_1"))


def _absolute(rng: np.random.Generator) -> data.Arrays:
    x = rng.uniform(-(3**0.5), 3**0.5, (320, 1)).astype("float32")
    return x, np.abs(x)


def _train_narrow(run: Run) -> None:
    x, y = _absolute(run.rng)
    hidden = [
        layers.Dense(2, "relu", kernel_initializer="he_normal", name=f"hidden_{n}") for n in range(1, _NUM_NARROW + 1)
    ]
    model = keras.Sequential([keras.Input((1,)), *hidden, layers.Dense(1, name="output")])
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    run.fit(model, x, y, batch_size=32, epochs=15)


def _is_collapsed(run: Run) -> bool:
    x, _ = _absolute(published_symptoms.data_rng(run))
    last = published_symptoms.activations(run, f"hidden_{_NUM_NARROW}", x)
    is_still = published_symptoms.is_unchanged(run, "hidden_*")
    return bool(is_still and (last == 0).all() and np.ptp(published_symptoms.predictions(run, x)) == 0)


def _curve(rng: np.random.Generator) -> data.Arrays:
    x = rng.uniform(size=(3000, 1)).astype("float32")
    return x, x**4 + x**3 - x


def _train_slowly(run: Run) -> None:
    x, y = _curve(run.rng)
    model = keras.Sequential(
        [
            keras.Input((1,)),
            layers.Dense(200, "relu", name="hidden_1"),
            layers.Dense(45, "relu", name="hidden_2"),
            layers.Dense(1, name="output"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.01), "mse")
    run.fit(model, x, y, batch_size=50, epochs=20)


def _is_underfitted(run: Run) -> bool:
    x, y = _curve(published_symptoms.data_rng(run))
    is_falling = np.mean(run.losses[-3:]) < 0.98 * np.mean(run.losses[-6:-3])
    return bool(is_falling and published_symptoms.explained(y, published_symptoms.predictions(run, x)) < 0.9)


PROGRAMS: tuple[Program, ...] = (
    Program(
        name="autotrainer_dying_relu_34_layers",
        kind=FAULTY,
        about=f"Digits through {_NUM_DEEP} layers of ReLU with Glorot's initializer: the signal is lost, units of "
        "the deep layers are dead for every row, and nothing is learned.",
        train=_train_deep_relu,
        symptom=_is_deep_unlearned,
        expect=("DeadUnits", "VanishingGradient"),
        layers=("hidden_*",),
        source="https://github.com/shiningrain/AUTOTRAINER",
    ),
    Program(
        name="so39217567_sigmoid_stack_bits",
        kind=FAULTY,
        about="Eight bits through three layers of small sigmoids, with a small learning rate: the gradients of the "
        "first two are tiny, and the loss stays what a coin has. Rows of the targets are shuffled besides, as "
        "published.",
        train=_train_bits,
        symptom=_is_nothing_learned,
        expect=("VanishingGradient", "UpdateTooSmall"),
        layers=("hidden_1", "hidden_2"),
        source="https://stackoverflow.com/questions/39217567",
    ),
    Program(
        name="so_intermediate_layer_stops_optimizer",
        kind=FAULTY,
        about="Weights and biases start at about 0.001, so that next to no gradient comes through the layer in the "
        "middle, and the output does not depend on the input.",
        train=_train_tiny_weights,
        symptom=_is_middle_still,
        expect=("VanishingGradient",),
        layers=("hidden_*",),
        source="https://techfeed.net/pt/473708/",
    ),
    Program(
        name="tdc_regrnn_constant_init",
        kind=FAULTY,
        about="All weights of the hidden layers start at 0.01: all units of the first one get the same gradient, "
        "and are one and the same unit to the end.",
        train=_train_same_units,
        symptom=_are_units_same,
        expect=("ZeroGradient",),
        layers=("hidden_*",),
        source="https://github.com/thedeepchecker/thedeepchecker",
    ),
    Program(
        name="lu2018_collapse_deep_narrow",
        kind=FAULTY,
        about=f"An absolute value through {_NUM_NARROW} layers of two ReLU units, more than published so that it "
        "collapses for every seed: one layer is dead, no hidden weight ever moves, and the output is the "
        "mean.",
        train=_train_narrow,
        symptom=_is_collapsed,
        expect=("DeadUnits", "ZeroGradient"),
        layers=("hidden_*",),
        source="https://arxiv.org/abs/1808.04947",
    ),
    Program(
        name="so44998910_lr_too_low",
        kind=FAULTY,
        about="A smooth curve without noise is badly fitted after 20 epochs of SGD with 0.01, and the loss still "
        "falls: the gradients are sound, and the steps too small.",
        train=_train_slowly,
        symptom=_is_underfitted,
        expect=("UpdateTooSmall", "StalledLoss"),
        source="https://stackoverflow.com/questions/44998910",
    ),
)
