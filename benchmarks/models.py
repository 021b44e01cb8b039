"""Models from a step of 1 ms to a transformer, each with one batch of random data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

layers = keras.layers
NUM_CLASSES = 10


@dataclasses.dataclass(frozen=True)
class Program:
    """A model and one batch for it.

    Args:
        model: The model, not compiled; its outputs are logits.
        x: The batch.
        y: Its labels.
    """

    model: Any
    x: Any
    y: Any


def _program(model: Any, *shape: int, words: int = 0) -> Program:
    rng = np.random.default_rng(0)
    x = rng.integers(0, words, shape) if words else rng.normal(size=shape).astype("float32")
    return Program(model, x, rng.integers(0, NUM_CLASSES, shape[0]))


def mlp(depth: int, units: int, batch: int) -> Program:
    """A multilayer perceptron with ReLU."""
    hidden = [layers.Dense(units, activation="relu") for _ in range(depth)]
    return _program(keras.Sequential([keras.Input((64,)), *hidden, layers.Dense(NUM_CLASSES)]), batch, 64)


def cnn() -> Program:
    """Two convolutions and two dense layers, on images of 28 x 28."""
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(NUM_CLASSES),
        ]
    )
    return _program(model, 32, 28, 28, 1)


def residual_cnn() -> Program:
    """Six residual blocks with BatchNormalization, on images of 32 x 32."""

    def half_block(x: Any, filters: int, stride: int) -> Any:
        x = layers.ReLU()(layers.BatchNormalization()(x))
        return layers.Conv2D(filters, 3, stride, padding="same", use_bias=False)(x)

    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)
    for filters in (16, 16, 32, 32, 64, 64):
        stride = 1 if x.shape[-1] == filters else 2
        shortcut = x if stride == 1 else layers.Conv2D(filters, 1, stride)(x)
        x = shortcut + half_block(half_block(x, filters, stride), filters, 1)
    return _program(keras.Model(inputs, layers.Dense(NUM_CLASSES)(layers.GlobalAveragePooling2D()(x))), 16, 32, 32, 3)


def transformer() -> Program:
    """An encoder of four blocks, width 128, on 64 tokens."""
    inputs = keras.Input((64,), dtype="int32")
    x = layers.Embedding(2000, 128)(inputs)
    for _ in range(4):
        x = layers.LayerNormalization()(x + layers.MultiHeadAttention(4, 32)(x, x))
        x = layers.LayerNormalization()(x + layers.Dense(128)(layers.Dense(512, activation="gelu")(x)))
    model = keras.Model(inputs, layers.Dense(NUM_CLASSES)(layers.GlobalAveragePooling1D()(x)))
    return _program(model, 16, 64, words=2000)


def lstm() -> Program:
    """An LSTM of 128 units over 40 steps."""
    return _program(keras.Sequential([keras.Input((40, 32)), layers.LSTM(128), layers.Dense(NUM_CLASSES)]), 32, 40, 32)


def recommender() -> Program:
    """A table of 200 000 rows, of which a batch touches 512."""
    table = layers.Embedding(200_000, 32)
    model = keras.Sequential(
        [keras.Input((2,), dtype="int32"), table, layers.Flatten(), layers.Dense(64, activation="relu")]
    )
    model.add(layers.Dense(NUM_CLASSES))
    return _program(model, 256, 2, words=200_000)


def many_dense() -> Program:
    """A stack of 100 small Dense layers."""
    hidden = [layers.Dense(16, activation="tanh") for _ in range(100)]
    return _program(keras.Sequential([keras.Input((16,)), *hidden, layers.Dense(NUM_CLASSES)]), 32, 16)


def many_variables() -> Program:
    """300 variables: 75 residual blocks of Dense and LayerNormalization, less what the output has."""
    x = inputs = keras.Input((64,))
    for _ in range(74):
        x = layers.LayerNormalization()(x + layers.Dense(64, activation="relu")(x))
    model = keras.Model(inputs, layers.Dense(NUM_CLASSES)(layers.Dense(64, activation="relu")(x)))
    return _program(model, 32, 64)


MODELS: dict[str, Callable[[], Program]] = {
    "MLP 4x64": lambda: mlp(4, 64, 32),
    "MLP 6x1024": lambda: mlp(6, 1024, 128),
    "CNN": cnn,
    "residual CNN": residual_cnn,
    "transformer": transformer,
    "LSTM": lstm,
    "recommender": recommender,
    "100 Dense": many_dense,
    "300 variables": many_variables,
}
