"""Small Keras programs for the tests, and an optimizer that keeps the gradients it is given for an oracle."""

import keras
import numpy as np
import tensorflow as tf

layers = keras.layers
NUM_ROWS, NUM_CLASSES = 70, 4


def labels():
    return np.random.default_rng(1).integers(0, NUM_CLASSES, NUM_ROWS)


def features(*shape):
    return np.random.default_rng(0).normal(size=(NUM_ROWS, *shape)).astype("float32")


def mlp(units=16):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(units, activation="relu", name="hidden"),
            layers.BatchNormalization(name="norm"),
            layers.Dropout(0.3),
            layers.Dense(NUM_CLASSES, activation="softmax", name="head"),
        ],
        name="mlp",
    )
    return model, features(8)


def cnn():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(6, 3, activation="relu", name="conv")(inputs)
    x = layers.LayerNormalization(name="norm")(x)
    x = layers.GlobalMaxPooling2D()(x)
    return keras.Model(inputs, layers.Dense(NUM_CLASSES, activation="softmax", name="head")(x)), features(8, 8, 1)


def recurrent():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            layers.Embedding(20, 5, mask_zero=True, name="embedding"),
            layers.LSTM(4, name="lstm"),
            layers.Dense(NUM_CLASSES, activation="softmax", name="head"),
        ]
    )
    return model, np.random.default_rng(0).integers(0, 20, (NUM_ROWS, 6))


def attention():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 8))
    x = layers.MultiHeadAttention(2, 4, name="attention")(inputs, inputs)
    x = layers.LayerNormalization(name="norm")(inputs + x)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, layers.Dense(NUM_CLASSES, activation="softmax", name="head")(x)), features(6, 8)


PROGRAMS = {"mlp": mlp, "cnn": cnn, "recurrent": recurrent, "attention": attention}


def fit(model, x, *callbacks, optimizer="adam", epochs=2, batch_size=16, y=None, shuffle=True, **compile_args):
    model.compile(optimizer, "sparse_categorical_crossentropy", **compile_args)
    y = labels() if y is None else y
    return model.fit(x, y, epochs=epochs, batch_size=batch_size, verbose=0, shuffle=shuffle, callbacks=list(callbacks))


def state(model):
    """All weights and all optimizer state."""
    return [np.array(value) for value in (*model.get_weights(), *(v.numpy() for v in model.optimizer.variables))]


def identical(left, right):
    return len(left) == len(right) and all(np.array_equal(a, b, equal_nan=True) for a, b in zip(left, right))


class SpyingSGD(keras.optimizers.SGD):
    """Keeps the gradients of its last call in variables, in any execution mode."""

    def build(self, variables):
        super().build(variables)
        with tf.init_scope():
            self.seen = [tf.Variable(tf.zeros(v.shape, tf.float64), trainable=False) for v in variables]

    def apply(self, grads, trainable_variables=None):
        if not self.built:
            self.build(list(trainable_variables))
        for kept, grad in zip(self.seen, grads):
            kept.assign(tf.cast(tf.convert_to_tensor(grad), tf.float64))
        return super().apply(grads, trainable_variables)


class Spy(keras.callbacks.Callback):
    """Copies what a `SpyingSGD` kept, and the weights, after each batch."""

    def __init__(self):
        super().__init__()
        self.grads, self.weights = [], []

    def on_train_begin(self, logs=None):
        self.weights.append([v.numpy() for v in self.model.trainable_variables])

    def on_train_batch_end(self, batch, logs=None):
        self.grads.append([kept.numpy() for kept in self.model.optimizer.seen])
        self.weights.append([v.numpy() for v in self.model.trainable_variables])


def oracle(grad):
    """The default statistics of a gradient, in float64 NumPy."""
    grad = np.asarray(grad, np.float64).ravel()
    finite = grad[np.isfinite(grad)]
    peak = np.abs(finite).max(initial=0.0)
    norm = peak * np.sqrt(np.sum(np.square(grad / peak))) if peak else np.sqrt(np.sum(np.square(grad)))
    return {
        "grad_norm": norm,
        "grad_max": peak if len(finite) else np.nan,
        "nan_count": np.isnan(grad).sum(),
        "inf_count": np.isinf(grad).sum(),
        "zero_fraction": np.mean(grad == 0) if len(grad) else np.nan,
    }
