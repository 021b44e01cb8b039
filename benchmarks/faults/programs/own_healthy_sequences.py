"""Healthy models of sequences: attention and recurrence, whose gradients differ widely between their variables."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from benchmarks.faults.program import HEALTHY, Program, Run
from benchmarks.faults.programs import own_data, own_measures
from benchmarks.faults.symptoms import gain


class Positions(layers.Layer):
    """Adds a learnt vector for each position to a sequence."""

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Makes the vectors."""
        self.vectors = self.add_weight(shape=shape[1:], initializer="random_normal", name="vectors")

    def call(self, sequence: keras.KerasTensor) -> keras.KerasTensor:
        """Returns the sequence with the vectors added."""
        return sequence + self.vectors


def encoder_block(x: keras.KerasTensor, number: int, width: int = 32) -> keras.KerasTensor:
    """Attention and a small perceptron, each normalised before and added to what went in."""
    normed = layers.LayerNormalization(name=f"attention_norm_{number}")(x)
    x = x + layers.MultiHeadAttention(2, width // 2, name=f"attention_{number}")(normed, normed)
    normed = layers.LayerNormalization(name=f"perceptron_norm_{number}")(x)
    hidden = layers.Dense(2 * width, "gelu", name=f"expand_{number}")(normed)
    return x + layers.Dense(width, name=f"contract_{number}")(hidden)


def train_transformer(run: Run) -> None:
    """Tells for each token whether it is larger than the first one."""
    x, y = own_data.compared_tokens(run.rng, 1280)
    tokens = keras.Input((x.shape[1],), dtype="int32")
    hidden = Positions(name="positions")(layers.Embedding(16, 32, name="tokens")(tokens))
    for number in (1, 2):
        hidden = encoder_block(hidden, number)
    hidden = layers.LayerNormalization(name="final_norm")(hidden)
    model = keras.Model(tokens, layers.Dense(2, "softmax", name="classes")(hidden))
    model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", jit_compile=False)
    run.fit(model, x, y, epochs=6, batch_size=32)


def transformer_learns(run: Run) -> bool:
    """It is right on sequences that it never saw."""
    return (
        gain(run) > 0.5 and own_measures.accuracy(run, *own_data.compared_tokens(np.random.default_rng(99), 500)) > 0.9
    )


def train_lstm(run: Run) -> None:
    """Reads digits from top to bottom."""
    x, y = own_data.digit_rows()
    model = keras.Sequential(
        [keras.Input((8, 8)), layers.LSTM(32, name="rows"), layers.Dense(10, "softmax", name="classes")]
    )
    model.compile(keras.optimizers.Adam(4e-3), "sparse_categorical_crossentropy", jit_compile=False)
    run.fit(model, x.reshape(-1, 8, 8), y, epochs=14, batch_size=32)


def lstm_learns(run: Run) -> bool:
    """It is right on digits that were not in training."""
    x, y = own_data.digit_rows(1797)
    return gain(run) > 0.7 and own_measures.accuracy(run, x[1280:].reshape(-1, 8, 8), y[1280:]) > 0.8


def train_characters(run: Run) -> None:
    """Predicts the next character of a text at every position."""
    x, y, size = own_data.characters()
    model = keras.Sequential(
        [
            keras.Input((own_data.WINDOW,), dtype="int32"),
            layers.Embedding(size, 24, name="letters"),
            layers.GRU(64, return_sequences=True, name="memory"),
            layers.Dense(size, name="next_letter"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(5e-3, clipnorm=1.0), loss, jit_compile=False)
    run.fit(model, x, y, epochs=6, batch_size=32)


def characters_learn(run: Run) -> bool:
    """It predicts far better than the frequencies of the characters could."""
    x, y, size = own_data.characters()
    shares = np.bincount(y.ravel(), minlength=size) / y.size
    entropy = -(shares[shares > 0] * np.log(shares[shares > 0])).sum()
    return run.losses[-1] < 0.7 * entropy and own_measures.accuracy(run, x, y) > 0.4


PROGRAMS: tuple[Program, ...] = (
    Program(
        name="transformer_tokens",
        kind=HEALTHY,
        about="A transformer encoder classifies tokens; the bias of its keys has no gradient but rounding errors.",
        train=train_transformer,
        symptom=transformer_learns,
    ),
    Program(
        name="lstm_digit_rows",
        kind=HEALTHY,
        about="An LSTM reads digits row by row; its recurrent kernel has far smaller gradients than its output.",
        train=train_lstm,
        symptom=lstm_learns,
    ),
    Program(
        name="gru_characters",
        kind=HEALTHY,
        about="A GRU predicts the next character of a text; rare characters have hardly any gradient.",
        train=train_characters,
        symptom=characters_learn,
        held_back=True,
    ),
)
