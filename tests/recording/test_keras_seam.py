"""These fail when Keras or TensorFlow change what `keras_seam` leans on."""

import keras
import tensorflow as tf

from gradwatch.recording import keras_seam


def test_optimizer_knows_its_variables():
    variables = [keras.Variable([1.0]), keras.Variable([2.0])]
    optimizer = keras.optimizers.Adam()
    optimizer.build(variables)
    assert [v is w for v, w in zip(keras_seam.optimizer_variables(optimizer), variables)] == [True, True]


def test_clone_keeps_the_options_and_traces_anew():
    spec = [tf.TensorSpec([None], tf.float32)]
    function = tf.function(lambda x: x + 1, input_signature=spec, jit_compile=True)
    assert keras_seam.is_traceable(function)
    assert not keras_seam.is_traceable(lambda x: x)
    clone = keras_seam.clone_function(function, lambda x: x + 2)
    assert keras_seam.is_compiled(clone)
    assert not keras_seam.is_compiled(tf.function(lambda x: x))
    assert clone(tf.zeros([1])).numpy() == 2
    plain = keras_seam.clone_function(function, lambda x: x + 3, compiled=False)
    assert not keras_seam.is_compiled(plain)
    assert not plain.get_concrete_function().function_def.attr["_XlaMustCompile"].b
    assert clone.get_concrete_function().function_def.attr["_XlaMustCompile"].b
    assert function(tf.zeros([1])).numpy() == 1
    assert tuple(clone.input_signature) == tuple(spec)


def test_graph_tells_which_trainable_variables_were_read():
    used, unused, frozen = tf.Variable(1.0), tf.Variable(2.0), tf.Variable(3.0, trainable=False)
    found = []

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            result = used * 2 + frozen
        found.extend(keras_seam.variables_used(tf.compat.v1.get_default_graph()))
        return tape.gradient(result, used)

    step()
    assert any(v is used for v in found)
    assert not any(v is unused for v in found)


def test_a_function_is_told_from_a_branch_and_a_loop():
    found = {}

    def here(name):
        found[name] = keras_seam.is_in_function(tf.compat.v1.get_default_graph(), outer[0])
        return tf.constant(0)

    outer = [None]
    inner = tf.function(lambda: here("function"))
    inside = tf.function(lambda: tf.cond(tf.random.uniform([]) > 2, lambda: here("branch of a function"), lambda: 0))

    @tf.function(autograph=False)
    def step():
        outer[0] = tf.compat.v1.get_default_graph()
        here("step")
        inner()
        inside()
        tf.cond(tf.random.uniform([]) > 2, lambda: here("branch"), lambda: 0)
        tf.while_loop(lambda i: i < 1, lambda i: (i + 1 + here("loop"),), (0,))

    step()
    assert found == {"step": False, "function": True, "branch of a function": True, "branch": False, "loop": False}
    assert not keras_seam.is_in_function(None, None)
