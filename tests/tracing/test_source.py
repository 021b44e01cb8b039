import inspect
import json
import pathlib

import keras
import numpy as np
import tensorflow as tf

from gradwatch.recording import wrap
from gradwatch.tracing import source

HERE = str(pathlib.Path(__file__).relative_to(pathlib.Path.cwd()))


def test_line_of_an_operation():
    def step(x):
        y = tf.nn.relu(x)
        return keras.ops.softmax(y)

    graph = tf.function(step).get_concrete_function(tf.TensorSpec([2])).graph
    first = inspect.getsourcelines(step)[1]
    found = {operation.type: source.source_of(operation) for operation in graph.get_operations()}
    assert found["Relu"] == (f"{HERE}:{first + 1}", "y = tf.nn.relu(x)")
    assert found["Softmax"] == (f"{HERE}:{first + 2}", "return keras.ops.softmax(y)")


def test_the_innermost_line_of_the_users_own_is_taken():
    frames = [(__file__, 1), (keras.__file__, 2), (__file__, 3), (json.__file__, 4), (tf.__file__, 5)]
    assert source.line_of(frames)[0] == f"{HERE}:3"


def test_a_library_is_named_where_nothing_else_is_there():
    frames = [(tf.__file__, 1), (json.__file__, 2), (np.__file__, 3), ("<frozen importlib>", 4)]
    assert source.line_of(frames)[0] == f"{json.__file__}:2"
    assert source.line_of([(keras.__file__, 1)]) == (None, None)
    assert source.line_of([]) == (None, None)


def test_what_called_the_step_is_no_line_of_the_step():
    assert source.line_of([(__file__, 1), (wrap.__file__, 2), (keras.__file__, 3)]) == (None, None)
    assert source.line_of([(__file__, 1), (wrap.__file__, 2), (__file__, 3)])[0] == f"{HERE}:3"


def test_layer():
    with tf.Graph().as_default(), tf.name_scope("mlp_1/hidden_2/extra"):
        operation = tf.constant(1.0).op
    assert source.layer_of(operation, {"mlp", "hidden_2", "hidden"}) == "mlp/hidden_2"
    assert source.layer_of(operation, {"mlp", "hidden"}) == "mlp/hidden"
    assert source.layer_of(operation, set()) is None
