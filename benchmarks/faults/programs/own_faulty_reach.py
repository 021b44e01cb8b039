"""Faults of reach: variables that no gradient gets to, or whose gradient nobody applies."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from benchmarks.faults.program import FAULTY, Program, Run
from benchmarks.faults.programs import own_data, own_measures
from benchmarks.faults.symptoms import gain


class Code(layers.Layer):
    """Hands on a code, but not its gradient: a line that was meant for one experiment and stayed."""

    def call(self, code: Any) -> Any:
        """Returns the code."""
        return ops.stop_gradient(code)


def train_stopped(run: Run) -> None:
    """Codes digits by an encoder that the loss cannot reach."""
    x, _ = own_data.digit_rows()
    model = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(32, "relu", name="encoder_1"),
            layers.Dense(8, name="encoder_2"),
            Code(name="code"),
            layers.Dense(32, "relu", name="decoder_1"),
            layers.Dense(64, "sigmoid", name="decoder_2"),
        ]
    )
    model.compile(keras.optimizers.Adam(3e-3), "mse", jit_compile=False)
    run.fit(model, x, x, epochs=6, batch_size=32)


def stopped_stands(run: Run) -> bool:
    """No bit of the encoder changed and its gradient is `None`, while the decoder learnt what it could."""
    x, _ = own_data.digit_rows()
    encoder = own_measures.changes(run, "encoder_1") + own_measures.changes(run, "encoder_2")
    decoder = own_measures.changes(run, "decoder_1") + own_measures.changes(run, "decoder_2")
    norms = own_measures.grad_norms(run, x, x)
    cut = all(np.isnan(norm) == path.startswith("encoder") for path, norm in norms.items())
    return max(encoder) == 0.0 and min(decoder) > 0.05 and cut and gain(run) > 0.1


class HeadFirst(keras.Model):
    """A classifier whose step gives the optimizer the variables of its head, and forgets those of its body."""

    def __init__(self) -> None:
        super().__init__()
        self.body = layers.Dense(32, "relu", name="body")
        self.head = layers.Dense(10, "softmax", name="head")
        self.mean_loss = keras.metrics.Mean(name="loss")

    @property
    def metrics(self) -> list[Any]:
        """The mean loss alone: Keras' own one would stay at 0."""
        return [self.mean_loss]

    def call(self, x: Any) -> Any:
        """Returns the probabilities of the classes."""
        return self.head(self.body(x))

    def train_step(self, data: Any) -> dict[str, Any]:
        """Follows the gradient of the head."""
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x=x, y=y, y_pred=self(x, training=True))
        variables = self.head.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        self.mean_loss.update_state(loss)
        return {"loss": self.mean_loss.result()}


def train_head_alone(run: Run) -> None:
    """Classifies digits by the head of a network whose body was to be trained too."""
    x, y = own_data.digit_rows()
    model = HeadFirst()
    model(x[:1])
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", jit_compile=False)
    run.fit(model, x, y, epochs=6, batch_size=32)


def body_stands(run: Run) -> bool:
    """No bit of the trainable body changed although it has a gradient, while the head did."""
    body, head = own_measures.changes(run, "body"), own_measures.changes(run, "head")
    norms = own_measures.grad_norms(run, *own_data.digit_rows())
    reached = all(norm > 1e-4 for norm in norms.values()) and len(norms) == 4
    return max(body) == 0.0 and min(head) > 0.05 and reached and all(v.trainable for v in run.model.body.weights)


PROGRAMS: tuple[Program, ...] = (
    Program(
        name="stopped_encoder",
        kind=FAULTY,
        about="The gradient is stopped between encoder and decoder; the loss falls all the same, by the decoder.",
        train=train_stopped,
        symptom=stopped_stands,
        expect=("DetachedVariable", "UnchangedVariable"),
        layers=("encoder_*",),
    ),
    Program(
        name="optimizer_without_body",
        kind=FAULTY,
        about="A custom step applies the gradients of the head alone; the body is trainable, but never trained.",
        train=train_head_alone,
        symptom=body_stands,
        expect=("UnoptimizedVariable", "UnchangedVariable"),
        layers=("body",),
        held_back=True,
    ),
)
