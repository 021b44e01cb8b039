"""Small programs with a cut between variables and loss; the line of the cut ends in `# cut`."""

import keras
import numpy as np
import tensorflow as tf

layers, ops = keras.layers, keras.ops
X = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
Y = np.random.default_rng(1).normal(size=(16, 3)).astype("float32")


def before():
    return layers.Dense(5, activation="relu", name="before")


def after():
    return layers.Dense(3, name="after")


class Between(keras.Model):
    """A layer before and one after a function of the user's."""

    def __init__(self, function, run_eagerly=False, jit_compile=False):
        super().__init__(name="between")
        self.first, self.last = before(), after()
        self.function = function
        self.compile("sgd", "mse", run_eagerly=run_eagerly, jit_compile=jit_compile)

    def call(self, x):
        return self.last(self.function(self.first(x)))


def argmax(x):
    index = tf.argmax(x, axis=-1)  # cut
    return tf.one_hot(index, 5)


def argmax_of_keras(x):
    return ops.one_hot(ops.argmax(x, axis=-1), 5)  # cut


def rounded(x):
    return tf.round(x)  # cut


def floored(x):
    y = x * 2.0
    return ops.floor(y)  # cut


def compared(x):
    mask = x > 0.5  # cut
    return tf.cast(mask, tf.float32)


def cast_to_int(x):
    whole = tf.cast(x * 10.0, tf.int32)  # cut
    return tf.cast(whole, tf.float32) / 10.0


def stopped(x):
    return tf.stop_gradient(x)  # cut


def stopped_by_keras(x):
    return ops.stop_gradient(x) * 2.0  # cut


def in_numpy_function(x):
    y = tf.numpy_function(np.sin, [x], tf.float32)  # cut
    return tf.ensure_shape(y, x.shape)


def in_a_branch(x):
    def rounded():
        return tf.round(x)  # cut

    return tf.cond(tf.reduce_sum(Y) > 1e9, lambda: tf.zeros_like(x), rounded)


def in_a_loop_of_python(x):
    y = x
    for _ in range(2):
        y = ops.sign(ops.stop_gradient(y)) + 1.0  # cut
    return y


@tf.function
def _inner(x):
    return tf.math.rint(x)  # cut


def in_an_inner_function(x):
    return _inner(x) * 2.0


class Keep(layers.Layer):
    def build(self, shape):
        self.kept = self.add_weight(shape=(16, 5), trainable=False, name="kept")

    def call(self, x):
        self.kept.assign(x)  # cut
        return self.kept + 0.0


def made_constant(x):
    @tf.custom_gradient
    def own(x):
        return x * 2.0, lambda dy: None  # the gradient is None

    return own(x)  # cut


FUNCTIONS = {
    "argmax": (argmax, "ArgMax"),
    "argmax of Keras": (argmax_of_keras, "ArgMax"),
    "round": (rounded, "Round"),
    "floor": (floored, "Floor"),
    "comparison": (compared, "Greater"),
    "cast": (cast_to_int, "Cast"),
    "stop_gradient": (stopped, "StopGradient"),
    "stop_gradient of Keras": (stopped_by_keras, "StopGradient"),
    "numpy_function": (in_numpy_function, "PyFunc"),
    "branch": (in_a_branch, "Round"),
    "Python loop": (in_a_loop_of_python, "StopGradient"),
    "inner function": (in_an_inner_function, "Rint"),
    "assign": (Keep(), "AssignVariableOp"),
    "custom_gradient": (made_constant, "IdentityN"),
}
"""Functions between two layers, with the type of the operation that cuts the first one off."""


class Own(keras.Model):
    """A step of one's own."""

    def __init__(self, **compile_args):
        super().__init__(name="own")
        self.first, self.last = before(), after()
        self.compile("sgd", "mse", **compile_args)
        self(X)

    def call(self, x):
        return self.last(self.first(x))


class LossOfHidden(Own):
    def train_step(self, data):
        x, _ = data
        with tf.GradientTape() as tape:
            hidden = self.first(x)
            self.last(hidden)  # cut
            loss = tf.reduce_mean(hidden)
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}


class OutsideOfTheTape(Own):
    def train_step(self, data):
        x, y = data
        hidden = self.first(x)  # cut
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self.last(hidden) - y) ** 2)
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}


