import gc
import pathlib
import subprocess
import sys
import textwrap
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from pages import Page
from programs import (
    PROGRAMS,
    Spy,
    SpyingSGD,
    attention,
    cnn,
    features,
    fit,
    identical,
    labels,
    mlp,
    oracle,
    recurrent,
    state,
)

import gradwatch
from gradwatch import (
    DetachedVariableError,
    GradientError,
    GradientWarning,
    GradientWatch,
    NonFiniteGradientError,
    schema,
    watcher,
)
from gradwatch.requirements import require_strategy

MODES = {
    "graph": {},
    "eager": {"run_eagerly": True},
    "xla": {"jit_compile": True},
    "several steps": {"steps_per_execution": 3},
}
OPTIONS = {
    "default": {},
    "full": {"statistics": "full"},
    "thinned": {"every_steps": 3},
    "fail fast": {"fail_fast": True},
    "skip": {"on_nonfinite": "skip"},
}
OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "adam": lambda: keras.optimizers.Adam(0.01),
    "adamw": lambda: keras.optimizers.AdamW(0.01, clipnorm=0.5),
}


def linear():
    """A model without ReLU, which turns NaN to 0, and without batch statistics."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(4, activation="softmax", name="head")], name="linear"
    )


def bad_rows(at=slice(32, 48)):
    x = features(8)
    x[at] = np.nan
    return x


# Transparent.


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("mode", MODES)
def test_weights_and_history_are_those_of_an_unwatched_run(mode, options):
    runs = []
    for callbacks in ([], [GradientWatch(**OPTIONS[options])]):
        model, x = mlp()
        history = fit(model, x, *callbacks, **MODES[mode])
        runs.append((state(model), history.history))
    assert identical(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_weights_of_other_models_and_optimizers(program, optimizer):
    states = []
    for callbacks in ([], [GradientWatch(statistics="full")]):
        model, x = PROGRAMS[program]()
        fit(model, x, *callbacks, optimizer=OPTIMIZERS[optimizer](), epochs=1)
        states.append(state(model))
    assert identical(*states)


def test_model_is_as_found():
    models = []
    for callbacks in ([], [GradientWatch()]):
        model, x = mlp()
        fit(model, x, *callbacks)
        models.append(model)
    assert set(vars(models[0])) == set(vars(models[1]))
    assert set(vars(models[0].optimizer)) == set(vars(models[1].optimizer))
    assert "train_step" not in vars(model)
    assert "compute_loss" not in vars(model)
    assert "apply" not in vars(model.optimizer)


def test_own_train_step_on_the_instance_stays():
    model, x = mlp()
    calls = []

    def train_step(self, data):
        calls.append(1)
        return type(self).train_step(self, data)

    model.train_step = types.MethodType(train_step, model)
    own = vars(model)["train_step"]
    watch = GradientWatch()
    fit(model, x, watch)
    assert vars(model)["train_step"] is own
    assert calls
    assert len(watch.log)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_exception_from_another_callback(error):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                raise error("stop")

    model, x = mlp()
    watch = GradientWatch()
    with pytest.raises(error):
        fit(model, x, watch, Stop())
    assert watch.log.num_steps == 3
    assert "train_step" not in vars(model)
    assert "apply" not in vars(model.optimizer)
    model.fit(x, labels(), verbose=0)
    assert watch.log.num_steps == 3, "an unwatched fit recorded"


def test_unwatched_fit_after_a_failed_one_is_plain():
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise RuntimeError("stop")

    states = []
    for callbacks in ([Stop()], [Stop(), GradientWatch(fail_fast=True)]):
        model, x = mlp()
        with pytest.raises(RuntimeError):
            fit(model, x, *callbacks)
        model.fit(x, labels(), epochs=2, verbose=0)
        states.append(state(model))
    assert identical(*states)


def test_train_on_batch_after_fit_is_plain():
    model, x = mlp()
    watch = GradientWatch()
    fit(model, x, watch)
    count = len(watch.log)
    assert np.isfinite(model.train_on_batch(x[:8], labels()[:8]))
    assert len(watch.log) == count


@pytest.mark.parametrize("options", ["fail fast", "skip"])
def test_guards_under_xla_without_moving_statistics(options):
    states = []
    for callbacks in ([], [GradientWatch(**OPTIONS[options])]):
        model, x = cnn()
        fit(model, x, *callbacks, jit_compile=True)
        states.append(state(model))
    assert identical(*states)


# True.


@pytest.mark.parametrize("mode", ["graph", "eager", "xla"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_statistics_are_those_of_the_applied_gradients(program, mode):
    model, x = PROGRAMS[program]()
    spy, watch = Spy(), GradientWatch(statistics=schema.STATISTIC_NAMES)
    fit(model, x, watch, spy, optimizer=SpyingSGD(0.1), epochs=1, **MODES[mode])
    log = watch.log
    assert [info.path for info in log.variable_infos] == [v.path for v in model.trainable_variables]
    assert log.num_steps == len(spy.grads) == 5
    for name in ("grad_norm", "grad_max", "nan_count", "inf_count", "zero_fraction"):
        want = [[oracle(grad)[name] for grad in grads] for grads in spy.grads]
        np.testing.assert_allclose(log.wide(name).to_numpy(), want, rtol=2e-5, atol=1e-12, err_msg=name)
    norms = [[np.linalg.norm(np.float64(w).ravel()) for w in weights] for weights in spy.weights]
    np.testing.assert_allclose(log.wide("weight_norm").to_numpy(), norms[:-1], rtol=1e-5, atol=1e-12)
    changes = [
        [np.linalg.norm((np.float64(a) - b).ravel()) for a, b in zip(after, before)]
        for before, after in zip(spy.weights, spy.weights[1:])
    ]
    np.testing.assert_allclose(log.wide("update_norm").to_numpy(), changes, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(("options", "detailed"), [({}, 10), ({"every_steps": 4}, 12), ({"every_steps": 20}, 20)])
def test_a_set_of_statistics_is_taken_whole_on_a_schedule_and_on_bad_steps(options, detailed):
    model = linear()
    x = features(8)
    x[13] = np.nan
    watch = GradientWatch(statistics="full", on_nonfinite="skip", **options)
    with pytest.warns(GradientWarning):
        fit(model, x, watch, batch_size=1, epochs=1, shuffle=False)
    log = watch.log
    every = options.get("every_steps", 1)
    steps = log.steps()["step"].tolist()
    assert steps == sorted({*range(0, 70, every), 13})
    whole = sorted({*range(0, 20, every), *range(0, 70, detailed), 13})  # at the first 20 steps nothing is left out
    for name in ("grad_max", "zero_fraction"):
        taken = log.frame().query("variable.str.endswith('bias')").set_index("step")[name]
        expected = [step for step in whole if step != 13 or name == "zero_fraction"]
        assert taken[taken.notna()].index.tolist() == expected
    for name in ("weight_norm", "update_norm"):
        assert log.wide(name).dropna(how="all").index.tolist() == whole
    assert log.wide("grad_norm").notna().all(axis=1).tolist() == [step != 13 for step in steps]
    assert log.frame()["nan_count"].notna().all()


def test_a_record_takes_56_bytes_in_memory():
    model, x = mlp()
    watch = GradientWatch()
    fit(model, x, watch)
    (segment,) = watch.log.segments
    assert sum(values.nbytes for values in segment.values.values()) == 56 * segment.num_records


def test_statistics_by_name_are_taken_at_every_step():
    model, x = mlp()
    watch = GradientWatch(statistics=("zero_fraction", "update_norm"))
    fit(model, x, watch)
    assert watch.log.frame()[["zero_fraction", "update_norm"]].notna().all(axis=None)
    assert watch.log.frame()["grad_norm"].isna().all()


def test_loss_and_learning_rate_are_of_the_batch():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    model, x = mlp()
    watch = GradientWatch()
    fit(model, x, watch, optimizer=keras.optimizers.SGD(schedule), epochs=2, shuffle=False)
    steps = watch.log.steps()
    np.testing.assert_allclose(steps["learning_rate"], 0.1 * 0.5 ** np.arange(10), rtol=1e-6)
    model, x = mlp()
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    watch = GradientWatch()
    history = model.fit(x, labels(), batch_size=16, shuffle=False, verbose=0, callbacks=[watch])
    rows = np.array([16, 16, 16, 16, 6])
    assert np.average(watch.log.steps()["loss"], weights=rows) == pytest.approx(history.history["loss"][0], rel=1e-5)


# Complete.


@pytest.mark.parametrize("mode", MODES)
def test_one_row_a_call_with_epoch_and_batch(mode):
    model, x = mlp()
    watch = GradientWatch()
    fit(model, x, watch, epochs=3, **MODES[mode])
    steps = watch.log.steps()
    assert steps["step"].tolist() == list(range(15))
    assert steps["epoch"].tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert steps["batch"].tolist() == [0, 1, 2, 3, 4] * 3
    assert steps["applied"].all()
    assert set(steps["optimizer"]) == {"optimizer"}
    assert len(watch.log) == 15 * len(model.trainable_variables)


def test_initial_epoch():
    model, x = mlp()
    model.compile("sgd", "sparse_categorical_crossentropy")
    watch = GradientWatch()
    model.fit(x, labels(), batch_size=32, epochs=5, initial_epoch=3, verbose=0, callbacks=[watch])
    assert watch.log.steps()["epoch"].tolist() == [3, 3, 3, 4, 4, 4]


def test_long_run_is_drained_in_time():
    watch = GradientWatch()
    fit(linear(), features(8), watch, batch_size=2, epochs=10)
    assert watch.log.steps()["step"].tolist() == list(range(350))


@pytest.mark.parametrize(
    ("options", "bad", "judged_at"),
    [
        ({}, slice(0), [1, 210, 280]),  # what is new, after 200 more at the next drain, and at the end
        ({"on_nonfinite": "skip"}, slice(60, 61), [1, 61, 131, 201, 271, 280]),
        ({"fail_fast": ["ExplodingGradient"]}, slice(0), [1, 51, 70, 120, 140, 190, 210, 260, 280, 280]),
    ],
    ids=["healthy", "bad", "fail_fast"],
)
@pytest.mark.filterwarnings("ignore::gradwatch.GradientWarning")
def test_judged_seldom_unless_it_is_urgent(monkeypatch, options, bad, judged_at):
    judged = []

    def noted(log, rules):
        judged.append(log.num_steps)
        return gradwatch.diagnose(log, rules)

    monkeypatch.setattr(watcher, "diagnose", noted)
    watch = gradwatch.GradientWatch(**options)
    fit(linear(), bad_rows(bad), watch, batch_size=1, epochs=4, shuffle=False)
    assert judged == judged_at


def test_group_of_steps_longer_than_a_buffer():
    watch = GradientWatch()
    fit(linear(), features(8), watch, batch_size=1, epochs=5, steps_per_execution=200)
    assert watch.log.steps()["step"].tolist() == list(range(350))


@pytest.mark.parametrize("mode", MODES)
def test_every_steps_thins_but_keeps_bad_steps(mode):
    watch = GradientWatch(every_steps=4)
    with pytest.warns(GradientWarning):
        fit(linear(), bad_rows(), watch, epochs=1, batch_size=8, shuffle=False, **MODES[mode])
    assert watch.log.steps()["step"].tolist() == [0, 4, 5, 6, 7, 8]


def test_second_fit_traces_nothing_and_goes_on_counting():
    traces = []

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(4)

        def call(self, x):
            traces.append(1)
            return self.dense(x)

    model = Model()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    watch = GradientWatch()
    for count in (1, 2, 3):
        model.fit(features(8), labels(), batch_size=35, verbose=0, callbacks=[watch])
        if count == 1:
            first = len(traces)
    assert len(traces) == first
    assert watch.log.steps()["step"].tolist() == [0, 1, 2, 3, 4, 5]


def test_watched_fit_traces_as_often_as_an_unwatched_one():
    counts = []
    for callbacks in ([], [GradientWatch()]):
        traces = []
        model = keras.Sequential([keras.Input((8,)), keras.layers.Lambda(lambda x, t=traces: t.append(1) or x)])
        model.add(keras.layers.Dense(4, activation="softmax"))
        fit(model, features(8), *callbacks)
        counts.append(len(traces))
    assert counts[0] == counts[1]


def test_compile_between_fits():
    model, x = mlp()
    watch = GradientWatch()
    fit(model, x, watch, epochs=1)
    fit(model, x, watch, epochs=1, optimizer="sgd")
    fit(model, x, watch, epochs=1, optimizer="sgd", steps_per_execution=100)
    assert watch.log.steps()["step"].tolist() == list(range(15))


def test_two_watches_at_once():
    model, x = mlp()
    first, second = GradientWatch(), GradientWatch(every_steps=2)
    for _ in range(2):
        fit(model, x, first, second, epochs=1)
    fit(model, x, second, epochs=1)
    assert first.log.num_steps == 10
    assert second.log.num_steps == 8  # calls 0, 2, ... 14
    assert "train_step" not in vars(model)


def test_frozen_then_unfrozen_layer():
    model, x = mlp()
    model.get_layer("hidden").trainable = False
    watch = GradientWatch()
    fit(model, x, watch, epochs=1)
    assert not watch.log.variables()["variable"].str.contains("hidden").any()
    model.get_layer("hidden").trainable = True
    fit(model, x, watch, epochs=1)  # compiles again
    assert watch.log.variables()["variable"].tolist() == [v.path for v in model.trainable_variables]
    assert watch.log.wide("grad_norm")["mlp/hidden/kernel"].isna().tolist() == [True] * 5 + [False] * 5
    assert watch.diagnosis.findings == ()


def test_embedding_gradient_is_recorded_without_making_it_dense():
    model, x = recurrent()
    watch = GradientWatch()
    fit(model, x, watch, epochs=1)
    embedding = watch.log.frame().query("variable.str.endswith('embeddings')")
    assert embedding["zero_fraction"].between(0, 0.9).all()
    assert (embedding["grad_norm"] > 0).all()


def test_key_bias_of_attention_is_no_alarm():
    model, x = attention()
    watch = GradientWatch()
    fit(model, x, watch, epochs=8)
    assert watch.diagnosis.findings == ()


# Guards.


@pytest.mark.parametrize("mode", MODES)
def test_fail_fast_keeps_the_weights_from_before(mode):
    reference, x = mlp()
    fit(reference, x[:32], y=labels()[:32], epochs=1, shuffle=False, **MODES[mode])
    model, _ = mlp()
    watch = GradientWatch(fail_fast=True)
    with pytest.raises(NonFiniteGradientError) as info:
        fit(model, bad_rows(), watch, epochs=1, shuffle=False, **MODES[mode])
    assert info.value.step == 2
    assert info.value.findings[0].rule == "NonFiniteInput"
    assert {"NonFiniteInput", "NonFiniteGradient"} <= {finding.rule for finding in info.value.findings}
    trained = [v.path for v in model.trainable_variables]
    for before, after in zip(reference.trainable_variables, model.trainable_variables):
        np.testing.assert_allclose(after.numpy(), before.numpy(), rtol=1e-6, atol=1e-8, err_msg=str(trained))
    assert int(model.optimizer.iterations.numpy()) == 2
    steps = watch.log.steps()
    assert steps["applied"].tolist()[:3] == [True, True, False]
    assert not steps["applied"].tolist()[-1], "a later step of the group was applied"


@pytest.mark.parametrize("mode", MODES)
def test_skip_drops_the_bad_update_only(mode):
    model, _ = mlp()
    watch = GradientWatch(on_nonfinite="skip")
    with pytest.warns(GradientWarning) as caught:
        fit(model, bad_rows(), watch, epochs=1, shuffle=False, **MODES[mode])
    assert any("held back" in str(warning.message) for warning in caught)
    assert watch.log.steps()["applied"].tolist() == [True, True, False, True, True]
    assert all(np.isfinite(v.numpy()).all() for v in model.trainable_variables)
    assert all(np.isfinite(v.numpy()).all() for v in model.optimizer.variables)
    assert int(model.optimizer.iterations.numpy()) == 4


def test_skip_leaves_no_trace_of_the_bad_batch():
    """Skipping a batch is as if it had not been there."""
    x, y = features(8), labels()
    good = np.r_[0:32, 48:64]
    reference = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, activation="softmax")])
    start = reference.get_weights()
    fit(reference, x[good], y=y[good], epochs=1, shuffle=False)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, activation="softmax")])
    model.set_weights(start)
    with pytest.warns(GradientWarning):
        fit(model, bad_rows()[:64], GradientWatch(on_nonfinite="skip"), y=y[:64], epochs=1, shuffle=False)
    assert identical(state(reference), state(model))


def test_too_many_skips_in_a_row_raise_with_the_last_good_weights():
    model, _ = mlp()
    start = [v.numpy() for v in model.trainable_variables]
    watch = GradientWatch(on_nonfinite="skip", max_consecutive_skips=3)
    with pytest.warns(GradientWarning), pytest.raises(NonFiniteGradientError, match="max_consecutive_skips=3"):
        fit(model, bad_rows(slice(None)), watch, epochs=1, batch_size=8)
    assert identical(start, [v.numpy() for v in model.trainable_variables])
    assert watch.log.num_steps == 4


def test_as_many_skips_as_allowed_do_not_raise():
    model, _ = mlp()
    with pytest.warns(GradientWarning):
        watch = GradientWatch(on_nonfinite="skip", max_consecutive_skips=3)
        fit(model, bad_rows(slice(0, 24)), watch, batch_size=8, epochs=1, shuffle=False)
    assert watch.log.steps()["applied"].tolist() == [False] * 3 + [True] * 6


def test_record_trains_on_and_warns_once_a_cause():
    model, _ = mlp()
    with pytest.warns(GradientWarning) as caught:
        fit(model, bad_rows(), GradientWatch(), epochs=3, shuffle=False)
    texts = [str(warning.message) for warning in caught if warning.category is GradientWarning]
    assert len(texts) == len({text.split("]")[0] for text in texts})
    assert any("NonFiniteGradient" in text for text in texts)


def test_fail_fast_by_rule_name_or_code():
    model, x = mlp()
    model.add(keras.layers.Lambda(lambda p: 0.0 * p))
    with pytest.raises(GradientError) as info:
        fit(model, x, GradientWatch(fail_fast=["GW103"]), epochs=20)
    assert info.value.findings[0].rule == "ZeroGradient"


def test_fail_fast_leaves_the_backup(tmp_path):
    model, _ = mlp()
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq=1)
    with pytest.raises(NonFiniteGradientError):
        fit(model, bad_rows(), GradientWatch(fail_fast=True), backup, epochs=1, shuffle=False)
    assert any((tmp_path / "backup").iterdir())


def test_fail_fast_ends_a_job_with_a_status_and_a_readable_log(tmp_path):
    script = textwrap.dedent(
        f"""
        import sys; sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})
        from test_callback import *
        model, _ = mlp()
        fit(model, bad_rows(), GradientWatch({str(tmp_path / "run")!r}), epochs=1, shuffle=False)
        """
    )
    environment = {**dict(__import__("os").environ), "GRADWATCH_FAIL_FAST": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1
    assert "NonFiniteGradientError" in done.stderr
    assert gradwatch.load(tmp_path / "run").steps()["applied"].tolist() == [True, True, False]


# Detached and unoptimized variables.


def partly_detached():
    inputs = keras.Input((8,))
    hidden = keras.layers.Dense(6, name="encoder")(inputs)
    cut = keras.layers.Lambda(tf.stop_gradient)(hidden)
    outputs = keras.layers.Dense(4, activation="softmax", name="head")(cut)
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize("mode", MODES)
def test_partly_detached_model_warns_once_and_names_all(mode, recwarn):
    watch = GradientWatch()
    with pytest.warns(GradientWarning) as caught:
        fit(partly_detached(), features(8), watch, **MODES[mode])
    (warning,) = [w for w in caught if "radient" in str(w.message)]
    assert "encoder (kernel, bias)" in str(warning.message)
    assert "head" not in str(warning.message)
    frame = watch.log.frame()
    assert frame[frame["detached"]]["variable"].unique().tolist() == ["encoder/kernel", "encoder/bias"]
    assert frame[frame["detached"]]["grad_norm"].isna().all()
    assert watch.log.variables().set_index("variable")["detached"].tolist() == [True, True, False, False]


@pytest.mark.parametrize("pattern", ["encoder/*", ("encoder/kernel", "encoder/bias")])
def test_allow_detached_is_silent(pattern, recwarn):
    watch = GradientWatch(allow_detached=pattern)
    fit(partly_detached(), features(8), watch)
    assert not [w for w in recwarn if "radient" in str(w.message)]
    assert watch.diagnosis.ok
    assert [str(finding.severity) for finding in watch.diagnosis.findings] == ["info"]


def test_frozen_variables_are_never_named(recwarn):
    model = partly_detached()
    model.get_layer("encoder").trainable = False
    fit(model, features(8), GradientWatch())
    assert not [w for w in recwarn if w.category is GradientWarning]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", ["default", "fail fast", "skip"])
def test_all_detached_raises_from_the_error_of_keras(mode, options):
    model, x = mlp()
    model.add(keras.layers.Lambda(tf.round))
    watch = GradientWatch(**OPTIONS[options])
    with pytest.raises(DetachedVariableError, match="No gradient reaches any of the 6 variables") as info:
        fit(model, x, watch, **MODES[mode])
    assert "No gradients provided" in str(info.value.__cause__ or info.value.__context__)
    assert info.value.findings[0].rule == "DetachedVariable"
    assert len(info.value.findings[0].variables) == 6
    assert watch.log.variables()["detached"].all()
    assert not watch.diagnosis.ok
    assert "apply" not in vars(model.optimizer)
    assert "train_step" not in vars(model)


def test_fail_fast_on_a_partly_detached_model_only_if_named():
    with pytest.warns(GradientWarning):
        fit(partly_detached(), features(8), GradientWatch(fail_fast=True))
    with pytest.raises(DetachedVariableError):
        fit(partly_detached(), features(8), GradientWatch(fail_fast={"DetachedVariable"}))


class OnlyTheHead(keras.Model):
    def __init__(self):
        super().__init__()
        self.body, self.head = keras.layers.Dense(6), keras.layers.Dense(4)

    def call(self, x):
        return self.head(self.body(x))

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        self.optimizer.apply(tape.gradient(loss, self.head.trainable_variables), self.head.trainable_variables)
        return {"loss": loss}


def test_variables_no_optimizer_was_given():
    model = OnlyTheHead()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    watch = GradientWatch()
    with pytest.warns(GradientWarning, match="UnoptimizedVariable"):
        model.fit(features(8), labels(), verbose=0, callbacks=[watch])
    (finding,) = watch.diagnosis.findings
    assert finding.rule == "UnoptimizedVariable"
    assert len(finding.variables) == 2


def test_variable_that_was_never_tracked():
    outside = tf.Variable(1.0, name="outside")
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4), keras.layers.Lambda(lambda x: x * outside)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    watch = GradientWatch()
    with pytest.warns(GradientWarning, match="outside"):
        model.fit(features(8), labels(), verbose=0, callbacks=[watch])
    assert watch.diagnosis.findings[0].variables == ("outside",)


def test_nothing_to_train():
    model, x = mlp()
    model.trainable = False
    watch = GradientWatch()
    with pytest.warns(UserWarning, match="does not have any trainable weights|NoTrainableVariables"):
        fit(model, x, watch)
    assert [finding.rule for finding in watch.diagnosis.findings] == ["NoTrainableVariables"]


# Options and bad input.


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"every_steps": 0}, ValueError, "every_steps"),
        ({"every_steps": 1.5}, ValueError, "every_steps=1.5"),
        ({"every_steps": True}, ValueError, "every_steps"),
        ({"statistics": "all"}, ValueError, "Expected 'default', 'full'"),
        ({"statistics": ("norm",)}, ValueError, "norm"),
        ({"statistics": ()}, ValueError, "no statistic"),
        ({"fail_fast": ["NanGradient"]}, ValueError, "NanGradient"),
        ({"fail_fast": 3}, TypeError, "fail_fast=3"),
        ({"on_nonfinite": "drop"}, ValueError, "'record' or 'skip'"),
        ({"max_consecutive_skips": 0}, ValueError, "max_consecutive_skips"),
        ({"allow_detached": (3,)}, TypeError, "glob"),
        ({"rules": "all"}, TypeError, "rules"),
        ({"sinks": [object()]}, TypeError, "write"),
        ({"run_dir": 3}, TypeError, "run_dir=3"),
    ],
)
def test_bad_options_are_refused_at_once(options, error, match):
    with pytest.raises(error, match=match):
        GradientWatch(**options)


def test_run_dir_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        GradientWatch(tmp_path / "file" / "run")


def test_model_that_is_not_compiled():
    model, _ = mlp()
    with pytest.raises(ValueError, match="not compiled"):
        GradientWatch().set_model(model)


def test_keras_2_model():
    tf_keras = pytest.importorskip("tf_keras")
    model = tf_keras.Sequential([tf_keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match="Keras 2"):
        GradientWatch().set_model(model)


def test_another_backend(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match="KERAS_BACKEND=tensorflow"):
        GradientWatch()


def test_other_strategies_are_refused():
    class ParameterServerStrategy:
        pass

    with pytest.raises(NotImplementedError, match="ParameterServerStrategy"):
        require_strategy(ParameterServerStrategy())
    require_strategy(tf.distribute.get_strategy())


def test_environment_sets_the_defaults(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADWATCH_FAIL_FAST", "1")
    monkeypatch.setenv("GRADWATCH_RUN_DIR", str(tmp_path / "run"))
    model, _ = mlp()
    with pytest.raises(NonFiniteGradientError):
        fit(model, bad_rows(), GradientWatch(), epochs=1)
    assert gradwatch.load(tmp_path / "run").num_steps
    with pytest.warns(GradientWarning):
        fit(model, bad_rows(), GradientWatch(tmp_path / "other", fail_fast=False), epochs=1)


# gradwatch's own failures, sinks, and the log on disk.


def test_own_failure_in_the_step_costs_no_training(monkeypatch):
    from gradwatch.recording import ledger

    monkeypatch.setattr(ledger, "row_of", lambda *args: 1 / 0)
    states = []
    for callbacks in ([], [GradientWatch()]):
        model, x = mlp()
        if callbacks:
            with pytest.warns(GradientWarning, match="ZeroDivisionError"):
                fit(model, x, *callbacks)
        else:
            fit(model, x)
        states.append(state(model))
    assert identical(*states)


class BrokenSink:
    def write(self, segments, variables, info):
        raise OSError("disk full")

    def flush(self):
        pass

    def close(self):
        raise OSError("disk full")


def test_sink_that_fails_never_stops_training():
    model, x = mlp()
    watch = GradientWatch(sinks=[BrokenSink()])
    with pytest.warns(GradientWarning, match="BrokenSink.*disk full"):
        fit(model, x, watch, epochs=3)
    assert watch.log.num_steps == 15


class Screen:
    cell = None

    def __init__(self):
        self.lines = []

    def is_there(self):
        return True

    def show(self, html, text, *, anew=False):
        assert not anew
        self.lines.append(text)


def test_live_view_ends_with_the_last_step_and_changes_no_weight():
    states, screen = [], Screen()
    for sinks in ((), (gradwatch.LiveView(screen=screen, clock=lambda: 0.0),)):
        model, x = mlp()
        fit(model, x, GradientWatch(sinks=sinks), epochs=3)
        states.append(state(model))
    assert identical(*states)
    name = model.name
    assert [line.partition(":")[0] for line in screen.lines] == [f"Training {name}, step {step}" for step in (0, 14)]


def test_live_view_that_fails_never_stops_training(monkeypatch):
    monkeypatch.setattr(Screen, "show", lambda *args, **options: 1 / 0)
    model, x = mlp()
    watch = GradientWatch(sinks=[gradwatch.LiveView(screen=Screen())])
    with pytest.warns(GradientWarning, match="stops writing to LiveView.*ZeroDivisionError"):
        fit(model, x, watch, epochs=2)
    assert watch.log.num_steps == 10


def test_shows_itself():
    model, x = mlp()
    watch = GradientWatch()
    assert repr(watch) == "<gradwatch.GradientWatch, nothing recorded yet>"
    assert "nothing is recorded yet" in Page(watch._repr_html_()).text
    fit(model, x, watch, epochs=3)
    assert repr(watch) == f"<gradwatch.GradientWatch of {model.name!r}, recorded up to step 14>"
    page = Page(watch._repr_html_())
    assert page.open == []
    assert f"GradientWatch of {model.name}: step 14, epoch 2" in page.text
    assert watch.diagnosis.verdict in page.text


class ReportedSink:
    def __init__(self, fails=False):
        self.events = []
        self._fails = fails

    def write(self, segments, variables, info):
        pass

    def flush(self):
        pass

    def finish(self, report):
        self.events.append((report.log.num_steps, report.diagnosis.ok))
        if self._fails:
            raise OSError("disk full")

    def close(self):
        self.events.append("closed")


def test_sink_is_given_the_report_when_a_run_ends():
    model, x = mlp()
    sink = ReportedSink()
    watch = GradientWatch(sinks=[sink])
    fit(model, x, watch, epochs=1)
    fit(model, x, watch, epochs=1)
    watch.close()
    assert sink.events == [(5, True), (10, True), "closed"]


def test_sink_is_given_the_report_of_a_run_that_is_stopped():
    model, _ = mlp()
    sink = ReportedSink()
    with pytest.raises(NonFiniteGradientError):
        fit(model, bad_rows(), GradientWatch(sinks=[sink], fail_fast=True), epochs=1)
    assert [event if event == "closed" else event[1] for event in sink.events] == [False, "closed"]


def test_sink_is_given_the_report_of_a_run_that_broke_when_it_is_closed():
    class Breaks(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyError("mine")

    model, x = mlp()
    sink = ReportedSink()
    watch = GradientWatch(sinks=[sink])
    with pytest.raises(KeyError):
        fit(model, x, watch, Breaks())
    watch.close()
    assert sink.events == [(5, True), "closed"]


def test_report_that_a_sink_cannot_take_costs_a_warning():
    model, x = mlp()
    sinks = [ReportedSink(fails=True), ReportedSink()]
    with pytest.warns(GradientWarning, match="giving the report to ReportedSink.*disk full"):
        fit(model, x, GradientWatch(sinks=sinks), epochs=1)
    assert [sink.events for sink in sinks] == [[(5, True)], [(5, True)]]


def test_run_dir_holds_what_the_log_holds(tmp_path):
    model, x = mlp()
    watch = GradientWatch(tmp_path / "run", statistics="full")
    fit(model, x, watch, epochs=3)
    stored = gradwatch.load(tmp_path / "run")
    import pandas as pd

    pd.testing.assert_frame_equal(stored.frame(), watch.log.frame())
    pd.testing.assert_frame_equal(stored.steps(), watch.log.steps())
    assert stored.info == watch.log.info
    assert stored.info.versions["keras"] == keras.__version__


def test_watch_can_be_read_from_another_callback():
    lengths = []

    class Reader(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            lengths.append(watch.log.num_steps)
            assert watch.diagnosis.ok

    model, x = mlp()
    watch = GradientWatch()
    fit(model, x, watch, Reader(), epochs=1)
    assert lengths == [1, 2, 3, 4, 5]


def test_report_of_a_run(tmp_path):
    model, x = mlp()
    watch = GradientWatch()
    fit(model, x, watch, epochs=6)
    watch.report().save(tmp_path / "report.html")
    assert "hidden" in (tmp_path / "report.html").read_text()
    assert "Healthy" in watch.report().to_markdown()


def test_watch_does_not_keep_a_model_alive():
    import weakref

    model, x = mlp()
    fit(model, x, GradientWatch(), epochs=1)
    reference = weakref.ref(model)
    del model
    keras.backend.clear_session()
    gc.collect()
    assert reference() is None


# What is not trained, and what is not a training.


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", ["fail fast", "skip"])
def test_moving_statistics_do_not_keep_the_nan_of_a_batch_held_back(mode, options):
    model = keras.Sequential(
        [keras.Input((8,)), keras.layers.BatchNormalization(), keras.layers.Dense(4, activation="softmax")]
    )
    start = model.get_weights()
    watch = GradientWatch(**OPTIONS[options])
    if options == "fail fast":
        with pytest.raises(NonFiniteGradientError):
            fit(model, bad_rows(), watch, epochs=1, shuffle=False, **MODES[mode])
    else:
        with pytest.warns(GradientWarning):
            fit(model, bad_rows(), watch, epochs=1, shuffle=False, **MODES[mode])
    reference = keras.models.clone_model(model)
    reference.set_weights(start)
    x, y = features(8), labels()
    good = np.r_[0:32] if options == "fail fast" else np.r_[0:32, 48:70]
    fit(reference, x[good], y=y[good], epochs=1, shuffle=False, **MODES[mode])
    for got, want in zip(model.get_weights(), reference.get_weights()):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)


def _in_a_cond(update, x, y):
    return tf.cond(tf.shape(x)[0] > 0, lambda: update(x, y), lambda: tf.constant(0.0))


def _in_a_loop(update, x, y):
    return tf.while_loop(lambda turn, _: turn < 1, lambda turn, _: (turn + 1, update(x, y)), (0, tf.constant(0.0)))[1]


class _Nested(keras.Model):
    """A model that calls its optimizer inside of what `around` makes of its update."""

    def __init__(self, around):
        super().__init__(name="nested")
        keras.utils.set_random_seed(0)
        self.norm, self.head = keras.layers.BatchNormalization(), keras.layers.Dense(4, activation="softmax")
        self.around, self.function = around, tf.function(self.update)
        self(tf.zeros((1, 8)))

    def call(self, x, training=False):
        return self.head(self.norm(x, training=training))

    def update(self, x, y):
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return loss

    def train_step(self, data):
        update = self.function if self.around is None else self.update
        return {"loss": update(*data) if self.around is None else self.around(update, *data)}


@pytest.mark.parametrize("options", ["fail fast", "skip"])
@pytest.mark.parametrize("around", [_in_a_cond, _in_a_loop, None], ids=["cond", "loop", "function"])
def test_moving_statistics_are_put_back_where_apply_is_nested(around, options):
    model, reference = _Nested(around), _Nested(around)
    for each in (model, reference):
        each.compile("adam", "sparse_categorical_crossentropy")
        each.optimizer.build(each.trainable_variables)
    reference.fit(features(8)[:32], labels()[:32], batch_size=16, shuffle=False, verbose=0)
    told = pytest.raises(NonFiniteGradientError) if options == "fail fast" else pytest.warns(GradientWarning)
    with told:
        model.fit(
            bad_rows()[:48],
            labels()[:48],
            batch_size=16,
            shuffle=False,
            verbose=0,
            callbacks=[GradientWatch(**OPTIONS[options])],
        )
    assert identical(state(model), state(reference))


def test_evaluate_and_predict_leave_the_model_alone():
    model, x = mlp()
    fit(model, x)
    before = model.train_function
    watch = GradientWatch()
    model.evaluate(x, labels(), verbose=0, callbacks=[watch])
    model.predict(x, verbose=0, callbacks=[watch])
    assert "train_step" not in vars(model)
    assert model.train_function is before
    assert len(watch.log) == 0


def test_freezing_without_compiling_is_told():
    model, x = mlp()
    fit(model, x)
    model.get_layer("hidden").trainable = False
    with pytest.warns(GradientWarning, match="frozen or unfrozen"):
        model.fit(x, labels(), verbose=0, callbacks=[GradientWatch()])


def test_one_watch_for_two_models_is_told():
    watch = GradientWatch()
    fit(linear(), features(8), watch)
    with pytest.warns(GradientWarning, match="watch of its own for each model"):
        fit(linear(), features(8), watch)


def test_a_new_watch_leaves_the_earlier_run_until_it_has_records(tmp_path):
    watch = GradientWatch(tmp_path / "run")
    fit(linear(), features(8), watch)
    again = GradientWatch(tmp_path / "run")
    assert gradwatch.load(tmp_path / "run").num_steps == 10
    fit(linear(), features(8), again, epochs=1)
    assert gradwatch.load(tmp_path / "run").num_steps == 5


@pytest.mark.parametrize(("text", "rules"), [("GW201", {"NonFiniteGradient"}), ("off", False), ("on", True)])
def test_fail_fast_from_the_environment(monkeypatch, text, rules):
    monkeypatch.setenv("GRADWATCH_FAIL_FAST", text)
    assert GradientWatch()._watcher.options.fail_fast == rules


def test_fail_fast_from_the_environment_is_checked(monkeypatch):
    monkeypatch.setenv("GRADWATCH_FAIL_FAST", "maybe")
    with pytest.raises(ValueError, match="maybe"):
        GradientWatch()
