"""Functions between two layers that make a NaN or Inf, with `# origin` at the end of the line that does."""

import keras
import numpy as np
import tensorflow as tf

layers, ops = keras.layers, keras.ops


def log_of_zero(x):
    y = tf.nn.relu(x)
    return tf.math.log(y)  # origin


def log_behind_a_where(x):
    y = tf.math.log(tf.nn.relu(x))  # origin
    return tf.where(x > 0, y, 0.0)


def sqrt_of_negative(x):
    return ops.sqrt(x - 3.0)  # origin


def gradient_of_sqrt(x):
    return tf.sqrt(tf.nn.relu(x - 100.0)) + x  # origin


def gradient_of_norm(x):
    return x / 2.0 + tf.norm(x * 0.0, axis=-1, keepdims=True)  # origin


def division(x):
    return x / tf.reduce_sum(x * 0.0, axis=-1, keepdims=True)  # origin


def exp_overflow(x):
    y = x * 1e4
    return tf.exp(y)  # origin


def power(x):
    return tf.abs(x * 0.0) ** 0.5 + x  # origin


def all_masked(x):
    mask = tf.fill(tf.shape(x), -np.inf)
    return tf.nn.softmax(x + mask)  # origin


def in_a_branch(x):
    def broken():
        return tf.math.log(x * 0.0)  # origin

    return tf.cond(tf.reduce_sum(x * x) >= 0, broken, lambda: x)


def in_a_loop(x):
    def turn(i, y):
        return i + 1, tf.math.log(y)  # origin

    y = tf.while_loop(lambda i, y: i < 3, turn, (0, tf.abs(x) + 1.0))[1]
    return tf.ensure_shape(y, x.shape)


@tf.function
def _inner(x):
    return tf.math.log(x - x)  # origin


def in_an_inner_function(x):
    return _inner(x)


FUNCTIONS = {
    "log of zero": (log_of_zero, "forward", "Log", "of them"),
    "log behind a where": (log_behind_a_where, "backward", "Reciprocal", "given 80 numbers from 0"),
    "sqrt of negative": (sqrt_of_negative, "forward", "Sqrt", " negative"),
    "gradient of sqrt": (gradient_of_sqrt, "backward", "SqrtGrad", "given 80 times 0"),
    "gradient of norm": (gradient_of_norm, "backward", "SqrtGrad", "given 16 times 0"),
    "division by zero": (division, "forward", "RealDiv", "16 times 0"),
    "exp": (exp_overflow, "forward", "Exp", "given 80 numbers from 0 to"),
    "power": (power, "backward", "Pow", "given 80 times 0 and -0.5"),
    "all masked": (all_masked, "forward", "Softmax", "none is finite"),
    "branch": (in_a_branch, "forward", "Log", "given 80 times 0"),
    "loop": (in_a_loop, "forward", "Log", "of them"),
    "inner function": (in_an_inner_function, "forward", "Log", "given 80 times 0"),
}
"""Functions with the kind of the cause, the type of the operation, and words about what it was given."""

LINES = {"inner function": _inner}
