import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from pages import Page
from programs import features, identical, labels, mlp, oracle

import gradwatch
from gradwatch import DetachedVariableError, GradientWarning, NonFiniteGradientError, schema, watch_train_step

LOSS = keras.losses.SparseCategoricalCrossentropy()
KINDS = {
    "eager": lambda step: step,
    "graph": tf.function,
    "xla": lambda step: tf.function(step, jit_compile=True),
    "signature": lambda step: tf.function(
        step, input_signature=[tf.TensorSpec([None, 8]), tf.TensorSpec([None], tf.int64)]
    ),
}


def make(optimizer=None):
    model, _ = mlp()
    optimizer = optimizer or keras.optimizers.Adam(0.01)
    grads_seen = []

    def train_step(x, y):
        with tf.GradientTape() as tape:
            loss = LOSS(y, model(x, training=True))
        grads = tape.gradient(loss, model.trainable_variables)
        if tf.executing_eagerly():
            grads_seen.append([grad.numpy() for grad in grads])
        optimizer.apply(grads, model.trainable_variables)
        return loss

    return model, optimizer, train_step, grads_seen


def batches(x=None, epochs=1):
    x = features(8) if x is None else x
    return [(tf.constant(x[i : i + 14]), tf.constant(labels()[i : i + 14])) for i in range(0, 70, 14)] * epochs


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"statistics": "full"}, {"fail_fast": True}])
def test_weights_are_those_of_an_unwatched_loop(kind, options):
    weights = []
    for watched in (False, True):
        model, optimizer, step, _ = make()
        step = KINDS[kind](step)
        losses = []
        if watched:
            with watch_train_step(step, model=model, optimizers=optimizer, **options) as step:
                losses = [float(step(*batch)) for batch in batches(epochs=2)]
            assert step.log.num_steps == 10
            np.testing.assert_allclose(step.log.steps()["loss"], losses, rtol=1e-6)
        else:
            losses = [float(step(*batch)) for batch in batches(epochs=2)]
        weights.append([v.numpy() for v in (*model.variables, *optimizer.variables)])
        assert "apply" not in vars(optimizer)
    assert identical(*weights)


def test_statistics_against_the_oracle():
    model, optimizer, step, grads = make()
    step = watch_train_step(step, model=model, optimizers=optimizer, statistics=schema.DEFAULT_STATISTICS)
    for batch in batches():
        step(*batch)
    for name in ("grad_norm", "grad_max", "zero_fraction"):
        want = [[oracle(grad)[name] for grad in of_step] for of_step in grads]
        np.testing.assert_allclose(step.log.wide(name).to_numpy(), want, rtol=1e-5)


def test_step_that_was_traced_before_is_traced_anew():
    model, optimizer, step, _ = make()
    step = tf.function(step)
    step(*batches()[0])
    watched = watch_train_step(step, model=model, optimizers=optimizer)
    watched(*batches()[0])
    step(*batches()[0])
    assert watched.log.num_steps == 1


