"""The origin of a NaN in training: found once, from where the step began, and training goes on as if nothing was."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import gradwatch
from gradwatch import GradientError, GradientWatch

layers = keras.layers
BAD_ROW = 100


def loss(y, prediction):
    return tf.reduce_mean((prediction - y) ** 2) + tf.reduce_mean(
        tf.math.log(tf.reduce_sum(y, -1))  # origin
        * prediction[:, 0]
    )


def model_and_data(**kwargs):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Dense(5, activation="tanh"),
            layers.Dense(3),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["mae"], **kwargs)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(160, 6)).astype("float32"), rng.uniform(1, 2, size=(160, 3)).astype("float32")
    y[BAD_ROW] = 0.0
    return model, x, y


def fitted(options, **kwargs):
    model, x, y = model_and_data(**kwargs)
    watch = None if options is None else GradientWatch(**options)
    error = None
    try:
        model.fit(x, y, batch_size=16, shuffle=False, verbose=0, callbacks=[watch] if watch else [])
    except GradientError as raised:
        error = raised
    state = [np.array(v.numpy()) for v in (*model.variables, *model.optimizer.variables, *model.metrics_variables)]
    return watch, state, error


def check(finding):
    text, first = inspect.getsourcelines(loss)
    (line,) = [first + number for number, code in enumerate(text) if code.rstrip().endswith("# origin")]
    assert finding.first_step == 6
    assert finding.cause.op_type == "Log"
    assert finding.cause.source.endswith(f"test_watcher.py:{line}")
    assert "1 of them 0; row 4 of the batch of 16" in finding.cause.detail


MODES = [{}, {"run_eagerly": True}, {"jit_compile": True}, {"steps_per_execution": 5}]


@pytest.mark.filterwarnings("ignore::gradwatch.GradientWarning")
@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("options", [{}, {"on_nonfinite": "skip"}], ids=["record", "skip"])
def test_the_origin_is_named_and_training_goes_on_as_without_it(options, mode, monkeypatch):
    watch, state, _ = fitted(options, **mode)
    assert len(watch.diagnosis.findings) == 2
    for finding in watch.diagnosis.findings:
        check(finding)
    monkeypatch.setattr(gradwatch.postmortem.Postmortem, "look", lambda self: None)
    _, without, _ = fitted(options if options else None, **mode)
    for one, other in zip(state, without, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.filterwarnings("ignore::gradwatch.GradientWarning")
@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("options", [{"on_nonfinite": "skip"}, {"fail_fast": True}], ids=["skip", "fail_fast"])
def test_with_guards(options, mode):
    watch, state, error = fitted(options, **mode)
    assert (error is not None) == ("fail_fast" in options)
    for finding in watch.diagnosis.findings if error is None else error.findings:
        check(finding)
    assert all(np.isfinite(array).all() for array in state[:10])


def test_the_warning_says_it(recwarn):
    fitted({"on_nonfinite": "skip"})
    said = [str(w.message) for w in recwarn if issubclass(w.category, gradwatch.GradientWarning)]
    assert any("made the first NaN or Inf, in the loss (given 16 numbers from 0" in text for text in said)


@pytest.mark.filterwarnings("ignore::gradwatch.GradientWarning")
def test_a_failure_of_the_search_costs_nothing_but_a_warning(monkeypatch):
    def fail(self, *args, **kwargs):
        raise RuntimeError("broken")

    monkeypatch.setattr(gradwatch.trial.Trial, "origin", fail)
    with pytest.warns(gradwatch.GradientWarning, match="looking for the origin"):
        watch, state, _ = fitted({"on_nonfinite": "skip"})
    assert watch.diagnosis.findings[0].cause is None
    assert all(np.isfinite(array).all() for array in state[:10])


@pytest.mark.filterwarnings("ignore::gradwatch.GradientWarning")
@pytest.mark.parametrize("wrap", [lambda step: step, tf.function], ids=["eager", "tf.function"])
def test_a_loop_of_ones_own(wrap):
    model, x, y = model_and_data()
    optimizer = keras.optimizers.SGD(0.01)

    @wrap
    def step(x, y):
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)
        return value

    options = {"model": model, "optimizers": optimizer, "on_nonfinite": "skip"}
    with gradwatch.watch_train_step(step, **options) as watched:
        for start in range(0, 160, 16):
            watched(tf.constant(x[start : start + 16]), tf.constant(y[start : start + 16]))
    for finding in watched.diagnosis.findings:
        check(finding)
