"""A row of the matrix, and one run of its program: unwatched, watched, or with every gradient written down."""

import dataclasses
import functools
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import gradwatch

MAX_CALLS = 40
LOSS_SCALED = keras.optimizers.LossScaleOptimizer


def calls_of(epochs=2, batches=3, optimizers=("optimizer",), first_epoch=0):
    """What `log.steps()` has to say of a fit: epoch, batch and optimizer of every call."""
    return tuple(
        (epoch, batch, name)
        for epoch in range(first_epoch, first_epoch + epochs)
        for batch in range(batches)
        for name in optimizers
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One row.

    Args:
        area: Group of rows.
        name: Name, unique in its area.
        about: What it is, for the table in the docs.
        program: Given a `Run`, builds a model, trains it, and returns what Keras or the loop returned (History).
        calls: Epoch, batch and optimizer of every call of an optimizer.
        bad: The call whose gradient is made NaN, in one variable.
        position: The variable, as a position among those given to the optimizer.
        loss_scaled: The optimizer scales the loss: a NaN is held back without an alarm.
        overflows: Calls at the start that overflow.
        rtol: Tolerance of statistics against the float64 oracle.
        update_norms: Whether nothing but the recorded call changes the variables between two calls.
        exact_guards: Whether, with a guard, weights before the bad batch are those without one, bit for bit.
        warns: Word in the one warning that the row gives, if it gives one.
        needs: Name in `keras.optimizers` without which the row is skipped.
        note: For the table in the docs.
    """

    area: str
    name: str
    about: str
    program: Callable[[Any], Any]
    calls: tuple = calls_of()
    bad: int = 4
    position: int = 0
    loss_scaled: bool = False
    overflows: int = 0
    rtol: float = 2e-5
    update_norms: bool = True
    exact_guards: bool = True
    warns: str = ""
    needs: str = ""
    note: str = ""

    def __str__(self):
        return f"{self.area}: {self.name}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refused:
    """A combination that cannot work and is refused at the start.

    Args:
        name: Name, unique.
        about: What it is, for the table in the docs.
        program: Raises.
        error: Class of the error.
        match: Pattern that its message has.
        note: For the table in the docs: what to do instead.
    """

    name: str
    about: str
    program: Callable[[Any], Any]
    error: type[Exception]
    match: str
    note: str

    def __str__(self):
        return f"refused: {self.name}"


@keras.saving.register_keras_serializable("matrix")
class Traced(keras.layers.Layer):
    """Passes on what it gets, and counts how often it is called, which in a graph is how often it is traced."""

    count = 0

    def call(self, x):
        Traced.count += 1
        return x


class Run:
    """One run of a program.

    Args:
        options: Options of the watch; `None` runs unwatched.
        spy: Writes down the gradients, or `None`.
    """

    def __init__(self, options=None, spy=None):
        self.options = options
        self.spy = spy
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.optimizers = []
        self.models = []
        self.history = None
        self.error = None
        self.traces = 0
        self.other_watch = None
        self._watch = None

    @functools.cached_property
    def callbacks(self):
        """The watch, for `fit`; empty in an unwatched run."""
        if self.options is None:
            return []
        self._watch = gradwatch.GradientWatch(**self.options)
        return [self._watch]

    @property
    def watch(self):
        return self._watch

    def watched(self, step, **kwargs):
        """A step of one's own, watched in a watched run."""
        if self.options is None:
            return step
        self._watch = gradwatch.watch_train_step(step, **kwargs, **self.options)
        return self._watch

    def keep(self, model):
        """Takes note of a model whose state counts."""
        self.models.append(model)
        return model

    def optimizer(self, kind=keras.optimizers.SGD, *args, **kwargs):
        """An optimizer; with a spy one of a subclass that shows it what `fit` gives to it."""
        if self.spy is not None:
            kind = _spied(kind, self.given)
        self.optimizers.append(kind(*args, **kwargs))
        return self.optimizers[-1]

    def given(self, optimizer, grads, variables):
        """To be called by a step of one's own before it applies `grads`; returns the gradients to apply."""
        return grads if self.spy is None else self.spy.given(self, optimizer, list(grads), list(variables))

    def compiled(self, model, optimizer=None, loss=None, **kwargs):
        """The model, compiled with SGD and a cross-entropy if nothing else is said."""
        loss = loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer or self.optimizer(keras.optimizers.SGD, 0.1, momentum=0.9), loss, **kwargs)
        return self.keep(model)

    def fit(self, model, *data, epochs=2, batch_size=8, callbacks=(), **kwargs):
        """`model.fit` with the watch, and History's numbers."""
        if not data:
            data = (features(6), labels())
        if isinstance(data[0], np.ndarray | list):
            kwargs["batch_size"] = batch_size
        callbacks = [*self.callbacks, *callbacks]
        try:
            return model.fit(*data, epochs=epochs, verbose=0, callbacks=callbacks, **kwargs).history
        finally:
            self.traces = Traced.count

    def trained(self):
        """Every variable that an update changes: trainable weights and the state of optimizers."""
        found = {}
        for model in self.models:
            found |= {id(v): v for v in model.trainable_variables}
        for optimizer in self.optimizers:
            inner = optimizer.inner_optimizer if isinstance(optimizer, LOSS_SCALED) else optimizer
            found |= {id(v): v for v in inner.variables}
        return list(found.values())

    def state(self):
        """All weights and all optimizer state."""
        found = {id(v): v for holder in (*self.models, *self.optimizers) for v in holder.variables}
        return [np.array(v.numpy()) for v in found.values()]


