"""Faults that end in NaN or Inf: in the loss, in a gradient, in a weight alone, in the data, or in float16."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from benchmarks.faults.program import FAULTY, Program, Run
from benchmarks.faults.programs import own_data, own_measures

BLANKS = slice(600, 620)


def bare_cross_entropy(y: Any, predicted: Any) -> Any:
    """Binary cross-entropy as in the book, without regard to a probability of exactly 0 or 1."""
    return -ops.mean(y * ops.log(predicted) + (1.0 - y) * ops.log(1.0 - predicted))


def train_bare_log(run: Run) -> None:
    """Tells benign tumours with a cross-entropy of its own."""
    x, y = own_data.tumours()
    model = keras.Sequential(
        [
            keras.Input((30,)),
            layers.Dense(32, "relu", name="hidden_1"),
            layers.Dense(32, "relu", name="hidden_2"),
            layers.Dense(1, "sigmoid", name="benign"),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-2), bare_cross_entropy, jit_compile=False)
    run.fit(model, x, y, epochs=12, batch_size=32)


def bare_log_breaks(run: Run) -> bool:
    """The data and the first weights give a finite loss, and in the end the loss and all weights are NaN."""
    x, y = own_data.tumours()
    with own_measures.first_weights(run):
        before = bare_cross_entropy(y, own_measures.outputs(run, x).astype("float32"))
    broken = all(np.isnan(weight).all() for weight in run.weights)
    return bool(np.isfinite(before)) and not np.isfinite(run.losses[-1]) and broken


class RowScaling(layers.Layer):
    """Standardises each row, without an epsilon for one whose values are all the same."""

    def call(self, x: Any) -> Any:
        """Returns rows with mean 0 and deviation 1, or 0 / 0 for a row without deviation."""
        centred = x - ops.mean(x, axis=-1, keepdims=True)
        return centred / ops.sqrt(ops.mean(ops.square(centred), axis=-1, keepdims=True))


def partly_blank() -> tuple[np.ndarray, np.ndarray]:
    """Digits of which a few were never scanned: all their pixels are 0."""
    x, y = own_data.digit_rows()
    x[BLANKS] = 0.0
    return x, y


def train_row_scaling(run: Run) -> None:
    """Classifies digits through a layer that standardises rows of hidden values."""
    x, y = partly_blank()
    model = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(32, use_bias=False, name="hidden"),
            RowScaling(name="row_scaling"),
            layers.Dense(10, "softmax", name="classes"),
        ]
    )
    model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", jit_compile=False)
    run.fit(model, x, y, epochs=5, batch_size=16, shuffle=False)


def row_scaling_breaks(run: Run) -> bool:
    """With the first weights the outputs of blank rows alone are NaN; all weights are NaN in the end."""
    x, _ = partly_blank()
    with own_measures.first_weights(run):
        finite = np.isfinite(own_measures.outputs(run, x)).all(axis=1)
    blank = ~x.any(axis=1)
    return bool(np.array_equal(finite, ~blank) and all(np.isnan(weight).all() for weight in run.weights))


def train_missing_values(run: Run) -> None:
    """Predicts the progress of a disease for patients of whom some were not weighed."""
    x, y = own_data.diabetes()
    x[run.rng.choice(len(x), 8, replace=False), 2] = np.nan
    model = keras.Sequential(
        [keras.Input((10,)), layers.Dense(16, "tanh", name="hidden"), layers.Dense(1, name="progress")]
    )
    model.compile(keras.optimizers.Adam(5e-3), "mse", jit_compile=False)
    run.fit(model, x, own_data.standardised(y), epochs=12, batch_size=32)


def missing_values_break(run: Run) -> bool:
    """All weights are NaN, and the first ones were fit for complete patients."""
    x, _ = own_data.diabetes()
    with own_measures.first_weights(run):
        finite = np.isfinite(own_measures.outputs(run, x)).all()
    return bool(finite and all(np.isnan(weight).all() for weight in run.weights) and np.isnan(run.losses[-1]))


def sharp_likelihood(y: Any, predicted: Any) -> Any:
    """Negative log-likelihood of a normal distribution, but for its constant, of deviation 1e-18."""
    return 0.5 * ops.mean(ops.square((ops.cast(y, "float32") - predicted) * 1e18))


def train_sharp_likelihood(run: Run) -> None:
    """Predicts the progress of a disease in float16, with a loss so large that no loss scale saves it."""
    x, y = own_data.diabetes()
    model = keras.Sequential(
        [
            keras.Input((10,)),
            layers.Dense(16, "relu", dtype="mixed_float16", name="hidden_1"),
            layers.Dense(16, "relu", dtype="mixed_float16", name="hidden_2"),
            layers.Dense(1, dtype="float32", name="progress"),
        ]
    )
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-3))
    model.compile(optimizer, sharp_likelihood, jit_compile=False)
    run.fit(model, x, own_data.standardised(y), epochs=7, batch_size=32)


def sharp_likelihood_stands(run: Run) -> bool:
    """Not one step was applied, and the loss scale fell far below 1."""
    same = all(np.array_equal(now, first) for now, first in zip(run.weights, run.first_weights, strict=True))
    return same and float(run.model.optimizer.dynamic_scale) < 1e-6


class UnitRows(keras.constraints.Constraint):
    """Gives each row length 1, and a row of zeros 0 / 0."""

    def __call__(self, rows: Any) -> Any:
        """Returns the rows, each divided by its length."""
        return rows / ops.sqrt(ops.sum(ops.square(rows), axis=-1, keepdims=True))


def train_unit_rows(run: Run) -> None:
    """Classifies bags of tokens; the vector of the padding, which no row uses, starts at 0."""
    x, y = own_data.token_bags(run.rng, 1280)
    tokens = layers.Embedding(30, 8, embeddings_constraint=UnitRows(), name="tokens")
    model = keras.Sequential(
        [
            keras.Input((8,), dtype="int32"),
            tokens,
            layers.GlobalAveragePooling1D(),
            layers.Dense(1, "sigmoid", name="high"),
        ]
    )
    tokens.embeddings.assign(ops.concatenate([ops.zeros((1, 8)), tokens.embeddings[1:]], axis=0))
    model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy", jit_compile=False)
    run.fit(model, x, y, epochs=5, batch_size=32)


def unit_rows_break(run: Run) -> bool:
    """The padding alone is NaN: losses and other vectors are finite, and a row with padding gets no prediction."""
    vectors = run.weights[0]
    padded = own_measures.outputs(run, np.array([[0, 1, 2, 3, 4, 5, 6, 7]], dtype="int32"))
    alone = np.isnan(vectors[0]).all() and np.isfinite(vectors[1:]).all()
    finite_before = np.isfinite(run.first_weights[0]).all()
    return bool(alone and finite_before and np.isfinite(run.losses).all() and np.isnan(padded))


PROGRAMS: tuple[Program, ...] = (
    Program(
        name="cross_entropy_bare_log",
        kind=FAULTY,
        about="A cross-entropy takes the log of 1 - p with no epsilon; once p is exactly 1, the loss is NaN.",
        train=train_bare_log,
        symptom=bare_log_breaks,
        expect=("NonFiniteLoss", "NonFiniteGradient", "NonFiniteWeight"),
    ),
    Program(
        name="row_scaling_without_deviation",
        kind=FAULTY,
        about="Rows are divided by their deviation, which is 0 for a few blank images in the middle of an epoch.",
        train=train_row_scaling,
        symptom=row_scaling_breaks,
        expect=("NonFiniteLoss", "NonFiniteGradient", "NonFiniteWeight"),
        layers=("hidden", "row_scaling"),
        held_back=True,
    ),
    Program(
        name="missing_values",
        kind=FAULTY,
        about="A few missing values of a feature came in as NaN.",
        train=train_missing_values,
        symptom=missing_values_break,
        expect=("NonFiniteInput", "NonFiniteLoss", "NonFiniteGradient", "NonFiniteWeight"),
    ),
    Program(
        name="sharp_likelihood_half_precision",
        kind=FAULTY,
        about="A likelihood with a deviation of 1e-18 overflows float16 in every step, whatever the loss scale.",
        train=train_sharp_likelihood,
        symptom=sharp_likelihood_stands,
        expect=("LossScaleCollapse", "NonFiniteGradient", "NonFiniteLoss", "UnchangedVariable", "StalledLoss"),
    ),
    Program(
        name="unit_rows_of_padding",
        kind=FAULTY,
        about="A constraint divides the unused vector of the padding, which is 0, by its length: a row of a weight is "
        "NaN while the loss and all gradients stay finite.",
        train=train_unit_rows,
        symptom=unit_rows_break,
        expect=("NonFiniteWeight",),
        layers=("tokens",),
    ),
)
