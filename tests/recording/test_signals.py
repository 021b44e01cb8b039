import keras
import numpy as np
import pytest

from gradwatch import GradientWatch, schema
from gradwatch.records import Output

pytestmark = pytest.mark.filterwarnings("ignore::gradwatch.errors.GradientWarning")  # some of these models are sick

layers = keras.layers
RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 5)).astype("float32") * 9
Y = RNG.normal(size=(64, 1)).astype("float32")


def model_of(*stack, loss="mse", **options):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(X.shape[1:]), *stack])
    model.compile(keras.optimizers.SGD(1e-2), loss, **options)
    return model


def watched(model, x=X, y=Y, *, epochs=1, batch_size=64, **options):
    watch = GradientWatch(**{"statistics": schema.VALUE_NAMES, **options})
    model.fit(x, y, batch_size=batch_size, epochs=epochs, shuffle=False, verbose=0, callbacks=[watch])
    return watch.log


def test_flat_activations_and_inputs_against_an_oracle():
    model = model_of(layers.Dense(7, "tanh", name="a"), layers.Dense(6, "sigmoid", name="b"), layers.Dense(1, name="c"))
    (wa, ba, wb, bb, *_) = [np.float64(w) for w in model.get_weights()]
    log = watched(model)
    a = np.tanh(X @ wa + ba)
    b = 1 / (1 + np.exp(-(a @ wb + bb)))
    saturation = log.wide("saturation").loc[0].filter(like="kernel").tolist()
    inputs = log.wide("input_rms").loc[0].filter(like="kernel").tolist()
    np.testing.assert_allclose(saturation[:2], [(1 - a**2 < 0.01).mean(), (4 * b * (1 - b) < 0.01).mean()], atol=0.01)
    assert np.isnan(saturation[2])
    assert saturation[0] > 0.3
    np.testing.assert_allclose(inputs, [np.sqrt(np.mean(v**2)) for v in (np.float64(X), a, b)], rtol=1e-5)
    assert log.wide("input_rms").filter(like="bias").isna().all(axis=None)


def test_units_that_never_fire_are_dead():
    bias = keras.initializers.Constant([-1e9, 0, 0, -1e9])
    model = model_of(layers.Dense(4, "relu", bias_initializer=bias, name="a"), layers.Dense(1, name="b"))
    dead = watched(model, epochs=12).wide("dead_fraction").dropna(how="all")
    assert dead.index[0] == 9
    assert dead.filter(like="a/bias").iloc[-1].tolist() == [0.5]
    assert dead.filter(like="b/bias").iloc[-1].tolist() == [0]


def test_units_that_are_alike():
    same = keras.initializers.Constant(0.1)
    model = model_of(
        layers.Dense(4, "tanh", kernel_initializer=same, name="a"), layers.Dense(1, kernel_initializer=same)
    )
    spread = watched(model, x=X / 99, epochs=3).wide("unit_spread").filter(like="a/bias")
    assert (spread < 1e-5).all(axis=None)


def test_a_schedule_with_everything_at_first():
    log = watched(model_of(layers.Dense(4, "tanh"), layers.Dense(1)), epochs=10, batch_size=8, statistics="default")
    assert log.wide("saturation").dropna(how="all").index.tolist() == [*range(20), 47]
    assert log.wide("update_norm").dropna(how="all").index.tolist() == [*range(20), 47]
    assert log.wide("zero_fraction").dropna(how="all").index.tolist() == [*range(20), *range(20, 80, 10)]


@pytest.mark.parametrize("options", [{"jit_compile": True}, {"run_eagerly": True}])
def test_where_the_forward_pass_is_not_seen_units_are(options):
    log = watched(model_of(layers.Dense(4, "tanh"), layers.Dense(1), **options), epochs=12)
    for name in ("saturation", "input_rms"):
        assert log.wide(name).isna().all(axis=None)
    assert (log.wide("dead_fraction").dropna(how="all").dropna(axis=1) == 0).all(axis=None)
    assert log.info.output is not None
    assert (log.info.output.activation, log.info.output.num_units) == ("linear", 1)


def test_xla_copies_no_weights_unless_it_is_asked_to():
    model = model_of(layers.Dense(1), jit_compile=True)
    assert watched(model, statistics="default").wide("update_norm").isna().all(axis=None)
    assert (
        watched(model_of(layers.Dense(1), jit_compile=True), statistics="full").wide("update_norm").gt(0).all(axis=None)
    )


def test_how_the_model_ends_and_what_it_is_compared_with():
    model = model_of(
        layers.Dense(4, "relu", name="a"), layers.Dense(3, "softmax", name="b"), loss="sparse_categorical_crossentropy"
    )
    log = watched(model, y=np.arange(64) % 3)
    assert log.info.output == Output(
        log.info.output.layer, "softmax", 3, "sparse_categorical_crossentropy", False, 0.0, 2.0
    )
    assert log.info.output.layer == model.layers[-1].path
    logits = keras.losses.BinaryCrossentropy(from_logits=True)
    log = watched(model_of(layers.Dense(1, name="c"), loss=logits), y=Y > 0)
    assert log.info.output.layer.endswith("/c")
    assert (log.info.output.loss, log.info.output.from_logits) == ("BinaryCrossentropy", True)
    assert (log.info.output.target_min, log.info.output.target_max) == (0, 1)


def test_an_unknown_end():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5,))
    model = keras.Model(inputs, [layers.Dense(1)(inputs), layers.Dense(1)(inputs)])
    model.compile("sgd", ["mse", "mae"])
    assert watched(model, y=[Y, Y]).info.output is None


def test_weights_that_are_nan_when_training_ends():
    class Spoil(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            kernel = self.model.layers[0].kernel
            kernel.assign(kernel * np.nan)

    watch = GradientWatch()
    model = model_of(layers.Dense(1, name="d"))
    model.fit(X, Y, verbose=0, callbacks=[Spoil(), watch])
    assert watch.log.info.nonfinite_variables == (model.layers[0].kernel.path,)
    assert watch.diagnosis.findings[0].rule == "NonFiniteWeight"
