"""Rows: how Keras runs the step, and where its data come from."""

import contextlib

import keras
import numpy as np
import tensorflow as tf

import gradwatch
from matrix.row import Row, calls_of, features, labels, mlp


def _fit(compile_args=None, **fit_args):
    def program(run):
        return run.fit(run.compiled(mlp(), **(compile_args or {})), **fit_args)

    return program


def _row(name, about, program, **kwargs):
    return Row(area="execution", name=name, about=about, program=program, **kwargs)


def _generator(run):
    def batches():
        while True:
            for start in range(0, 24, 8):
                yield features(6, rows=24)[start : start + 8], labels(24)[start : start + 8]

    return run.fit(run.compiled(mlp()), batches(), steps_per_epoch=3)


class _Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        rows = slice(8 * index, 8 * index + 8)
        return features(6)[rows], labels()[rows]


def _dataset(run):
    data = tf.data.Dataset.from_tensor_slices((features(6), labels())).batch(8)
    return run.fit(run.compiled(mlp()), data)


def _weighted(run):
    model = run.compiled(mlp(), weighted_metrics=["accuracy"])
    weights = np.linspace(0.0, 2.0, 20).astype("float32")
    first = run.fit(model, epochs=1, sample_weight=weights)
    return [first, run.fit(model, epochs=1, class_weight={0: 1.0, 1: 2.0, 2: 0.5})]


def _validated(run):
    model = run.compiled(mlp(), metrics=["accuracy"])
    return run.fit(model, validation_data=(features(6), labels()), validation_freq=1)


def _several_fits(run):
    model = run.compiled(mlp())
    return [run.fit(model, epochs=1), run.fit(model, epochs=1), model.evaluate(features(6), labels(), verbose=0)]


def _compile_between(run):
    model = run.compiled(mlp())
    first = run.fit(model, epochs=1)
    run.optimizers.clear()
    model.compile(run.optimizer(keras.optimizers.Adam, 0.01), model.loss, metrics=["accuracy"])
    return [first, run.fit(model, epochs=1)]


def _two_watches(run):
    run.other_watch = gradwatch.GradientWatch() if run.options == {} else None
    others = [run.other_watch] if run.other_watch else []
    history = run.fit(run.compiled(mlp()), callbacks=others)
    if run.other_watch:
        assert run.other_watch.log.frame().equals(run.watch.log.frame())
    return history


def _resumed(run):
    class Break(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise InterruptedError

    model = run.compiled(mlp())
    backup = run.folder / "backup"
    with contextlib.suppress(InterruptedError):
        run.fit(model, callbacks=[keras.callbacks.BackupAndRestore(backup), Break()], shuffle=False)
    return run.fit(model, callbacks=[keras.callbacks.BackupAndRestore(backup)], shuffle=False)


ROWS = (
    _row("graph", "the default: the step as a TensorFlow graph, data as NumPy, a partial last batch", _fit()),
    _row("run_eagerly", "`compile(run_eagerly=True)`", _fit({"run_eagerly": True})),
    _row("jit_compile", "`compile(jit_compile=True)`, XLA", _fit({"jit_compile": True})),
    _row(
        "steps_per_execution",
        "`steps_per_execution=2`, which does not divide the 3 steps of an epoch",
        _fit({"steps_per_execution": 2}),
    ),
    _row(
        "jit_compile and steps_per_execution",
        "XLA, with two steps in a call",
        _fit({"jit_compile": True, "steps_per_execution": 2}),
    ),
    _row("full batches", "batches of one size only", _fit(batch_size=10, epochs=3), calls=calls_of(3, 2)),
    _row("generator", "data from a Python generator", _generator),
    _row("PyDataset", "data from a `keras.utils.PyDataset`", lambda run: run.fit(run.compiled(mlp()), _Batches())),
    _row("tf.data", "data from a `tf.data.Dataset`", _dataset),
    _row("weights", "`sample_weight`, `class_weight` and weighted metrics", _weighted, calls=calls_of(1) * 2),
    _row("validation data", "`validation_data` at each epoch", _validated),
    _row("several fits", "two fits with one watch, and `evaluate`", _several_fits, calls=calls_of(1) * 2),
    _row(
        "compile between fits",
        "two fits with one watch, and another optimizer for the second",
        _compile_between,
        calls=calls_of(1) * 2,
    ),
    _row("two watches", "two watches in one fit", _two_watches),
    _row(
        "initial_epoch",
        "`fit(initial_epoch=3)`",
        _fit(initial_epoch=3, epochs=5),
        calls=calls_of(first_epoch=3),
    ),
    _row("resumed", "an interrupted fit resumed by `BackupAndRestore`, with one watch", _resumed),
)
