"""Published programs whose loss or gradient is NaN or Inf by the way it is computed."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

from benchmarks.faults import symptoms
from benchmarks.faults.program import FAULTY, Program, Run
from benchmarks.faults.programs import data, published_symptoms


def _plain_cross_entropy(y: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    return -ops.sum(y * ops.log(probabilities), axis=-1)


def _train_plain_log(run: Run) -> None:
    x, y = data.digits(1000, scale=1)

    def first(stddev: float = 0.1) -> keras.initializers.Initializer:
        return keras.initializers.TruncatedNormal(stddev=stddev)

    bias = keras.initializers.Constant(0.1)
    model = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(256, "relu", kernel_initializer=first(), bias_initializer=bias, name="hidden"),
            layers.Dropout(0.5),
            layers.Dense(10, kernel_initializer=first(), bias_initializer=bias, name="logits"),
            layers.Softmax(),
        ]
    )
    model.compile(keras.optimizers.Adam(0.03), _plain_cross_entropy)
    run.fit(model, x, data.one_hot(y, 10), batch_size=50, epochs=10)


def _is_log_of_zero(run: Run) -> bool:
    x, _ = data.digits(1000, scale=1)
    first = published_symptoms.at_first(run, lambda: published_symptoms.predictions(run, x))
    is_good_at_first = bool((first > 0).all())
    return is_good_at_first and symptoms.is_nonfinite(run) and published_symptoms.is_ruined(run, "hidden", "logits")


def _pairs(rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    left, right = rng.normal(size=(2, 320, 8)).astype("float32")
    is_same = (np.arange(320) % 2 == 0)[:, None]
    return [left, np.where(is_same, left, right)], is_same.astype("float32")


def train_siamese(run: Run, epsilon: float = 0.0) -> None:
    """Trains an encoder of pairs, half of which are the same row twice; `epsilon` is the least square of a distance."""
    x, y = _pairs(run.rng)
    encoder = [layers.Dense(16, "relu", name="encoder_hidden"), layers.Dense(8, name="encoder_output")]
    inputs = [keras.Input((8,)), keras.Input((8,))]
    left, right = (encoder[1](encoder[0](one)) for one in inputs)
    square = ops.sum(ops.square(left - right), axis=1, keepdims=True)
    distance = ops.sqrt(ops.maximum(square, epsilon) if epsilon else square)
    model = keras.Model(inputs, distance)
    model.compile(keras.optimizers.Adam(1e-3), _contrastive)
    run.fit(model, x, y, batch_size=32, epochs=12)


def _contrastive(is_same: np.ndarray, distance: np.ndarray) -> np.ndarray:
    return is_same * distance + (1 - is_same) * ops.square(ops.maximum(3 - distance, 0.0))


def _is_ruined_by_gradient(run: Run) -> bool:
    x, _ = _pairs(published_symptoms.data_rng(run))
    first = published_symptoms.at_first(run, lambda: np.asarray(run.model(x, training=False)))
    return bool(np.isfinite(first).all()) and published_symptoms.is_ruined(run, "encoder_*")


def _triplets(rng: np.random.Generator) -> list[np.ndarray]:
    anchor, *noise = rng.normal(size=(3, 320, 8)).astype("float32")
    positive, negative = anchor + 0.05 * noise[0], anchor + 0.1 * noise[1]
    positive[::4] = anchor[::4]
    return [anchor, positive, negative]


def _train_triplets(run: Run) -> None:
    x = _triplets(run.rng)
    encoder = [layers.Dense(32, "relu", name="encoder_hidden"), layers.Dense(8, name="encoder_output")]
    inputs = [keras.Input((8,)) for _ in range(3)]
    anchor, positive, negative = (encoder[1](encoder[0](one)) for one in inputs)
    distances = [ops.sqrt(ops.sum(ops.square(anchor - other), axis=1)) for other in (positive, negative)]
    model = keras.Model(inputs, ops.stack(distances, axis=1))
    model.compile(keras.optimizers.Adam(1e-3), lambda _, out: ops.maximum(out[:, 0] - out[:, 1] + 0.2, 0.0))
    run.fit(model, x, np.zeros((320, 2), "float32"), batch_size=32, epochs=10)


def _is_encoder_ruined(run: Run) -> bool:
    x = _triplets(published_symptoms.data_rng(run))
    first = published_symptoms.at_first(run, lambda: np.asarray(run.model(x, training=False)))
    return bool(np.isfinite(first).all()) and published_symptoms.is_ruined(run, "encoder_*")


def _train_handmade_softmax(run: Run) -> None:
    x, y = data.digits(1000, scale=1)

    def dense(units: int, activation: str | None, name: str) -> layers.Layer:
        first = keras.initializers.RandomUniform(-0.4, 0.4)
        return layers.Dense(units, activation, kernel_initializer=first, name=name)

    inputs = keras.Input((64,))
    logits = dense(10, None, "logits")(dense(100, "relu", "hidden_2")(dense(200, "relu", "hidden_1")(inputs)))
    powers = ops.exp(logits)
    model = keras.Model(inputs, powers / ops.sum(powers, axis=1, keepdims=True))
    model.compile(keras.optimizers.SGD(0.01), _plain_cross_entropy)
    run.fit(model, x, data.one_hot(y, 10), batch_size=100, epochs=10)


def _is_overflowing_at_first(run: Run) -> bool:
    x, _ = data.digits(1000, scale=1)
    logits = published_symptoms.at_first(run, lambda: published_symptoms.activations(run, "logits", x))
    is_too_large = np.mean(logits.max(axis=1) > 88.8) > 0.01
    return bool(is_too_large and np.isnan(run.losses[0])) and published_symptoms.is_ruined(run, "hidden_*", "logits")


def _masked_series(rng: np.random.Generator) -> data.Arrays:
    x = rng.normal(size=(320, 10, 4)).astype("float32")
    y = (x.sum(axis=2, keepdims=True) > 0).astype("float32")
    y[rng.uniform(size=y.shape) < 0.2] = -1
    y[160:192] = -1  # the sixth batch of 32
    return x, y


def _masked_error(y: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    mask = ops.cast(ops.not_equal(y, -1.0), "float32")
    return ops.sum(mask * ops.square(y - predicted)) / ops.sum(mask)


def _train_masked(run: Run) -> None:
    x, y = _masked_series(run.rng)
    hidden, output = layers.Dense(16, "relu", name="hidden"), layers.Dense(1, name="output")
    model = keras.Sequential([keras.Input((10, 4)), hidden, output])
    model.compile("adam", _masked_error)
    run.fit(model, x, y, batch_size=32, epochs=10, shuffle=False)


def _is_ruined_by_masked_batch(run: Run) -> bool:
    x, y = _masked_series(published_symptoms.data_rng(run))
    predicted = published_symptoms.at_first(run, lambda: published_symptoms.predictions(run, x))
    kept = [bool((part != -1).any()) for part in y.reshape(10, -1)]
    is_finite = bool(np.isfinite(predicted).all())
    return is_finite and kept.count(False) == 1 and published_symptoms.is_ruined(run, "hidden", "output")


PROGRAMS: tuple[Program, ...] = (
    Program(
        name="zhang_ips1_log_softmax_mnist",
        kind=FAULTY,
        about="Digits with a cross-entropy written by hand, without a bound: it takes the logarithm of a "
        "probability that became zero. Pixels up to 16 and a learning rate of 0.03 make it quick.",
        train=_train_plain_log,
        symptom=_is_log_of_zero,
        expect=("NonFiniteLoss", "NonFiniteGradient"),
        source="https://stackoverflow.com/questions/33712178",
    ),
    Program(
        name="keras9097_siamese_sqrt_zero",
        kind=FAULTY,
        about="Two equal rows have a distance of zero, whose square root has no gradient: the first loss is finite, "
        "the weights after it are NaN. Equal rows count with their distance, since TensorFlow bounds that of "
        "its square.",
        train=train_siamese,
        symptom=_is_ruined_by_gradient,
        expect=("NonFiniteGradient",),
        layers=("encoder_*",),
        source="https://github.com/keras-team/keras/issues/9097",
    ),
    Program(
        name="tf30199_triplet_identical_anchor",
        kind=FAULTY,
        about="Triplets, in some of which the anchor is the positive one: the norm of their difference has no "
        "gradient. The negatives are near enough for the margin to count.",
        train=_train_triplets,
        symptom=_is_encoder_ruined,
        expect=("NonFiniteGradient",),
        layers=("encoder_*",),
        source="https://github.com/tensorflow/tensorflow/issues/30199",
    ),
    Program(
        name="grist_id11_handmade_softmax_overflow",
        kind=FAULTY,
        about="Digits with pixels up to 16 and a softmax written by hand, whose exponential overflows at the first "
        "step. Weights start within 0.4 and not 0.25, since there are 64 pixels and not 784.",
        train=_train_handmade_softmax,
        symptom=_is_overflowing_at_first,
        expect=("NonFiniteLoss", "NonFiniteGradient", "ExplodingGradient"),
        source="https://github.com/Jacob-yen/GRIST",
    ),
    Program(
        name="keras7517_all_masked_batch",
        kind=FAULTY,
        about="A masked loss divides by the number of labels that count, which is 0 for one batch of the ten.",
        train=_train_masked,
        symptom=_is_ruined_by_masked_batch,
        expect=("NonFiniteLoss", "NonFiniteGradient"),
        source="https://github.com/keras-team/keras/issues/7517",
    ),
)
