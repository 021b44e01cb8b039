import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from gradwatch.recording.session import Recorder

layers = keras.layers


def program(*, xla=False, **kwargs):
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
    compile_it = functools.partial(tf.function, jit_compile=True) if xla else None
    watched = recorder.watched(
        step, model=model, optimizers=lambda: {"sgd": optimizer}, active=lambda: True, compile_it=compile_it
    )
    recorder.start()
    return recorder, watched, model, optimizer


def batch(scale=1.0, rows=4):
    return {"x": tf.constant(np.random.default_rng(3).normal(size=(rows, 3)).astype("float32"))}, tf.constant(scale)


@pytest.mark.parametrize("mode", ["graph", "eager", "xla"])
@pytest.mark.parametrize(
    "options", [{}, {"guards": True}, {"guards": True, "latches": True}], ids=["record", "skip", "latch"]
)
def test_what_the_first_bad_step_was_given(mode, options):
    recorder, step, model, optimizer = program(xla=mode == "xla", **options)
    step = step if mode == "eager" else tf.function(step)
    for scale in (1.0, 2.0):
        step(batch()[0], scale=tf.constant(scale))
        assert recorder.bad_step() is None
    state = [*model.variables, optimizer.iterations, optimizer.learning_rate]
    before = {id(variable.value): np.array(variable.numpy()) for variable in state}
    step(batch()[0], scale=tf.constant(np.nan))
    step(batch()[0], scale=tf.constant(np.inf))
    bad = recorder.bad_step()
    assert bad.step == 2
    assert bad.model is model
    assert bad.is_complete
    assert set(bad.optimizers) == {"sgd"}
    (x,), named = bad.arguments
    np.testing.assert_array_equal(x["x"], batch()[0]["x"])
    assert np.isnan(named["scale"])
    assert len(before) == 9, "weights, moving statistics, the state of the dropout, and two scalars of the optimizer"
    assert {id(variable) for variable in bad.variables} == set(before)
    for variable, value in zip(bad.variables, bad.values, strict=True):
        np.testing.assert_array_equal(value, before[id(variable)])
    if "guards" in options:  # then the trained weights are still those from before, by themselves
        for variable in model.trainable_variables:
            np.testing.assert_array_equal(variable.numpy(), before[id(variable.value)])
    bad.put_back()
    for variable in state:
        np.testing.assert_array_equal(variable.numpy(), before[id(variable.value)])
    assert recorder.bad_step() is None, "only the first one is kept"
    step(batch()[0], scale=tf.constant(np.nan))
    assert recorder.bad_step() is None, "until another one is asked for"
    recorder.ask_for_another()
    step(batch(rows=3)[0], scale=tf.constant(np.inf))
    bad = recorder.bad_step()
    assert bad.step == 5
    assert len(bad.arguments[0][0]["x"]) == 3
    assert np.isinf(bad.arguments[1]["scale"])


def test_batches_of_any_size_and_kind():
    recorder, step, *_ = program()

    @tf.function(reduce_retracing=True)
    def outer(x, scale):
        return step({"x": x, "ids": tf.ragged.constant([[1], [2, 3]]), "name": "a name"}, scale=scale)

    for rows, scale in ((2, 1.0), (5, 1.0), (3, np.nan)):
        outer(tf.ones([rows, 3]), tf.constant(scale))
    (x,), _ = recorder.bad_step().arguments
    assert x["x"].shape == (3, 3)
    assert x["ids"].to_list() == [[1], [2, 3]]
    assert x["name"] == "a name"


def watched_by(recorder, step, optimizer, model=None, **kwargs):
    return recorder.watched(step, model=model, optimizers=lambda: {"o": optimizer}, active=lambda: True, **kwargs)