class Uncalled(Own):
    def build(self, shape):
        self.forgotten = layers.Dense(2, name="forgotten")
        self.forgotten.build((None, 5))


class Noisy(layers.Layer):
    """A weight that is made and never used."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 3), name="kernel")
        self.spread = self.add_weight(shape=(3,), name="spread")

    def call(self, x):
        return x @ self.kernel


class ReadBefore(Own):
    def train_step(self, data):
        x, y = data
        bias = tf.identity(self.first.bias)  # cut
        with tf.GradientTape() as tape:
            hidden = tf.nn.relu(x @ self.first.kernel + bias)
            loss = tf.reduce_mean((self.last(hidden) - y) ** 2)
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}


class IntegerTarget(Own):
    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            right = tf.equal(tf.argmax(self(x), -1), tf.argmax(y, -1))  # cut
            loss = tf.reduce_sum(tf.cast(right, tf.int32))
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": tf.cast(loss, tf.float32)}


class StoppedRecording(Own):
    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            with tape.stop_recording():
                hidden = self.first(x)  # cut
            loss = tf.reduce_mean((self.last(hidden) - y) ** 2)
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}


class Unwatched(Own):
    def train_step(self, data):
        x, y = data
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for variable in self.last.trainable_variables:
                tape.watch(variable.value)
            loss = tf.reduce_mean((self(x) - y) ** 2)
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}


class UnwatchedFunction(Unwatched):
    """The same through a function that is traced, which TensorFlow registers a gradient for."""

    def build(self, shape):
        self.inner = tf.function(lambda x: x * 2.0)

    def call(self, x):
        return self.last(self.inner(self.first(x)))


def loss_of_labels(y, _):
    return tf.reduce_mean(y**2)  # cut


def loss_cast(y, prediction):
    return tf.reduce_mean((y - tf.cast(prediction > 0.5, tf.float32)) ** 2)  # cut


def loss_in_numpy(y, prediction):
    return tf.reduce_mean((y - prediction.numpy()) ** 2)  # cut


def loss_by_numpy(y, prediction):
    return tf.constant(np.mean(np.square(y - np.log(np.abs(prediction) + 1.0))))  # cut


def two_cuts():
    """Two paths, each with a cut of its own."""

    def both(x):
        first = tf.round(x)
        return first + tf.stop_gradient(x)

    return Between(both)


def lambda_layer():
    inputs = keras.Input((6,))
    x = before()(inputs)
    x = layers.Lambda(lambda x: tf.round(x), name="step")(x)  # cut
    return compiled(keras.Model(inputs, after()(x), name="functional"))


def functional():
    """Nothing in the traced step tells the line that wrote this operation."""
    inputs = keras.Input((6,))
    x = ops.floor(before()(inputs))
    return compiled(keras.Model(inputs, after()(x), name="functional"))


def nested():
    inputs = keras.Input((6,))
    inner = keras.Sequential([keras.Input((6,)), before(), layers.Lambda(rounded, name="step")], name="inner")
    return compiled(keras.Model(inputs, after()(inner(inputs)), name="outer"))


def embedded_argmax():
    inputs = keras.Input((6,))
    x = layers.Dense(5, activation="softmax", name="before")(inputs)
    x = layers.Embedding(5, 4, name="table")(layers.Lambda(_winner, name="winner")(x))
    return compiled(keras.Model(inputs, after()(x), name="auto"))


def _winner(x):
    return ops.argmax(x, axis=-1)  # cut


def unused_output():
    inputs = keras.Input((6,))
    x = before()(inputs)
    model = keras.Model(inputs, [after()(x), layers.Dense(2, name="unused")(x)], name="two")
    model.compile("sgd", ["mse", None])
    return model


class Rounding(layers.SimpleRNNCell):
    def call(self, inputs, states, training=False):
        output, states = super().call(inputs, states, training=training)
        return tf.round(output), states  # cut


def unrolled():
    inputs = keras.Input((6,))
    x = layers.Reshape((3, 2))(inputs)
    x = layers.RNN(Rounding(5), unroll=True, name="rnn")(x)
    return compiled(keras.Model(inputs, after()(x), name="recurrent"))


def compiled(model):
    model.compile("sgd", "mse")
    return model
