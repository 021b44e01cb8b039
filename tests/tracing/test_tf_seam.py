"""Fails when TensorFlow changes what `tf_seam` looks into."""

import tensorflow as tf

from gradwatch.tracing import tf_seam


@tf.function
def doubled(x):
    return x * 2.0


def graph_of(function):
    return tf.function(function).get_concrete_function(tf.TensorSpec([2])).graph


def test_captures_lead_from_a_variable_to_its_placeholder():
    variable = tf.Variable(1.0)
    graph = graph_of(lambda x: x * variable)
    ((outside, inside),) = tf_seam.captures(graph)
    assert outside is variable.handle
    assert inside.op.type == "Placeholder"
    assert tf_seam.captures(tf.Graph()) == []


def test_functions_called():
    def step(x):
        y = tf.cond(x[0] > 0, lambda: tf.sin(x), lambda: tf.cos(x))
        z = tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, tf.exp(y)), (0, doubled(y)))[1]
        return tf.switch_case(tf.constant(0), [lambda: tf.tan(z), lambda: tf.tanh(z)])

    found = {
        (name, operation.type)
        for op in graph_of(step).get_operations()
        for name, graph in tf_seam.functions_called(op).items()
        for operation in graph.get_operations()
    }
    expected = {("then_branch", "Sin"), ("else_branch", "Cos"), ("f", "Mul"), ("body", "Exp"), ("cond", "Less")}
    assert expected | {("branches/0", "Tan"), ("branches/1", "Tanh")} <= found
