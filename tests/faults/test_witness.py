import functools
import itertools
import math

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from faults import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

import gradwatch
from benchmarks.faults.peers.evidence import Recording
from benchmarks.faults.peers.witness import LOOKS_AT_ONE_PACE, Witness, _Pace
from benchmarks.faults.program import FAULTY, Program


class Drawing(keras.layers.Layer):
    """Draws also when it does not train: from TensorFlow unseeded, a seed generator, and NumPy when traced."""

    def __init__(self):
        super().__init__()
        self.seeds = keras.random.SeedGenerator(3)

    def call(self, x):
        noise = keras.random.normal(keras.ops.shape(x), seed=self.seeds) + tf.random.normal(tf.shape(x))
        return x + 0.01 * noise + 0.01 * np.random.normal()  # noqa: NPY002


def trained_by(train):
    return Program(name="p", kind=FAULTY, about="", train=train, symptom=bool)


@functools.cache
def watched(train):
    witness = Witness()
    return trained_by(train).run(0, [witness]), witness.recording


def dense(run, *extra):
    net = keras.Sequential(
        [keras.Input((4,)), *extra, keras.layers.Dense(5, activation="relu"), keras.layers.Dense(1, "sigmoid")]
    )
    net.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return net


def several_fits(run):
    net = dense(run, Drawing(), keras.layers.BatchNormalization(), keras.layers.GaussianNoise(0.1))
    for epochs in (3, 2):
        run.fit(net, *tiny.data(run), batch_size=8, epochs=epochs)


def shuffled_dataset(run):
    dataset = tf.data.Dataset.from_tensor_slices(tiny.data(run)).cache().shuffle(48).batch(8)
    run.fit(dense(run), dataset, epochs=3)


def drawing_dataset(run):
    dataset = tf.data.Dataset.from_tensor_slices(tiny.data(run)).batch(8)
    run.fit(dense(run), dataset.map(lambda x, y: (x + tf.random.normal(tf.shape(x)), y)), epochs=3)


def generator(run):
    batches = (tiny.data(run, 8) for _ in range(12))
    run.fit(dense(run), batches, steps_per_epoch=4, epochs=3)


def eager(run):
    net = dense(run)
    net.compile("sgd", lambda y, p: tf.reduce_mean(tf.square(y - p)) * float(p.numpy().max()), run_eagerly=True)
    run.fit(net, *tiny.data(run), epochs=2)


class Own(keras.Model):
    """A model with several outputs and a step of its own, whose loss `compute_loss` does not give."""

    def __init__(self):
        super().__init__()
        self.inner = keras.layers.Dense(1)

    def call(self, x):
        return {"a": self.inner(x)}

    def train_step(self, batch):
        x, y = batch
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self(x)["a"] - y))
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}


def own_step(run):
    net = Own()
    net.build((None, 4))
    net.compile("adam")
    run.fit(net, *tiny.data(run), epochs=2)


def recurrent(run):
    net = keras.Sequential(
        [keras.Input((5, 2)), keras.layers.LSTM(3), keras.layers.Dropout(0.5), keras.layers.Dense(1)]
    )
    net.compile("adam", "mse")
    x = run.rng.normal(size=(40, 5, 2))
    run.fit(net, x=x, y=x.sum((1, 2)), epochs=2)


PROGRAMS = [several_fits, shuffled_dataset, drawing_dataset, generator, eager, own_step, recurrent]


@pytest.mark.parametrize("train", PROGRAMS, ids=lambda train: train.__name__)
def test_changes_nothing(train):
    plain, (seen, _) = trained_by(train).run(0), watched(train)
    assert plain.error is None
    assert seen.error is None
    assert plain.history == seen.history
    for one, other in zip(plain.weights, seen.weights):
        np.testing.assert_array_equal(one, other)


def recording_of(train):
    return watched(train)[1]


def test_log_of_a_watch_beside_it_is_the_same():
    logs = []
    for others in ([], [Witness()]):
        watch = gradwatch.GradientWatch()
        trained_by(several_fits).run(0, [watch, *others])
        logs.append(watch.log.wide("grad_norm"))
    pd.testing.assert_frame_equal(*logs)


def test_sees_gradients_layers_and_epochs():
    recording = recording_of(several_fits)
    assert recording.not_seen == []
    assert len(recording.epochs) == recording.num_epochs == 5
    assert [look.step for look in recording.epoch_looks] == [6, 12, 18, 24, 30]
    assert [look.step for look in recording.batch_looks] == [1, 11, 21]
    look = recording.looks[-1]
    assert [layer.activation for layer in look.layers.values()] == ["relu", "sigmoid"]
    assert recording.last_activation == "sigmoid"
    assert (recording.loss, recording.num_classes, recording.target_max) == ("binary_crossentropy", 2, 1)
    assert all(np.isfinite([v.mean_abs, v.norm, v.update_ratio]).all() for v in look.kernels.values())
    assert {v.layer for v in look.variables.values()} >= set(look.layers)


def test_gradient_is_that_of_the_sample():
    recording = recording_of(tiny.train_well)
    grads = recording.looks[0].variables
    assert 0 < grads["sequential/output/kernel"].mean_abs < 1
    assert grads["sequential/output/kernel"].size == 6
    zeros = recording_of(tiny.train_badly).looks[-1].variables
    assert {variable.zeros for variable in zeros.values()} == {1.0}


def test_takes_the_first_batch_of_a_dataset():
    assert recording_of(shuffled_dataset).not_seen == []


@pytest.mark.parametrize("train", [drawing_dataset, generator], ids=lambda train: train.__name__)
def test_says_what_it_could_not_see(train):
    recording = recording_of(train)
    assert len(recording.not_seen) == 1
    assert recording.looks == []
    assert len(recording.epochs) == 3
    assert recording.epochs[-1].accuracy is not None


def test_loss_that_leaves_tensorflow_is_looked_at_eagerly():
    recording = recording_of(eager)
    assert recording.not_seen == []
    assert len(recording.epoch_looks) == 2


def test_own_step_has_no_gradient_by_compute_loss():
    recording = recording_of(own_step)
    assert len(recording.epochs) == 2
    assert not any(look.with_grad for look in recording.looks)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 5), st.integers(0, 5000))
def test_many_looks_get_farther_apart(every, count):
    pace = _Pace(every)
    due = [number for number in range(count) if pace.is_due(number)]
    assert due[:20] == list(range(0, min(count, 20 * every), every))
    assert len(due) <= LOOKS_AT_ONE_PACE * (1 + math.log2(1 + count))
    assert all(later - earlier >= every for earlier, later in itertools.pairwise(due))


def test_recording_survives_json():
    recording = recording_of(tiny.train_badly)
    assert Recording.from_json(recording.to_json()).to_json() == recording.to_json()
