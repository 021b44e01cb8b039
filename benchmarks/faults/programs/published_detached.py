"""Published programs of which a part gets no gradient at all, since it is cut off from the loss or frozen."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from benchmarks.faults import symptoms
from benchmarks.faults.program import FAULTY, Program, Run
from benchmarks.faults.programs import data, published_symptoms


class _HiddenLossModel(keras.Model):
    """A model whose loss takes the first of its outputs, and forgets the second."""

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *args: Any, **options: Any) -> Any:
        return ops.sum(y_pred[0])


def _train_hidden_loss(run: Run) -> None:
    x, y = _threshold(run.rng)
    inputs = keras.Input((8,))
    hidden = layers.Dense(2, "sigmoid", name="hidden")(inputs)
    model = _HiddenLossModel(inputs, [hidden, layers.Dense(1, name="output")(hidden)], name="model")
    model.compile("adam")
    run.fit(model, x, y, batch_size=32, epochs=10)


def _is_output_forgotten(run: Run) -> bool:
    is_cut = published_symptoms.is_unchanged(run, "output") and published_symptoms.is_changed(run, "hidden")
    return is_cut and symptoms.gain(run) > 0.02


def _threshold(rng: np.random.Generator) -> data.Arrays:
    x = rng.normal(size=(320, 8)).astype("float32")
    return x, (x[:, :1] + x[:, 1:2] > 0).astype("float32")


def _cast_error(y: Any, predicted: Any) -> Any:
    return ops.mean(ops.square(y - ops.cast(predicted > 0.5, "float32")))


def _train_cast(run: Run) -> None:
    x, y = _threshold(run.rng)
    hidden, output = layers.Dense(16, "relu", name="hidden"), layers.Dense(1, "sigmoid", name="output")
    model = keras.Sequential([keras.Input((8,)), hidden, output])
    model.compile("adam", _cast_error)
    run.fit(model, x, y, batch_size=32, epochs=10)


def _is_refused(run: Run) -> bool:
    # A watch quotes what Keras says in an error of its own.
    return "No gradients provided" in str(run.error) and not run.losses and published_symptoms.is_unchanged(run, "*")


def _features(rng: np.random.Generator) -> np.ndarray:
    return (rng.normal(size=(320, 8)) + 1).astype("float32")


def _train_argmax(run: Run) -> None:
    x = _features(run.rng)
    inputs = keras.Input((8,))
    code = layers.Dense(10, "softmax", name="encoder_code")(layers.Dense(16, "relu", name="encoder_hidden")(inputs))
    symbol = layers.Embedding(10, 8, name="embedding")(ops.argmax(code, axis=-1))
    model = keras.Model(inputs, layers.Dense(8, name="decoder")(symbol))
    model.compile("adam", "mse")
    run.fit(model, x, x, batch_size=32, epochs=20)


def _is_encoder_cut_off(run: Run) -> bool:
    is_cut = published_symptoms.is_unchanged(run, "encoder_*")
    return is_cut and published_symptoms.is_changed(run, "embedding", "decoder") and symptoms.gain(run) > 0.1


class _NoisyDense(layers.Layer):
    """A dense layer with noise on its weights, whose call forgets the bias that its build made."""

    def __init__(self, units: int, **options: Any) -> None:
        super().__init__(**options)
        self.units = units
        self.seeds = keras.random.SeedGenerator()

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        size = input_shape[-1], self.units
        spread = keras.initializers.Constant(0.05)
        self.kernel_mu = self.add_weight(shape=size, initializer="glorot_uniform", name="kernel_mu")
        self.kernel_sigma = self.add_weight(shape=size, initializer=spread, name="kernel_sigma")
        self.bias_mu = self.add_weight(shape=size[1:], initializer="zeros", name="bias_mu")
        self.bias_sigma = self.add_weight(shape=size[1:], initializer=spread, name="bias_sigma")

    def call(self, inputs: Any) -> Any:
        noise = keras.random.normal(self.kernel_mu.shape, seed=self.seeds)
        return ops.relu(ops.matmul(inputs, self.kernel_mu + self.kernel_sigma * noise))


def _train_noisy(run: Run) -> None:
    x, y = _threshold(run.rng)
    model = keras.Sequential([keras.Input((8,)), _NoisyDense(16, name="noisy"), layers.Dense(1, name="output")])
    model.compile("adam", "mse")
    run.fit(model, x, y, batch_size=32, epochs=20)


def _is_bias_unused(run: Run) -> bool:
    is_cut = published_symptoms.is_unchanged(run, "bias_mu", "bias_sigma")
    return is_cut and published_symptoms.is_changed(run, "kernel_mu", "kernel_sigma", "output")


def _train_frozen(run: Run) -> None:
    x, y = _threshold(run.rng)
    hidden, output = layers.Dense(16, "relu", name="hidden"), layers.Dense(1, name="output")
    model = keras.Sequential([keras.Input((8,)), hidden, output])
    model.trainable = False
    model.compile("adam", "mse")
    run.fit(model, x, y, batch_size=32, epochs=5)


def _is_frozen(run: Run) -> bool:
    return published_symptoms.is_flat(run, 1e-5) and published_symptoms.is_unchanged(run, "*") and len(run.losses) == 5


PROGRAMS: tuple[Program, ...] = (
    Program(
        name="so51257037_output_layer_not_in_loss",
        kind=FAULTY,
        about="The loss is the sum of the hidden activations: the layer after them is in no loss and never moves.",
        train=_train_hidden_loss,
        symptom=_is_output_forgotten,
        expect=("DetachedVariable",),
        layers=("output",),
        source="https://stackoverflow.com/questions/51257037",
    ),
    Program(
        name="cast_in_loss",
        kind=FAULTY,
        about="The loss casts a comparison to numbers, through which no gradient comes: Keras refuses to train.",
        train=_train_cast,
        symptom=_is_refused,
        expect=("DetachedVariable",),
        layers=("hidden", "output"),
        source="https://markaicode.com/custom-gradients-non-differentiable-losses",
    ),
    Program(
        name="keras11157_argmax_mid_graph",
        kind=FAULTY,
        about="An autoencoder picks its code by argmax, which cuts the encoder off; the decoder trains, and the "
        "loss falls.",
        train=_train_argmax,
        symptom=_is_encoder_cut_off,
        expect=("DetachedVariable",),
        layers=("encoder_*",),
        source="https://github.com/keras-team/keras/issues/11157",
    ),
    Program(
        name="tf32729_unused_weight_in_build",
        kind=FAULTY,
        about="A layer with noisy weights makes biases that its call does not use.",
        train=_train_noisy,
        symptom=_is_bias_unused,
        expect=("DetachedVariable",),
        layers=("noisy",),
        source="https://github.com/tensorflow/tensorflow/issues/32729",
    ),
    Program(
        name="keras4674_frozen_model",
        kind=FAULTY,
        about="The whole model is frozen when it is compiled: no weight moves and the loss stays.",
        train=_train_frozen,
        symptom=_is_frozen,
        expect=("NoTrainableVariables",),
        source="https://github.com/keras-team/keras/issues/4674",
    ),
)
