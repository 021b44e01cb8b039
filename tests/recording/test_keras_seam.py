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
