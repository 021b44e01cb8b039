import numpy as np
import tensorflow as tf

from gradwatch.recording import taps


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
