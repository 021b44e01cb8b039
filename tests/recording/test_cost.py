"""What recording adds to a step, in operations and copies: the part of its price that no clock is needed for."""

import collections

import keras
import pytest
import tensorflow as tf
from programs import features, labels

import gradwatch
from gradwatch.recording import buffer, session

PASSED_ON = {"Identity", "Reshape", "Const", "Placeholder"}
"""Operations that compute nothing; a tap on a gradient is made of them."""


def operations(num_layers, options):
    """How many operations of each type the traced step of a model has; `options=None` is without a watch."""
    keras.utils.set_random_seed(0)
    graphs = []

    class Model(keras.Sequential):
        def train_step(self, data):
            graphs.append(tf.compat.v1.get_default_graph())
            return super().train_step(data)

    model = Model([keras.Input((8,)), *(keras.layers.Dense(8) for _ in range(num_layers))])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    callbacks = [] if options is None else [gradwatch.GradientWatch(**options)]
    model.fit(features(8)[:16], labels()[:16], verbose=0, callbacks=callbacks)
    return collections.Counter(operation.type for operation in graphs[-1].get_operations() if _runs(operation))


def _runs(operation):
    """Whether TensorFlow runs it: a read that nobody uses is left out."""
    return operation.type != "ReadVariableOp" or bool(operation.outputs[0].consumers())


def added(num_layers, options):
    more = operations(num_layers, options)
    more.subtract(operations(num_layers, None))
    return more


@pytest.mark.parametrize("options", [{}, {"statistics": "full"}], ids=["default", "full"])
def test_operations_do_not_grow_with_the_number_of_variables(options):
    few, many = added(3, options), added(30, options)
    computing = [
        {name: count for name, count in more.items() if count and name not in PASSED_ON} for more in (few, many)
    ]
    assert computing[0] == computing[1]
    assert sum(computing[0].values()) <= 60
    assert sum(many[name] - few[name] for name in PASSED_ON) <= 2 * 2 * 27, "more than two for each variable"


@pytest.mark.parametrize(("options", "looks"), [({}, 0), ({"fail_fast": True}, 70)], ids=["default", "fail_fast"])
def test_copies_to_the_host(monkeypatch, options, looks):
    counts = collections.Counter()

    def counted(name, function):
        def call(*args):
            counts[name] += 1
            return function(*args)

        return call

    monkeypatch.setattr(buffer, "fetch", counted("drains", buffer.fetch))
    monkeypatch.setattr(session.Recorder, "alarms", counted("looks", session.Recorder.alarms))
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    watch = gradwatch.GradientWatch(**options)
    model.fit(features(8), labels(), batch_size=1, verbose=0, callbacks=[watch])
    # Before the first step, after it, after 50 more, at the end of the epoch and at the end.
    assert counts["drains"] == 5
    assert counts["looks"] == looks
    assert watch.log.num_steps == 70
