"""Which of the bad steps of a run are looked at and told of, and what came first."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import gradwatch
from gradwatch import GradientWatch

layers = keras.layers
pytestmark = pytest.mark.filterwarnings("ignore::gradwatch.GradientWarning")
MODES = [{}, {"jit_compile": True}]


def data(rows=96):
    rng = np.random.default_rng(0)
    return rng.uniform(1, 2, size=(rows, 6)).astype("float32"), rng.uniform(1, 2, size=(rows, 3)).astype("float32")


def fitted(model, x, y, epochs=1, **options):
    watch = GradientWatch(**options)
    model.fit(x, y, batch_size=16, epochs=epochs, shuffle=False, verbose=0, callbacks=[watch])
    return watch


def model_with(*between, loss="mse", optimizer=None, **kwargs):
    keras.utils.set_random_seed(0)
    stack = [keras.Input((6,)), layers.Dense(5, name="first"), *between, layers.Dense(3, name="last")]
    model = keras.Sequential(stack, name="net")
    model.compile(optimizer or keras.optimizers.SGD(1e-3), loss, **kwargs)
    return model


def causes(watch):
    return {finding.rule: finding.cause for finding in watch.diagnosis.findings if finding.cause is not None}


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_first_in_the_batch(mode):
    x, y = data()
    x[[33, 40], 2] = np.nan
    watch = fitted(model_with(**mode), x, y)
    finding = next(finding for finding in watch.diagnosis.findings if finding.rule == "NonFiniteInput")
    assert finding.first_step == 2
    assert finding.cause.kind == "in the batch"
    assert finding.cause.detail == "x: rows 1, 8 of the batch of 16"
    assert "x: rows 1, 8 of the batch of 16" in finding.message


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_first_in_the_forward_pass(mode):
    x, y = data()
    x[50] = 0.0
    function = lambda x: x + tf.reduce_sum(tf.math.log(x[:, :5]), -1, keepdims=True)  # noqa: E731
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), layers.Lambda(function, name="logs"), layers.Dense(3)], name="net")
    model.compile(keras.optimizers.SGD(1e-3), "mse", **mode)
    cause = causes(fitted(model, x, y))["NonFiniteGradient"]
    assert (cause.kind, cause.op_type, cause.layer) == ("forward", "Log", "net/logs")
    assert cause.detail.endswith("row 2 of the batch of 16")


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_first_in_the_loss(mode):
    def loss(y, prediction):
        return tf.reduce_mean(tf.sqrt(y) * prediction**2, -1)

    x, y = data()
    y[20] = -1.0
    cause = causes(fitted(model_with(loss=loss, **mode), x, y))["NonFiniteLoss"]
    assert (cause.kind, cause.op_type, cause.layer) == ("loss", "Sqrt", None)
    assert "in the loss" in cause.sentence


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_first_in_the_backward_pass(mode):
    between = layers.Lambda(lambda x: x + tf.norm(x * 0.0, axis=-1, keepdims=True), name="extra")
    watch = fitted(model_with(between, **mode), *data())
    cause = causes(watch)["NonFiniteGradient"]
    assert (cause.kind, cause.layer) == ("backward", "net/extra")
    assert np.isfinite(watch.log.steps()["loss"][0])


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_first_in_the_update(mode):
    keras.config.set_dtype_policy("float16")
    try:
        model = model_with(layers.ReLU(), optimizer=keras.optimizers.Adam(1e-3, epsilon=1e-8), **mode)
    finally:
        keras.config.set_dtype_policy("float32")
    model.get_layer("first").bias.assign([-100.0] * 5)  # every unit is dead, and the gradient is 0
    watch = fitted(model, *data())
    finding = next(finding for finding in watch.diagnosis.findings if finding.rule == "NonFiniteGradient")
    assert finding.first_step == 1
    assert (finding.cause.kind, finding.cause.op_type) == ("optimizer", "Adam")
    assert "its epsilon of 1e-08 is 0 in float16" in finding.cause.detail
    assert "the update of the step before made it" in finding.message.lower()
    assert "epsilon" in finding.remedy


def test_weights_that_were_bad_from_the_start():
    model = model_with()
    model.get_layer("last").bias.assign([0.0, np.nan, 0.0])
    cause = causes(fitted(model, *data()))["NonFiniteGradient"]
    assert cause.kind == "in the weights"
    assert cause.detail == "1 variable held NaN or Inf before the step: net/last/bias"


class Ratio(keras.metrics.Metric):
    def __init__(self):
        super().__init__(name="ratio")
        self.total = self.add_variable((), "zeros", name="total")

    def update_state(self, y, prediction, sample_weight=None):
        self.total.assign_add(tf.reduce_sum(y * 0.0))

    def result(self):
        return self.total / self.total


def test_only_a_metric():
    watch = fitted(model_with(metrics=[Ratio()]), *data())
    (finding,) = [finding for finding in watch.diagnosis.findings if finding.rule == "NonFiniteLoss"]
    assert str(finding.severity) == "info"
    assert "Only 1 metric came out as NaN or Inf: ratio" in finding.message
    assert watch.diagnosis.ok
    x, y = data()
    y[40] = np.nan
    watch = fitted(model_with(metrics=[Ratio()]), x, y)
    assert all("Only 1 metric" not in finding.message for finding in watch.diagnosis.findings)


def test_the_first_of_each_new_origin(monkeypatch):
    def loss(y, prediction):
        logs = tf.math.log(y[:, 0])  # first
        roots = tf.sqrt(y[:, 1])  # second
        return tf.reduce_mean((logs + roots) * prediction[:, 0] ** 2)

    traced = []
    origin = gradwatch.trial.Trial.origin
    monkeypatch.setattr(
        gradwatch.trial.Trial, "origin", lambda self, *a, **k: traced.append(1) or origin(self, *a, **k)
    )
    x, y = data(160)
    y[[20, 70], 0] = 0.0  # steps 1 and 4
    y[[100], 1] = -1.0  # step 6
    watch = GradientWatch(on_nonfinite="skip")
    drain = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: watch.log)
    model = model_with(loss=loss)
    model.fit(x, y, batch_size=16, shuffle=False, verbose=0, callbacks=[watch, drain])
    found = [finding for finding in watch.diagnosis.findings if finding.rule == "NonFiniteGradient"]
    _, start = inspect.getsourcelines(loss)
    assert [finding.first_step for finding in found] == [1, 6]
    assert [finding.cause.op_type for finding in found] == ["Log", "Sqrt"]
    assert [int(finding.cause.source.rpartition(":")[2]) - start for finding in found] == [1, 2]
    assert len(traced) == 3


def test_nothing_is_held_where_that_is_not_wanted(tmp_path):
    x, y = data()
    y[40] = np.nan
    watch = fitted(model_with(), x, y, run_dir=tmp_path / "run", find_origin=False)
    findings = {finding.rule: finding for finding in watch.diagnosis.findings}
    assert findings["NonFiniteInput"].cause is None
    assert not list(tmp_path.rglob("*.tensors"))
    assert watch._watcher.recorder.bad_step() is None


def test_a_run_that_was_ruined_is_looked_at_once(monkeypatch):
    count = []
    origin = gradwatch.trial.Trial.origin
    monkeypatch.setattr(gradwatch.trial.Trial, "origin", lambda self, *a, **k: count.append(1) or origin(self, *a, **k))
    x, y = data()
    x[33] = np.nan
    watch = fitted(model_with(), x, y, epochs=3)
    assert len(count) == 1
    assert len(watch.log.info.origins) == 1


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_under_a_loss_scale_the_scale_is_sought_first(mode):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = model_with(layers.Lambda(lambda x: x + tf.norm(x * 0.0, axis=-1, keepdims=True), name="extra"), **mode)
    finally:
        keras.config.set_dtype_policy("float32")
    watch = fitted(model, *data(), epochs=9)
    finding = next(finding for finding in watch.diagnosis.findings if finding.rule == "NonFiniteGradient")
    assert (finding.cause.kind, finding.cause.layer) == ("backward", "net/extra")
    assert watch.log.info.origins[0].step == 15, "it comes down from 2**15"


def test_with_accumulation_and_dropout():
    x, y = data()
    y[40] = 0.0

    def loss(y, prediction):
        return tf.reduce_mean(tf.math.log(y) * prediction**2, -1)

    optimizer = keras.optimizers.SGD(1e-3, gradient_accumulation_steps=2)
    watch = fitted(model_with(layers.Dropout(0.5), loss=loss, optimizer=optimizer), x, y)
    cause = causes(watch)["NonFiniteGradient"]
    assert (cause.kind, cause.op_type) == ("loss", "Log")
    assert cause.detail.endswith("row 8 of the batch of 16")
