import inspect
import pathlib

import keras
import pytest
import tensorflow as tf
from tracing import cut_programs as programs

import gradwatch
from gradwatch import DetachedVariableError, GradientWarning
from gradwatch.causes import KINDS
from gradwatch.recording.tapes import LISTENED_TO

FILE = pathlib.Path(programs.__file__)
LOSSES = {
    "loss of the labels": (programs.loss_of_labels, "Mean", "constant loss", False),
    "comparison in the loss": (programs.loss_cast, "Greater", "not differentiable", False),
    ".numpy() in the loss": (programs.loss_in_numpy, None, "left TensorFlow", True),
    "NumPy in the loss": (programs.loss_by_numpy, None, "left TensorFlow", True),
}
MODELS = {
    "Lambda": (programs.lambda_layer, "Round", "not differentiable", ["before/kernel", "before/bias"]),
    "nested model": (
        programs.nested,
        "Round",
        "not differentiable",
        ["inner/before/kernel", "inner/before/bias"],
    ),
    "argmax, Embedding": (programs.embedded_argmax, "ArgMax", "not differentiable", ["before/kernel", "before/bias"]),
    "unrolled RNN": (
        programs.unrolled,
        "Round",
        "not differentiable",
        ["rnn/rounding/kernel", "rnn/rounding/recurrent_kernel", "rnn/rounding/bias"],
    ),
    "output not in the loss": (programs.LossOfHidden, "BiasAdd", "unused output", ["after/kernel", "after/bias"]),
    "outside of the tape": (
        programs.OutsideOfTheTape,
        "Relu",
        "outside of the tape",
        ["before/kernel", "before/bias"],
    ),
    "stop_recording": (programs.StoppedRecording, "Relu", "outside of the tape", ["before/kernel", "before/bias"]),
    "read before the tape": (programs.ReadBefore, "Identity", "outside of the tape", ["before/bias"]),
    "integer target": (
        programs.IntegerTarget,
        "ArgMax",
        "not differentiable",
        ["before/kernel", "before/bias", "after/kernel", "after/bias"],
    ),
}
LINES = {  # where the marked line is not in the program itself
    "nested model": programs.rounded,
    "argmax, Embedding": programs._winner,
    "unrolled RNN": programs.Rounding,
    "inner function": programs._inner.python_function,
    "assign": programs.Keep,
}


def marked_line(program):
    """File and line that end in `# cut` in the source of a program."""
    text, first = inspect.getsourcelines(program)
    (line,) = [first + number for number, code in enumerate(text) if code.rstrip().endswith("# cut")]
    return line


def watched(model):
    """The watch after one step that may fail, and the error."""
    watch = gradwatch.GradientWatch()
    error = None
    with pytest.warns(GradientWarning) if model.compiled else None:
        try:
            model.fit(programs.X, programs.Y, batch_size=16, verbose=0, callbacks=[watch])
        except DetachedVariableError as raised:
            error = raised
            gradwatch.errors.warn(str(raised))
    return watch, error


def finding_of(watch):
    (finding,) = [finding for finding in watch.diagnosis.findings if finding.rule == "DetachedVariable"]
    return finding


def check(finding, kind, op_type, line):
    cause = finding.cause
    assert (cause.kind, cause.op_type) == (kind, op_type)
    path, _, number = cause.source.rpartition(":")
    assert pathlib.Path(path).resolve() == FILE
    assert int(number) == line
    assert cause.code == FILE.read_text().splitlines()[line - 1].strip()
    assert cause.source in finding.message
    assert finding.remedy == cause.mend != gradwatch.rules.DetachedVariable.remedy


MODES = {"graph": {}, "eager": {"run_eagerly": True}, "xla": {"jit_compile": True}}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", programs.FUNCTIONS)
def test_functions_between_two_layers(name, mode):
    function, op_type = programs.FUNCTIONS[name]
    if mode == "xla" and op_type == "PyFunc":
        pytest.skip("XLA cannot compile it")
    watch, error = watched(programs.Between(function, **MODES[mode]))
    assert error is None
    finding = finding_of(watch)
    kinds = {
        "StopGradient": "stopped",
        "PyFunc": "left TensorFlow",
        "AssignVariableOp": "assigned",
        "IdentityN": "own gradient",
    }
    check(finding, kinds.get(op_type, "not differentiable"), op_type, marked_line(LINES.get(name, function)))
    assert finding.variables == ("between/before/kernel", "between/before/bias")