def test_an_overflow_is_bad_only_where_no_loss_scale_can_help():
    recorder, _, model, _ = program()
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(), initial_scale=4.0)

    def step(x):
        with tf.GradientTape() as tape:
            loss = optimizer.scale_loss(tf.reduce_mean(model(x)) * np.inf)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)

    watched = tf.function(watched_by(recorder, step, optimizer))
    steps = []
    for _ in range(4):
        watched(batch()[0]["x"])
        bad = recorder.bad_step()
        steps.append(None if bad is None else bad.step)
    assert steps == [None, None, 2, None], "the scale goes from 4 to 2 to 1"


@pytest.mark.parametrize("xla", [False, True])
def test_a_loss_that_is_not_finite_is_bad_at_any_scale(xla):
    recorder, _, model, _ = program()
    model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()), lambda y, p: tf.math.log(y) * p)
    compile_it = functools.partial(tf.function, jit_compile=True) if xla else None
    step = tf.function(watched_by(recorder, model.train_step, model.optimizer, model, compile_it=compile_it))
    x = batch()[0]["x"]
    for y in (1.0, 2.0, -1.0):
        step((x, tf.fill([4, 2], y)))
    assert recorder.bad_step().step == 2


def test_of_a_table_with_sparse_gradients_the_rows_of_the_batch():
    keras.utils.set_random_seed(0)
    table = tf.Variable(np.random.default_rng(0).normal(size=(1000, 4)).astype("float32"))
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build([table])

    def step(ids, scale):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.gather(table, ids) ** 2) * scale
        optimizer.apply(tape.gradient(loss, [table]), [table])

    recorder = Recorder(statistics=("grad_norm",), keeps_bad_step=True)
    watched = tf.function(watched_by(recorder, step, optimizer))
    recorder.start()
    ids = tf.constant([5, 7, 5])
    watched(ids, 1.0)
    before = table.numpy()
    watched(ids, np.nan)
    bad = recorder.bad_step()
    (value,) = [value for value in bad.values if isinstance(value, tf.IndexedSlices)]
    np.testing.assert_array_equal(value.indices, ids)
    np.testing.assert_array_equal(value.values, before[ids.numpy()])
    assert np.isnan(table.numpy()[7]).all()
    bad.put_back()
    np.testing.assert_array_equal(table.numpy(), before)
    compiled = functools.partial(tf.function, jit_compile=True)
    tf.function(watched_by(recorder, lambda *a: step(*a), optimizer, compile_it=compiled))(ids, np.nan)
    recorder.ask_for_another()
    tf.function(watched_by(recorder, lambda *a: step(*a), optimizer, compile_it=compiled))(ids, np.nan)
    assert not recorder.bad_step().is_complete


@pytest.mark.parametrize("outer", [tf.function, lambda step: step], ids=["graph", "eager"])
def test_an_optimizer_called_in_a_loop_of_the_step(outer):
    recorder, _, model, optimizer = program()

    @tf.function
    def inner(x, scales):
        for scale in scales:
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(model(x) ** 2) * scale
            optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)

    watched = outer(watched_by(recorder, lambda *args: inner(*args), optimizer, model))
    x = batch()[0]["x"]
    watched(x, tf.constant([1.0, 2.0, 3.0]))
    before = model.trainable_variables[0].numpy()
    watched(x, tf.constant([1.0, np.nan, 3.0]))
    bad = recorder.bad_step()
    assert bad.step == 4
    values = {id(variable): value for variable, value in zip(bad.variables, bad.values, strict=True)}
    np.testing.assert_array_equal(values[id(model.trainable_variables[0].value)], before)


def test_a_weight_that_was_written_before_it_is_read():
    weight = tf.Variable([1.0, 2.0])
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build([weight])

    def step(scale):
        weight.assign(weight * 2)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(weight**2) * scale
        optimizer.apply(tape.gradient(loss, [weight]), [weight])

    recorder = Recorder(statistics=("grad_norm",), keeps_bad_step=True)
    watched = tf.function(watched_by(recorder, step, optimizer))
    recorder.start()
    watched(np.nan)
    bad = recorder.bad_step()
    values = {id(variable): value for variable, value in zip(bad.variables, bad.values, strict=True)}
    np.testing.assert_array_equal(values[id(weight)], [1.0, 2.0])