def test_autograph_still_converts_the_users_step():
    model, optimizer, step, _ = make()

    def with_control_flow(x, y):
        if tf.reduce_sum(x) > 1e9:
            x = tf.zeros_like(x)
        for _ in tf.range(2):
            step(x, y)
        return tf.constant(1.0)

    watched = watch_train_step(tf.function(with_control_flow), model=model, optimizers=optimizer)
    for batch in batches():
        watched(*batch)
    assert watched.log.num_steps == 10
    assert int(optimizer.iterations) == 10
    assert watched.log.steps()["batch"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_apply_inside_a_cond():
    model, optimizer, step, _ = make()

    def sometimes(x, y):
        return tf.cond(tf.reduce_sum(tf.cast(y, tf.int64)) % 2 == 0, lambda: step(x, y), lambda: tf.constant(0.0))

    watched = watch_train_step(tf.function(sometimes), model=model, optimizers=optimizer)
    made = sum(int(np.sum(y.numpy()) % 2 == 0) for _, y in batches())
    for batch in batches():
        watched(*batch)
    assert watched.log.num_steps == made == int(optimizer.iterations)
    assert 0 < made < 5


def test_function_inside_an_eager_step():
    model, optimizer, step, _ = make()
    inner = tf.function(step)
    watched = watch_train_step(lambda x, y: inner(x, y), model=model, optimizers=optimizer)
    for batch in batches():
        watched(*batch)
    assert watched.log.num_steps == 5


def test_function_that_was_traced_before_inside_an_eager_step_is_told():
    model, optimizer, step, _ = make()
    inner = tf.function(step)
    inner(*batches()[0])
    watched = watch_train_step(lambda x, y: inner(x, y), model=model, optimizers=optimizer)
    with pytest.warns(GradientWarning, match="without calling `apply`"):
        watched(*batches()[0])


def test_whole_loop_in_one_function():
    model, optimizer, step, _ = make()
    watched = watch_train_step(step, model=model, optimizers=optimizer)
    data = tf.data.Dataset.from_tensor_slices((features(8), labels())).batch(14, drop_remainder=True)

    @tf.function
    def epoch():
        for x, y in data:
            watched(x, y)

    epoch()
    assert watched.log.num_steps == 5


def test_two_optimizers_and_their_names():
    generator = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, name="make")])
    critic = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, name="judge")])
    optimizers = {"d": keras.optimizers.SGD(0.01), "g": keras.optimizers.Adam(0.01)}

    @tf.function
    def step(z, real):
        for _ in range(2):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(critic(generator(z)) ** 2) - tf.reduce_mean(critic(real))
            variables = critic.trainable_variables
            optimizers["d"].apply(tape.gradient(loss, variables), variables)
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(critic(generator(z)))
        variables = generator.trainable_variables
        optimizers["g"].apply(tape.gradient(loss, variables), variables)
        return {"loss": loss}

    with watch_train_step(step, optimizers=optimizers) as watched:
        for _ in range(4):
            watched(tf.ones([8, 3]), tf.ones([8, 4]))
    steps = watched.log.steps()
    assert steps["optimizer"].tolist() == ["d", "d", "g"] * 4
    assert steps["step"].tolist() == list(range(12))
    assert steps["batch"].tolist() == [b for b in range(4) for _ in range(3)]
    assert watched.log.frame().groupby("optimizer", observed=True).size().to_dict() == {"d": 16, "g": 8}
    assert "variable" in watched.report().to_markdown().lower()


def test_optimizers_by_list_get_different_names():
    optimizers = [keras.optimizers.SGD(name="sgd"), keras.optimizers.SGD(name="sgd")]
    variables = [keras.Variable([1.0, 2.0], name="a"), keras.Variable([3.0], name="b")]

    def step():
        for optimizer, variable in zip(optimizers, variables):
            optimizer.apply([tf.ones(variable.shape)], [variable])

    watched = watch_train_step(step, optimizers=optimizers)
    watched()
    assert watched.log.steps()["optimizer"].tolist() == ["sgd", "sgd_2"]


def test_apply_without_variables():
    variable = keras.Variable([1.0, 2.0], name="a")
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build([variable])
    watched = watch_train_step(lambda: optimizer.apply([tf.constant([3.0, 4.0])]), optimizers=optimizer)
    watched()
    assert watched.log.wide("grad_norm").to_numpy().tolist() == [[5.0]]


def test_epoch_is_what_the_user_sets():
    model, optimizer, step, _ = make()
    watched = watch_train_step(step, model=model, optimizers=optimizer)
    for watched.epoch in range(2):
        for batch in batches():
            watched(*batch)
    assert watched.log.steps()["epoch"].tolist() == [0] * 5 + [1] * 5
    assert watched.log.steps()["batch"].tolist() == [0, 1, 2, 3, 4] * 2


def test_shows_itself():
    model, optimizer, step, _ = make()
    watched = watch_train_step(step, model=model, optimizers=optimizer)
    assert "nothing recorded yet" in repr(watched)
    for batch in batches():
        watched(*batch)
    watched.close()
    assert repr(watched) == f"<gradwatch.WatchedStep of {model.name!r}, recorded up to step 4>"
    assert f"WatchedStep of {model.name}: step 4" in Page(watched._repr_html_()).text


