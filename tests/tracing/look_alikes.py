"""Programs that look as if a path was cut, and are healthy."""

import keras
import numpy as np
import tensorflow as tf
from tracing.cut_programs import Between, after, before, compiled

layers, ops = keras.layers, keras.ops


def straight_through(x):
    return x + tf.stop_gradient(tf.round(x) - x)


def hard(x):
    soft = ops.softmax(x)
    sharp = ops.one_hot(ops.argmax(soft, axis=-1), 5)
    return ops.stop_gradient(sharp - soft) + soft


def python_function(x):
    y = tf.py_function(lambda x: x * 2.0, [x], tf.float32)
    return tf.ensure_shape(y, x.shape)


def double_where(x):
    safe = tf.where(x > 0, x, 1.0)
    return tf.where(x > 0, tf.math.log(safe), 0.0)


def own_gradient(x):
    @tf.custom_gradient
    def rounded(x):
        return tf.round(x), lambda dy: dy

    return rounded(x)


def clipped(x):
    return tf.clip_by_value(x, 0.0, 1.0) * tf.cast(x > 0.2, tf.float32)


def in_a_branch(x):
    return tf.cond(tf.reduce_sum(x) > 0, lambda: tf.sin(x), lambda: tf.cos(x))


def in_a_loop(x):
    y = tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, tf.sin(y) + x), (0, x))[1]
    return tf.ensure_shape(y, x.shape)


def gathered(x):
    return tf.gather(x, tf.argsort(x[0]), axis=1)


class Quantizer(layers.Layer):
    """A codebook of which the nearest entry is taken, with a straight-through gradient."""

    def build(self, shape):
        self.codes = self.add_weight(shape=(8, shape[-1]), name="codes")

    def call(self, x):
        distances = ops.sum((x[:, None, :] - self.codes[None]) ** 2, axis=-1)
        nearest = ops.take(self.codes, ops.argmin(distances, axis=-1), axis=0)
        self.add_loss(ops.mean((ops.stop_gradient(x) - nearest) ** 2))
        return x + ops.stop_gradient(nearest - x)


def frozen():
    inputs = keras.Input((6,))
    encoder = keras.Sequential([keras.Input((6,)), before()], name="encoder")
    encoder.trainable = False
    return compiled(keras.Model(inputs, after()(ops.floor(encoder(inputs)))))


def masked():
    inputs = keras.Input((6,))
    x = layers.Embedding(10, 4, mask_zero=True)(ops.cast(ops.abs(inputs) * 3, "int32"))
    return compiled(keras.Model(inputs, after()(layers.LSTM(4)(x))))


PROGRAMS = {
    "straight-through": lambda: Between(straight_through),
    "hard softmax": lambda: Between(hard),
    "py_function": lambda: Between(python_function),
    "double where": lambda: Between(double_where),
    "custom_gradient": lambda: Between(own_gradient),
    "mask": lambda: Between(clipped),
    "branch": lambda: Between(in_a_branch),
    "loop": lambda: Between(in_a_loop),
    "sorted": lambda: Between(gathered),
    "quantizer": lambda: Between(Quantizer()),
    "frozen before a floor": frozen,
    "integer input": masked,
}

X = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
Y = np.random.default_rng(1).normal(size=(16, 3)).astype("float32")
