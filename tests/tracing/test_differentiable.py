import numpy as np
import pytest
import tensorflow as tf

from gradwatch.tracing.differentiable import Differentiability
from gradwatch.tracing.graph import Flow

table = tf.Variable(np.ones((4, 2), "float32"))

CASES = {
    "product": (lambda x: x * 2.0, True),
    "round": (tf.round, False),
    "ceil": (tf.math.ceil, False),
    "sign, whose gradient is zero": (tf.sign, True),
    "argmax": (lambda x: tf.argmax(x, -1), False),
    "cast to int": (lambda x: tf.cast(x, tf.int32), False),
    "cast to half": (lambda x: tf.cast(x, tf.float16), True),
    "stop_gradient": (tf.stop_gradient, False),
    "reshape": (lambda x: tf.reshape(x, [-1]), True),
    "gather": (lambda x: tf.gather(x, [1, 0]), True),
    "sort": (lambda x: tf.sort(x, axis=0), True),
    "matmul": (lambda x: tf.matmul(x, x, transpose_b=True), True),
    "numpy_function": (lambda x: tf.numpy_function(np.sin, [x], tf.float32), False),
    "py_function": (lambda x: tf.py_function(lambda x: x, [x], tf.float32), True),
    "complex": (lambda x: tf.abs(tf.complex(x, x)), True),
    "where": (lambda x: tf.where(x > 0, x, 0.0), True),
    "only the condition": (lambda x: tf.where(x > 0, 1.0, 0.0), False),
    "rows of a table": (lambda x: tf.nn.embedding_lookup(table, tf.argmax(x, -1)), False),
    "branch": (lambda x: tf.cond(x[0, 0] > 0, lambda: tf.sin(x), lambda: tf.zeros_like(x)), True),
}


def test_a_gradient_registered_by_the_user():
    @tf.RegisterGradient("RoundIsSmooth")
    def _smooth(op, grad):
        return grad

    def step(x):
        with tf.compat.v1.get_default_graph().gradient_override_map({"Round": "RoundIsSmooth"}):
            return tf.round(x)

    flow = Flow(graph := tf.function(step).get_concrete_function(tf.TensorSpec([2])).graph)
    (edge,) = flow.out_of[flow.node(graph.inputs[0])]
    assert Differentiability().passes(edge, flow.tensors[edge.source], flow.tensors[edge.target])


@pytest.mark.parametrize("name", CASES)
def test_is_that_of_the_tape(name):
    """What it says of a path is what TensorFlow's tape does on it."""
    function, expected = CASES[name]
    asked = Differentiability()
    graph = tf.function(lambda x: function(tf.exp(x))).get_concrete_function(tf.TensorSpec([3, 2])).graph
    flow = Flow(graph)
    open_nodes = flow.before(
        [flow.node(graph.outputs[0])],
        lambda edge: asked.passes(edge, flow.tensors[edge.source], flow.tensors[edge.target]),
    )
    assert (flow.node(graph.inputs[0]) in open_nodes) is expected
    x = tf.constant(np.random.default_rng(0).normal(size=(3, 2)).astype("float32"))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(tf.exp(x))
    assert (tape.gradient(y, x) is not None) is expected
