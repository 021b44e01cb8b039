import keras
import numpy as np
import pytest
import tensorflow as tf

from gradwatch.recording.session import Recorder

layers = keras.layers


def program(**kwargs):
    """A recorder that keeps bad steps, its watched step, and the model."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), layers.BatchNormalization(), layers.Dropout(0.5), layers.Dense(2)])
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build(model.trainable_variables)

    def step(x, *, scale):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(x["x"], training=True) ** 2) * scale
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    recorder = Recorder(statistics=("grad_norm",), keeps_bad_step=True, **kwargs)
    watched = recorder.watched(
        step, model=model, optimizers=lambda: {"sgd": optimizer}, active=lambda: True, compiled=False
    )
    recorder.start()
    return recorder, watched, model


def batch(scale=1.0):
    return {"x": tf.constant(np.random.default_rng(3).normal(size=(4, 3)).astype("float32"))}, tf.constant(scale)


@pytest.mark.parametrize("wrap", [tf.function, lambda step: step], ids=["graph", "eager"])
@pytest.mark.parametrize(
    "options", [{}, {"guards": True}, {"guards": True, "latches": True}], ids=["record", "skip", "latch"]
)
def test_what_the_first_bad_step_was_given(wrap, options):
    recorder, step, model = program(**options)
    step = wrap(step)
    for scale in (1.0, 2.0):
        step(batch()[0], scale=tf.constant(scale))
        assert recorder.bad_step() is None
    before = {id(variable.value): np.array(variable.numpy()) for variable in model.variables}
    step(batch()[0], scale=tf.constant(np.nan))
    step(batch()[0], scale=tf.constant(np.inf))
    bad = recorder.bad_step()
    assert bad.step == 2
    assert bad.model is model
    assert set(bad.optimizers) == {"sgd"}
    (x,), named = bad.arguments
    np.testing.assert_array_equal(x["x"], batch()[0]["x"])
    assert np.isnan(named["scale"])
    if "latches" in options:  # then the weights are still those from before
        assert {id(variable) for variable in bad.variables} == {id(v.value) for v in model.non_trainable_variables}
        for variable in model.trainable_variables:
            np.testing.assert_array_equal(variable.numpy(), before[id(variable.value)])
    else:
        assert {id(variable) for variable in bad.variables} == set(before)
    assert len(before) == 7, "weights, moving statistics and the state of the dropout"
    for variable, value in zip(bad.variables, bad.values, strict=True):
        np.testing.assert_array_equal(value, before[id(variable)])
    assert recorder.bad_step() is None, "only the first one is kept"


def test_batches_of_any_size_and_kind():
    recorder, step, _ = program()

    @tf.function(reduce_retracing=True)
    def outer(x, scale):
        return step({"x": x, "ids": tf.ragged.constant([[1], [2, 3]]), "name": "a name"}, scale=scale)

    for rows, scale in ((2, 1.0), (5, 1.0), (3, np.nan)):
        outer(tf.ones([rows, 3]), tf.constant(scale))
    (x,), _ = recorder.bad_step().arguments
    assert x["x"].shape == (3, 3)
    assert x["ids"].to_list() == [[1], [2, 3]]
    assert x["name"] == "a name"


def test_nothing_is_kept_under_xla_or_where_a_loss_scale_is_found():
    recorder, _, model = program()
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())

    def scaled(x):
        with tf.GradientTape() as tape:
            loss = optimizer.scale_loss(tf.reduce_mean(model(x) * np.nan))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)

    watched = recorder.watched(
        scaled, model=model, optimizers=lambda: {"o": optimizer}, active=lambda: True, compiled=False
    )
    tf.function(watched)(batch()[0]["x"])
    compiled = recorder.watched(
        lambda x: scaled(x), model=model, optimizers=lambda: {"o": optimizer}, active=lambda: True, compiled=True
    )
    tf.function(compiled, jit_compile=True)(batch()[0]["x"])
    assert recorder.bad_step() is None
