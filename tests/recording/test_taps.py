import keras
import numpy as np
import pytest
import tensorflow as tf
from programs import features, labels

import gradwatch
from gradwatch.recording import taps


def before(operation):
    """All operations that run before it."""
    found, waiting = set(), [operation]
    while waiting:
        operation = waiting.pop()
        sources = {source.op for source in operation.inputs} | set(operation.control_inputs)
        waiting += sources - found
        found |= sources
    return found


def reads_before(operation):
    """Reads of variables that it comes after, each with the name of the variable's handle."""
    return [(op, op.inputs[0].name) for op in before(operation) if op.type == "ReadVariableOp"]


def test_the_tail_is_built_again_and_nothing_reads_the_original():
    variable = tf.Variable(1.0)
    seen = {}

    @tf.function
    def step(x, y):
        product = tf.matmul(x, y)
        grad = tf.reshape(product, [-1]) * 3.0 + 1.0
        seen["consumers"] = len(grad.consumers())
        twin = taps.tap(grad, variable.read_value())
        seen["after"], seen["twin"] = len(grad.consumers()), twin is not grad
        seen["shared"] = product.op.outputs[0].consumers()
        return grad, twin

    grad, twin = step(tf.ones([2, 3]), tf.ones([3, 2]))
    np.testing.assert_array_equal(grad, twin)
    assert seen["consumers"] == seen["after"] == 0
    assert seen["twin"]
    assert [op.type for op in seen["shared"]] == ["Reshape", "Reshape"]


def test_other_operations_are_read_directly():
    variable = tf.Variable(1.0)

    @tf.function
    def step(x):
        grad = tf.matmul(x, x)
        twin = taps.tap(grad, variable.read_value())
        assert twin.op.type == "Identity"
        assert twin.op.inputs[0] is grad
        return twin

    np.testing.assert_array_equal(step(tf.ones([2, 2])), np.full((2, 2), 2.0))


def test_sparse_gradient():
    variable = tf.Variable(1.0)

    @tf.function
    def step(values):
        slices = tf.IndexedSlices(values * 2.0, tf.constant([1, 1]), tf.constant([3, 2]))
        twin = taps.tap(slices, variable.read_value())
        assert twin.values is not slices.values
        return tf.convert_to_tensor(twin)

    np.testing.assert_array_equal(step(tf.ones([2, 2])), [[0, 0], [4, 4], [0, 0]])


@pytest.mark.parametrize(
    ("add", "runs_late"),
    [
        (lambda a, b, c: tf.add_n([a, b, c]), True),
        (lambda a, b, c: (a + b) * 2.0 + c, True),
        (lambda a, b, c: tf.add_n([a, b]) * c, False),
    ],
    ids=["add_n", "a chain", "two terms"],
)
def test_the_twin_of_a_long_sum_runs_late(add, runs_late):
    variable = tf.Variable(1.0)

    @tf.function
    def step(x):
        total = add(tf.exp(x), tf.sin(x), tf.cos(x))
        variable.assign_sub(tf.reduce_sum(total))
        late = variable.read_value().op
        twin = taps.tap(total, tf.zeros([]), late=lambda: late.outputs[0])
        assert (late in before(twin.op)) is runs_late
        return total, twin

    np.testing.assert_allclose(*step(tf.constant([1.0, 2.0])), rtol=1e-6)


def test_terms_of_a_long_sum_are_held_until_it_was_used():
    """Otherwise the order of its terms, and the last bits of the weights, would depend on who comes first."""
    graphs = []

    class Model(keras.Model):
        def train_step(self, data):
            graphs.append(tf.compat.v1.get_default_graph())
            return super().train_step(data)

    inputs = keras.Input((6,))
    shared = keras.layers.Dense(6, activation="tanh", kernel_regularizer=keras.regularizers.L2(0.1))
    model = Model(inputs, keras.layers.Dense(4)(shared(shared(shared(inputs)))))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(features(6)[:16], labels()[:16], verbose=0, callbacks=[gradwatch.GradientWatch()])
    operations = graphs[-1].get_operations()
    place = {operation.name: number for number, operation in enumerate(operations)}
    updated = {op.inputs[0].name: place[op.name] for op in operations if op.type == "AssignSubVariableOp"}
    sums = [op for op in operations if op.type == "AddN" and len(op.inputs) >= 3]
    late = [any(place[op.name] > updated.get(name, len(place)) for op, name in reads_before(each)) for each in sums]
    assert sorted(late) == [False, False, True, True]  # of the kernel and of the bias, each with its twin


def test_a_branch_gets_tensors_of_its_own():
    @tf.function
    def step(x):
        grad = tf.square(x) * 2.0

        def branch():
            twin = taps.transplant(grad)
            assert twin.graph is tf.compat.v1.get_default_graph()
            return twin

        return tf.cond(tf.reduce_sum(x) > 0, branch, lambda: x)

    np.testing.assert_array_equal(step(tf.constant([1.0, 2.0])), [2.0, 8.0])


def test_eager_tensor_is_its_own_tap():
    tensor = tf.constant([1.0])
    assert taps.tap(tensor, tensor) is tensor
    assert taps.transplant(None) is None
