"""What is compared with an unwatched run: the watch, and what people use in its place."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

import gradwatch
from benchmarks.models import Program


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to train.

    Args:
        callbacks: Given the program, the callbacks.
        patch: Given the model, changes it before it is trained.
        around: A context in which it is traced.
        under_xla: Whether it works under XLA.
        bound: Most that a step may take, as a multiple of an unwatched one; `None` for what is not ours.
    """

    callbacks: Callable[[Program], list[Any]] = lambda program: []
    patch: Callable[[Any], None] = lambda model: None
    around: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
    under_xla: bool = True
    bound: float | None = None


@contextlib.contextmanager
def _checking_numerics() -> Iterator[None]:
    tf.debugging.enable_check_numerics()
    try:
        yield
    finally:
        tf.debugging.disable_check_numerics()


def _norms_as_logs(model: Any) -> None:
    """A `train_step` that returns the norm of every gradient, as people write it."""

    def train_step(data: Any) -> dict[str, Any]:
        x, y = data
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x, y, model(x, training=True))
        grads = tape.gradient(loss, model.trainable_variables)
        model.optimizer.apply(grads, model.trainable_variables)
        pairs = zip(model.trainable_variables, grads, strict=True)
        norms = {f"{variable.path}": tf.linalg.global_norm([grad]) for variable, grad in pairs}
        return {"loss": loss, **norms}

    model.train_step = train_step


class SecondTape(keras.callbacks.Callback):
    """Takes the gradients of a sample once more after each batch, and brings each norm to the host."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self._x, self._y = program.x[:32], program.y[:32]
        self._gradients: Any = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Makes the function of the tape."""
        model = self.model

        @tf.function
        def gradients(x: Any, y: Any) -> Any:
            with tf.GradientTape() as tape:
                loss = model.compute_loss(x, y, model(x, training=True))
            return [tf.linalg.global_norm([grad]) for grad in tape.gradient(loss, model.trainable_variables)]

        self._gradients = self._gradients or gradients

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Reads the norms."""
        self.norms = [float(norm) for norm in self._gradients(self._x, self._y)]


def _tensorboard(program: Program) -> list[Any]:
    folder = tempfile.mkdtemp()
    return [keras.callbacks.TensorBoard(folder, histogram_freq=1, write_graph=False, update_freq="epoch")]


VARIANTS = {
    "unwatched": Variant(),
    "unwatched again": Variant(),
    "gradwatch": Variant(lambda program: [gradwatch.GradientWatch()], bound=1.04),
    "gradwatch find_origin=False": Variant(lambda program: [gradwatch.GradientWatch(find_origin=False)]),
    "gradwatch full": Variant(lambda program: [gradwatch.GradientWatch(statistics="full")], bound=1.10),
    "gradwatch fail_fast": Variant(lambda program: [gradwatch.GradientWatch(fail_fast=True)]),
    "TerminateOnNaN": Variant(lambda program: [keras.callbacks.TerminateOnNaN()]),
    "check_numerics": Variant(around=_checking_numerics, under_xla=False),
    "norms as logs": Variant(patch=_norms_as_logs),
    "second tape": Variant(lambda program: [SecondTape(program)]),
    "TensorBoard": Variant(_tensorboard),
}