class Spy:
    """Writes down, on the device, what optimizers are given, in any mode; makes one gradient NaN at one call.

    Args:
        bad: The call.
        position: The variable among those given.
    """

    def __init__(self, bad, position):
        self.bad, self.position = bad, position
        self.count = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.before, self.after = [], []  # of each variable the value just before the bad call, and before the next
        self._rings = {}

    @tf.autograph.experimental.do_not_convert
    def given(self, run, optimizer, grads, variables):
        with tf.init_scope():
            if not optimizer.built:
                optimizer.build(variables)
        now = self.count.read_value()
        bad = tf.equal(now, self.bad)
        if self.position < len(grads) and grads[self.position] is not None:
            grads[self.position] = _times(grads[self.position], tf.where(bad, np.nan, 1.0))
        self._ring(optimizer, grads, variables).put(now, optimizer, grads)
        self._keep(self.before, run.trained(), bad)
        self._keep(self.after, run.trained(), tf.equal(now, self.bad + 1))
        self.count.assign_add(1)
        return grads

    def _keep(self, kept, variables, when):
        with tf.init_scope():
            if not kept or [id(v) for v in kept[-1].variables] != [id(v) for v in variables]:
                kept.append(_Kept(variables))
        kept[-1].put(when)

    def _ring(self, optimizer, grads, variables):
        attached = [variable for grad, variable in zip(grads, variables) if grad is not None]
        key = (id(optimizer), *(id(v) for v in attached))
        if key not in self._rings:
            with tf.init_scope():
                self._rings[key] = _Ring(attached, variables)
        return self._rings[key]

    def calls(self):
        """For every call a list of (variable, gradient, weight before)."""
        return [self._ring_of(call).take(call) for call in range(int(self.count.numpy()))]

    def bad_variable(self):
        """The variable whose gradient was made NaN."""
        return self._ring_of(self.bad).given[self.position]

    def _ring_of(self, call):
        (ring,) = [ring for ring in self._rings.values() if ring.present.numpy()[call]]
        return ring


class _Kept:
    """Values of variables at one moment."""

    def __init__(self, variables):
        self.variables = list(variables)
        self.flat = tf.Variable(tf.zeros([_size(variables)], tf.float64), trainable=False)
        self.filled = tf.Variable(False, trainable=False)

    def put(self, when):
        self.flat.assign(tf.where(when, _flat(self.variables), self.flat))
        self.filled.assign(tf.logical_or(self.filled, when))

    def values(self):
        return _split(self.flat.numpy(), self.variables)


class _Ring:
    """The gradients, and the weights before, of calls with the same variables; float64 holds them exactly."""

    def __init__(self, variables, given):
        self.variables, self.given = variables, given
        self.present = tf.Variable(tf.zeros([MAX_CALLS], tf.bool), trainable=False)
        self.grads, self.weights = (
            tf.Variable(tf.zeros([MAX_CALLS, _size(variables)], tf.float64), trainable=False) for _ in range(2)
        )

    def put(self, now, optimizer, grads):
        _write(self.present, now, True)
        _write(self.grads, now, _flat([grad for grad in grads if grad is not None]) / _scale_of(optimizer))
        _write(self.weights, now, _flat(self.variables))

    def take(self, call):
        rows = (_split(ring.numpy()[call], self.variables) for ring in (self.grads, self.weights))
        return list(zip(self.variables, *rows))


def _size(variables):
    return sum(int(np.prod(v.shape)) for v in variables)


def _flat(tensors):
    parts = [tf.reshape(tf.cast(tf.convert_to_tensor(tensor), tf.float64), [-1]) for tensor in tensors]
    return tf.concat(parts, axis=0)


def _split(flat, variables):
    return np.split(flat, np.cumsum([int(np.prod(v.shape)) for v in variables])[:-1])


def _write(ring, index, value):
    ring.scatter_nd_update(tf.reshape(index, [1, 1]), tf.expand_dims(value, 0))


def _times(grad, factor):
    if isinstance(grad, tf.IndexedSlices):
        return tf.IndexedSlices(grad.values * tf.cast(factor, grad.dtype), grad.indices, grad.dense_shape)
    return grad * tf.cast(factor, grad.dtype)


def _scale_of(optimizer):
    scale = optimizer.dynamic_scale if isinstance(optimizer, LOSS_SCALED) else optimizer.loss_scale_factor
    return tf.ones((), tf.float64) if scale is None else tf.cast(tf.convert_to_tensor(scale), tf.float64)


def _spied(kind, given):
    class Spied(kind):
        def apply_gradients(self, grads_and_vars, **kwargs):
            grads, variables = zip(*grads_and_vars)
            return super().apply_gradients(zip(given(self, grads, variables), variables), **kwargs)

    Spied.__name__ = kind.__name__
    return Spied


def features(*shape, rows=20):
    return np.random.default_rng(0).normal(size=(rows, *shape)).astype("float32")


def labels(rows=20, num_classes=3):
    return np.random.default_rng(1).integers(0, num_classes, rows)


def mlp(**kwargs):
    return keras.Sequential(
        [
            keras.Input((6,)),
            Traced(),
            keras.layers.Dense(5, activation="tanh", name="hidden", **kwargs),
            keras.layers.Dense(3, name="head", **kwargs),
        ],
        name="mlp",
    )


def identical_weights(model, other):
    """Whether two models have the same weights."""
    return all(np.array_equal(a, b) for a, b in zip(model.get_weights(), other.get_weights(), strict=True))
