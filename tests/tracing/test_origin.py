import inspect
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from tracing import cut_programs, nan_programs

import gradwatch
from gradwatch import check_gradients
from gradwatch.tracing import origin
from gradwatch.trial import Trial

layers = keras.layers
FILE = pathlib.Path(nan_programs.__file__)
X, Y = cut_programs.X, cut_programs.Y


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)


def line_of(function):
    text, first = inspect.getsourcelines(getattr(function, "python_function", function))
    (line,) = [first + number for number, code in enumerate(text) if code.rstrip().endswith("# origin")]
    return line


def causes(model, x=X, y=Y):
    return {finding.rule: finding.cause for finding in check_gradients(model, x, y).findings}


@pytest.mark.parametrize("mode", [{}, {"run_eagerly": True}, {"jit_compile": True}], ids=["graph", "eager", "xla"])
@pytest.mark.parametrize("name", nan_programs.FUNCTIONS)
def test_the_operation_and_the_line(name, mode):
    function, kind, op_type, detail = nan_programs.FUNCTIONS[name]
    model = cut_programs.Between(function, **mode)
    cause = causes(model)["NonFiniteGradient"]
    assert (cause.kind, cause.op_type) == (kind, op_type)
    path, _, number = cause.source.rpartition(":")
    assert pathlib.Path(path).resolve() == FILE
    assert int(number) == line_of(nan_programs.LINES.get(name, function))
    assert cause.code.endswith("# origin")
    assert detail in cause.detail


def test_rows_of_the_batch_and_words():
    x = np.ones((8, 6), "float32")
    x[[2, 5]] = 0.0
    inputs = keras.Input((6,))
    hidden = layers.Dense(4, use_bias=False, kernel_initializer="ones")(inputs)
    model = keras.Model(inputs, layers.Lambda(lambda x: tf.math.log(x))(hidden))
    model.compile("sgd", "mse")
    found = check_gradients(model, x, np.zeros((8, 4), "float32")).findings
    finding = next(finding for finding in found if finding.rule == "NonFiniteGradient")
    assert finding.cause.detail == "given 32 numbers from 0 to 6, 8 of them 0; rows 2, 5 of the batch of 8"
    assert finding.cause.explanation[1:] in finding.message
    assert finding.remedy == finding.cause.mend
    assert "held back" in finding.message


def test_a_bad_batch_is_named_with_its_rows():
    x = X.copy()
    x[[1, 7], 2] = np.nan
    found = causes(cut_programs.Own(), x)
    assert found["NonFiniteInput"].kind == "in the batch"
    assert found["NonFiniteInput"].detail == "x: rows 1, 7 of the batch of 16"


def test_bad_weights_are_named():
    model = cut_programs.Own()
    model.last.kernel.assign(np.full((5, 3), np.inf, "float32"))
    cause = causes(model)["NonFiniteGradient"]
    assert (cause.kind, cause.op_type, cause.layer) == ("in the weights", "ReadVariableOp", "own/after")


def test_in_the_loss():
    def loss(y, prediction):
        return tf.reduce_mean(tf.math.log(prediction - prediction))  # origin

    model = cut_programs.Own()
    model.compile("sgd", loss)
    cause = causes(model)["NonFiniteLoss"]
    assert (cause.kind, cause.op_type) == ("loss", "Log")
    assert cause.source.endswith(f"test_origin.py:{line_of(loss)}")


def test_in_a_recurrent_layer():
    class Logs(layers.SimpleRNNCell):
        def call(self, inputs, states, training=False):
            output, states = super().call(inputs, states, training=training)
            return tf.math.log(output - 2.0), states  # origin

    inputs = keras.Input((6,))
    x = layers.RNN(Logs(5))(layers.Reshape((3, 2))(inputs))
    model = keras.Model(inputs, layers.Dense(3)(x))
    model.compile("sgd", "mse")
    cause = causes(model)["NonFiniteGradient"]
    assert cause.op_type == "Log"
    assert cause.source.endswith(f"test_origin.py:{line_of(Logs)}")


def test_dropout_and_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        inputs = keras.Input((6,))
        x = layers.Dropout(0.5, seed=1)(layers.Dense(5)(inputs))
        model = keras.Model(inputs, layers.Dense(3)(layers.Lambda(nan_programs.log_of_zero)(x)))
        model.compile("sgd", "mse")
    finally:
        keras.config.set_dtype_policy("float32")
    before = [np.array(variable.numpy()) for variable in model.variables]
    found = check_gradients(model, X, Y).findings
    assert {finding.cause.op_type for finding in found if finding.cause} == {"Log"}
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_origins_are_stored(tmp_path):
    from gradwatch.records import Origin, RunInfo
    from gradwatch.testing import synthetic_log

    cause = gradwatch.Cause("forward", op_type="Log", source="train.py:83", detail="given 3 times 0")
    log = synthetic_log(nan_count={"head/kernel": 1}, info=RunInfo(origins=(Origin(0, cause),)))
    log.save(tmp_path / "log.parquet")
    (finding,) = gradwatch.diagnose(gradwatch.load(tmp_path / "log.parquet")).findings
    assert finding.cause == cause
    assert "`Log` (train.py:83) made the first NaN or Inf (given 3 times 0)." in finding.message.replace("  ", " ")


def test_origin_of_another_step_is_not_taken():
    from gradwatch.records import Origin, RunInfo
    from gradwatch.testing import synthetic_log

    log = synthetic_log(nan_count={"head/kernel": 1}, info=RunInfo(origins=(Origin(7, gradwatch.Cause("forward")),)))
    assert gradwatch.diagnose(log).findings[0].cause is None


def test_it_costs_three_traces_at_most(monkeypatch):
    """The step itself, and its graph twice: with a question after each operation, and once for what one was given."""
    traces = []
    runner = origin._runner
    monkeypatch.setattr(origin, "_runner", lambda *args: traces.append("graph") or runner(*args))

    class Counted(cut_programs.Between):
        def train_step(self, data):
            traces.append("step")
            return super().train_step(data)

    model = Counted(nan_programs.log_of_zero)
    batch = tf.constant(X), tf.constant(Y)
    for _ in range(
        2
    ):  # the first one makes the variables of optimizer and metrics, which training has made long before
        traces.clear()
        trial = Trial(model.train_step, model=model, optimizers=lambda: {"optimizer": model.optimizer})
        assert trial.origin(batch).op_type == "Log"
    assert traces == ["step", "graph", "graph"]
    traces.clear()
    assert trial.origin(batch).op_type == "Log"
    assert traces == ["graph"], "a second bad step with such a batch is not traced again"