@pytest.mark.parametrize("kind", KINDS)
def test_fail_fast_keeps_the_weights(kind):
    x = features(8)
    x[14:28] = np.nan
    model, optimizer, step, _ = make()
    watched = watch_train_step(KINDS[kind](step), model=model, optimizers=optimizer, fail_fast=True)
    first, second = batches(x)[:2]
    watched(*first)
    before = [v.numpy() for v in model.trainable_variables]
    with pytest.raises(NonFiniteGradientError) as info:
        watched(*second)
    assert info.value.step == 1
    assert identical(before, [v.numpy() for v in model.trainable_variables])
    assert watched.log.steps()["applied"].tolist() == [True, False]


@pytest.mark.parametrize("kind", ["eager", "graph"])
def test_all_detached(kind):
    model, optimizer, _, _ = make()

    def step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.cast(tf.argmax(model(x), axis=-1) != y, tf.float32))
        grads = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(grads, model.trainable_variables)
        return loss

    watched = watch_train_step(KINDS[kind](step), model=model, optimizers=optimizer)
    with pytest.raises(DetachedVariableError, match="No gradient reaches any"):
        watched(*batches()[0])
    assert watched.log.variables()["detached"].all()


def test_run_dir(tmp_path):
    model, optimizer, step, _ = make()
    with watch_train_step(step, model=model, optimizers=optimizer, run_dir=tmp_path / "run") as watched:
        for batch in batches():
            watched(*batch)
    assert gradwatch.load(tmp_path / "run").num_steps == 5


def test_optimizers_are_found_on_the_model():
    model, _, _, _ = make()
    model.compile("sgd", LOSS)

    def step(x, y):
        with tf.GradientTape() as tape:
            loss = LOSS(y, model(x))
        model.optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)

    watched = watch_train_step(step, model=model)
    watched(*batches()[0])
    assert watched.log.steps()["optimizer"].tolist() == ["optimizer"]


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"train_step": 3}, TypeError, "must be a function"),
        ({}, ValueError, "no model"),
        ({"model": mlp()[0]}, ValueError, "has no Keras optimizer"),
        ({"model": "model"}, TypeError, "Keras 3 model"),
        ({"optimizers": []}, ValueError, "no optimizer"),
        ({"optimizers": ["adam"]}, TypeError, "Keras 3 optimizers"),
        ({"optimizers": keras.optimizers.SGD(), "every_steps": -1}, ValueError, "every_steps=-1"),
    ],
)
def test_bad_input(arguments, error, match):
    arguments = {"train_step": lambda: None, **arguments}
    with pytest.raises(error, match=match):
        watch_train_step(arguments.pop("train_step"), **arguments)


def test_numpy_batch_and_a_loss_that_is_a_number():
    x = features(8)
    x[3, 2] = np.inf
    model, optimizer, step, _ = make()
    watched = watch_train_step(
        lambda x, y: float(step(tf.constant(x), tf.constant(y))), model=model, optimizers=optimizer
    )
    with pytest.warns(GradientWarning):
        watched(x[:14], labels()[:14])
    assert watched.log.segments[0].steps["nonfinite_inputs"].tolist() == [1]
    assert watched.diagnosis.findings[0].rule == "NonFiniteInput"
    model, optimizer, step, _ = make()
    watched = watch_train_step(lambda x, y: float(step(x, y)), model=model, optimizers=optimizer)
    loss = watched(*batches()[0])
    assert watched.log.steps()["loss"].tolist() == [pytest.approx(loss)]


@pytest.mark.parametrize("batch", [{1: "a", "b": 2}, np.array(["a", None], dtype=object)])
def test_batch_that_is_no_batch_costs_no_training(batch):
    model, optimizer, step, _ = make()
    watched = watch_train_step(lambda extra, x, y: step(x, y), model=model, optimizers=optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GradientWarning)
        watched(batch, *batches()[0])
    assert watched.log.num_steps == 1
    assert int(optimizer.iterations) == 1