@pytest.mark.parametrize("name", MODELS)
def test_models(name):
    program, op_type, kind, variables = MODELS[name]
    watch, _ = watched(program())
    finding = finding_of(watch)
    check(finding, kind, op_type, marked_line(LINES.get(name, program)))
    assert [path.partition("own/")[2] or path for path in finding.variables] == variables


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    loss, op_type, kind, run_eagerly = LOSSES[name]
    model = programs.Own()
    model.compile("sgd", loss, run_eagerly=run_eagerly)
    watch, error = watched(model)
    finding = finding_of(watch)
    check(finding, kind, op_type, marked_line(loss))
    assert error.findings[0].cause == finding.cause
    assert len(finding.variables) == 4


def test_several_cuts_are_all_named():
    watch, _ = watched(programs.two_cuts())
    finding = finding_of(watch)
    assert "`Round`" in finding.message
    assert "`StopGradient`" in finding.message
    assert watch.log.variables()["cut"][0].count("; ") == 1


@pytest.mark.parametrize(
    ("program", "kind", "variables"),
    [
        (programs.Uncalled, "never used", ("forgotten/kernel", "forgotten/bias")),
        (programs.Unwatched, "not watched", ("before/kernel", "before/bias")),
        (programs.UnwatchedFunction, "not watched", ("before/kernel", "before/bias")),
        (lambda: programs.Between(programs.Noisy()), "never used", ("noisy/spread",)),
    ],
    ids=["layer not called", "not watched", "not watched, in a function", "weight not used"],
)
def test_causes_without_an_operation(program, kind, variables):
    watch, _ = watched(program())
    finding = finding_of(watch)
    assert finding.cause == gradwatch.Cause(kind)
    assert all(path.endswith(end) for path, end in zip(finding.variables, variables, strict=True))
    assert KINDS[kind][0] in finding.message


@pytest.mark.parametrize("program", [programs.functional, programs.unused_output])
def test_what_only_keras_wrote_has_a_layer_and_no_line(program):
    """The line that called `fit` would be a wrong one."""
    watch, _ = watched(program())
    cause = finding_of(watch).cause
    assert cause.op_type in ("Floor", "BiasAdd")
    assert cause.source is None
    assert cause.code is None


def test_a_choice_is_named_only_where_nothing_else_is_cut():
    def chosen(x):
        picked = tf.where(x > 0.5, tf.round(x), 0.0)  # cut
        return picked + tf.zeros_like(x) + tf.cast(tf.shape(x)[0], tf.float32)

    def only_chosen(x):
        return tf.where(x > 0.5, 1.0, 0.0)  # cut

    for function, op_type in ((chosen, "Round"), (only_chosen, "Greater")):
        watch, _ = watched(programs.Between(function))
        (cuts,) = {info.cuts for info in watch.log.variable_infos if info.cuts}
        assert [cut.op_type for cut in cuts] == [op_type]
        assert cuts[0].source.endswith(f":{marked_line(function)}")


def test_a_step_of_ones_own_outside_of_fit():
    model = programs.Own()
    optimizer = keras.optimizers.SGD()

    def step(x, y):
        with tf.GradientTape() as tape:
            hidden = tf.stop_gradient(model.first(x))  # cut
            loss = tf.reduce_mean((model.last(hidden) - y) ** 2)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    for wrap in (lambda step: step, tf.function):
        with pytest.warns(GradientWarning), gradwatch.watch_train_step(wrap(step), optimizers=optimizer) as watched:
            watched(programs.X, programs.Y)
        cause = finding_of(watched).cause
        assert cause.op_type == "StopGradient"
        assert cause.source.endswith(f"test_cuts.py:{marked_line(step)}")


def test_predictions_of_predict_are_cut_off():
    model = programs.Own()

    def step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model.predict(x, verbose=0) - y) ** 2)  # cut
        model.optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)

    with pytest.raises(DetachedVariableError) as raised:
        gradwatch.watch_train_step(step, model=model)(programs.X, programs.Y)
    (finding,) = raised.value.findings
    assert finding.cause.kind == "left TensorFlow"
    assert finding.cause.source.endswith(f"test_cuts.py:{marked_line(step)}")


def test_nothing_is_left_on_the_tape_or_the_model():
    own = {name: getattr(tf.GradientTape, name) for name in LISTENED_TO}
    plain, model = (programs.Between(programs.rounded, run_eagerly=True) for _ in range(2))
    plain.fit(programs.X, programs.Y, verbose=0)
    watched(model)
    assert {name: getattr(tf.GradientTape, name) for name in own} == own
    assert set(vars(model)) == set(vars(plain))


def test_cuts_are_stored(tmp_path):
    watch, _ = watched(programs.Between(programs.rounded))
    watch.log.save(tmp_path / "log.parquet")
    loaded = gradwatch.load(tmp_path / "log.parquet")
    assert gradwatch.diagnose(loaded).findings == watch.diagnosis.findings
