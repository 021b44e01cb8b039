"""Rows: what a model is made of."""

import keras
import numpy as np
import tensorflow as tf

from matrix.row import Row, Traced, calls_of, features, labels, mlp

layers = keras.layers


def _row(name, about, program, **kwargs):
    return Row(area="models", name=name, about=about, program=program, **kwargs)


def _functional(run):
    inputs = keras.Input((6,))
    left, right = layers.Dense(4, activation="relu")(Traced()(inputs)), layers.Dense(4, activation="tanh")(inputs)
    return run.fit(run.compiled(keras.Model(inputs, layers.Dense(3)(layers.Concatenate()([left, right])))))


class _Subclassed(keras.Model):
    def __init__(self):
        super().__init__(name="subclassed")
        self.blocks = [layers.Dense(4, activation="tanh") for _ in range(2)]
        self.head = layers.Dense(3)

    def call(self, x, training=False):
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def _nested(run):
    shared = layers.Dense(6, activation="tanh", name="shared")
    block = keras.Sequential([keras.Input((6,)), shared, layers.Dense(6, name="inside")], name="block")
    inputs = keras.Input((6,))
    return run.fit(run.compiled(keras.Model(inputs, layers.Dense(3, name="head")(shared(block(shared(inputs)))))))


def _outputs(run):
    inputs = keras.Input((6,))
    hidden = layers.Dense(4, activation="tanh")(inputs)
    model = keras.Model(
        inputs, {"kind": layers.Dense(3, name="kind")(hidden), "size": layers.Dense(1, name="size")(hidden)}
    )
    loss = {"kind": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "size": "mse"}
    run.compiled(model, loss=loss, loss_weights={"kind": 1.0, "size": 0.1})
    return run.fit(model, features(6), {"kind": labels(), "size": features(1)})


def _words():
    words = np.random.default_rng(2).integers(1, 9, (20, 5))
    words[:, 3:] = 0
    return words


def _recurrent(kind, **compile_args):
    def program(run):
        model = keras.Sequential(
            [keras.Input((5,), dtype="int32"), layers.Embedding(9, 3, mask_zero=True), kind(4), layers.Dense(3)]
        )
        return run.fit(run.compiled(model, **compile_args), _words(), labels())

    return program


def _embedding(optimizer, **compile_args):
    def program(run):
        model = keras.Sequential(
            [keras.Input((5,), dtype="int32"), layers.Embedding(50, 3), layers.Flatten(), layers.Dense(3)]
        )
        run.compiled(model, run.optimizer(optimizer, 0.1), **compile_args)
        return run.fit(model, _words(), labels())

    return program


def _with_state(run):
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(5), layers.BatchNormalization(), layers.Dropout(0.3, seed=4), layers.Dense(3)]
    )
    return run.fit(run.compiled(model))


def _convolution(run):
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.Conv2D(2, 3),
            layers.ReLU(),
            layers.GroupNormalization(1),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    return run.fit(run.compiled(model), features(6, 6, 1), labels())


def _attention(run):
    inputs = keras.Input((4, 6))
    x = layers.MultiHeadAttention(2, 3)(inputs, inputs)
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(inputs + x))
    return run.fit(run.compiled(keras.Model(inputs, layers.Dense(3)(x))), features(4, 6), labels())


class _Odd(layers.Layer):
    """A scalar, an empty variable, and names that nobody expects."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale>of.x-100")
        self.nothing = self.add_weight(shape=(0, 3), name="nothing")
        self.shift = self.add_weight(shape=(shape[-1],), name="__.0")

    def call(self, x):
        return x * self.scale + self.shift + keras.ops.sum(self.nothing)


class _SameNames(keras.Model):
    def __init__(self):
        super().__init__(name="same_names")
        self.odd = _Odd(name="odd.layer-1>a")
        self.first, self.second = layers.Dense(4, name="same"), layers.Dense(3, name="same")

    def call(self, x):
        return self.second(self.first(self.odd(x)))


def _unfrozen(run):
    model = mlp()
    model.get_layer("hidden").trainable = False
    first = run.fit(run.compiled(model), epochs=1)
    run.optimizers.clear()
    model.get_layer("hidden").trainable = True
    run.models.clear()
    return [first, run.fit(run.compiled(model), epochs=1)]


class _Many(layers.Layer):
    def build(self, shape):
        self.parts = [self.add_weight(shape=(shape[-1],), name=f"part_{index}") for index in range(298)]

    def call(self, x):
        return x * tf.add_n([tf.convert_to_tensor(part) for part in self.parts])


def _many(run):
    model = keras.Sequential([keras.Input((6,)), _Many(), layers.Dense(3)])
    return run.fit(run.compiled(model), batch_size=10)


def _detached(run):
    inputs = keras.Input((6,))
    cut = keras.layers.Lambda(tf.stop_gradient)(layers.Dense(6, name="encoder")(inputs))
    return run.fit(run.compiled(keras.Model(inputs, layers.Dense(3, name="head")(cut))))


def _fit(make):
    return lambda run: run.fit(run.compiled(make()))


ROWS = (
    _row("Sequential", "a `Sequential` model", _fit(mlp)),
    _row("functional", "a functional model with branches", _functional),
    _row("subclassed", "a subclassed model, built by its first batch", _fit(_Subclassed)),
    _row("nested and shared", "a model inside a model, and a layer used three times", _nested),
    _row("several outputs", "two outputs with losses and weights of their own", _outputs),
    _row("convolution", "`Conv2D` and `GroupNormalization`", _convolution),
    _row("attention", "`MultiHeadAttention` and `LayerNormalization`", _attention),
    _row("LSTM", "`LSTM` with a mask", _recurrent(layers.LSTM)),
    _row("GRU", "`GRU` with a mask", _recurrent(layers.GRU)),
    _row("BatchNormalization, Dropout", "moving statistics and a seed state, which are not moved", _with_state),
    _row("Embedding", "repeated indices: the norm of the summed gradient", _embedding(keras.optimizers.SGD)),
    _row("Embedding, Adam", "the same with `Adam`", _embedding(keras.optimizers.Adam)),
    _row("Embedding, jit_compile", "the same under XLA", _embedding(keras.optimizers.SGD, jit_compile=True)),
    _row("odd variables", "scalars, empty variables, odd names, the same name twice", _fit(_SameNames)),
    _row("frozen, then unfrozen", "a frozen layer that is trained in the second fit", _unfrozen, calls=calls_of(1) * 2),
    _row(
        "300 variables",
        "a model with 300 variables",
        _many,
        calls=calls_of(batches=2),
        bad=2,
    ),
    _row(
        "detached",
        "variables without a gradient: one warning, and the rest is trained",
        _detached,
        position=2,
        warns="encoder",
    ),
)
