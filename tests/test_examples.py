import importlib
import pathlib
import runpy
import subprocess
import sys

import keras
import numpy as np
import pytest

import gradwatch

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"
SCRIPTS = ["quickstart", "output_scaler", "log_lambda", "numpy_predictions", "custom_loop", "fail_fast_job", "own_rule"]
HELPERS = ["digits", "quiet"]


@pytest.fixture(autouse=True)
def _beside_the_examples(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))


def example(name):
    return importlib.import_module(name)


def weights_of(model):
    return [variable.numpy() for variable in model.trainable_variables]


def rules_of(diagnosis):
    return [finding.rule for finding in diagnosis.findings]


def line_with(name, text):
    """Number and text of the one line of code of an example that has some text and assigns something."""
    lines = enumerate((EXAMPLES / f"{name}.py").read_text().splitlines(), start=1)
    ((number, line),) = [(number, line) for number, line in lines if text in line and " = " in line]
    return number, line.strip()


def assert_same_weights(model, before):
    for now, then in zip(weights_of(model), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_every_example_is_tested():
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == sorted([*SCRIPTS, "demo", *HELPERS])


@pytest.mark.slow
@pytest.mark.filterwarnings("always::gradwatch.errors.GradientWarning")
@pytest.mark.parametrize("name", SCRIPTS)
def test_script_runs_from_anywhere(name, tmp_path, monkeypatch, recwarn, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name])
    script = str(EXAMPLES / f"{name}.py")
    if name == "fail_fast_job":
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(script, run_name="__main__")
        assert stopped.value.code == 3
    else:
        runpy.run_path(script, run_name="__main__")
    assert capsys.readouterr().out
    told = [str(warning.message) for warning in recwarn if issubclass(warning.category, gradwatch.GradientWarning)]
    assert [message for message in told if not message.startswith("[GW")] == []  # a failure of gradwatch's own


def test_quickstart_is_healthy_and_keeps_its_log(tmp_path):
    watch = example("quickstart").train(tmp_path / "run")
    assert watch.diagnosis.findings == ()
    assert watch.diagnosis.skipped == ()
    log = gradwatch.load(tmp_path / "run")
    assert log.num_steps == 5 * 57
    losses = log.steps().groupby("epoch")["loss"].mean()
    assert losses.iloc[-1] < losses.iloc[0] / 3


class TestOutputScaler:
    def test_gradients_flow_and_nothing_is_reported(self):
        watch = example("output_scaler").train()
        assert watch.diagnosis.findings == ()
        frame = watch.log.frame()
        assert not frame["detached"].any()
        assert (frame["grad_norm"] > 0).all()
        losses = watch.log.steps()["loss"]
        assert losses.tail(57).mean() < losses.head(57).mean() / 2

    def test_its_numbers_are_neither_trained_nor_called_detached(self):
        scaled = example("output_scaler")
        model = scaled.build_model()
        before = weights_of(model)
        watch = scaled.train(model=model, epochs=1)
        names = {path.removeprefix("scaled_scores/") for path in watch.log.variables()["variable"]}
        assert names == {"hidden/kernel", "hidden/bias", "digit/kernel", "digit/bias"}
        assert [float(variable) for variable in model.get_layer("output_scaler").variables] == pytest.approx(
            [0.9, 0.05]
        )
        assert all((now != then).any() for now, then in zip(weights_of(model), before, strict=True))


class TestLogLambda:
    def test_with_eps_spikes_and_then_dead_outputs(self):
        with pytest.warns(gradwatch.GradientWarning) as told:
            watch = example("log_lambda").train()
        assert any("GW103 ZeroGradient" in str(warning.message) for warning in told)
        spikes, finding = watch.diagnosis.findings
        assert (spikes.rule, finding.rule) == ("UpdateTooLarge", "ZeroGradient")
        assert finding.layers == ("log_brightness/brightness", "log_brightness/hidden")
        assert finding.last_step == watch.log.num_steps - 1
        bias = "log_brightness/brightness/bias"
        dead = watch.log.wide("zero_fraction")[bias]
        assert dead.iloc[0] < 1
        later = dead.loc[finding.first_step :].dropna()
        assert len(later) > 2
        assert (later == 1).all()
        assert (watch.log.wide("grad_norm")[bias].loc[finding.first_step :] == 0).all()

    def test_mended_it_is_healthy_and_has_no_spikes(self):
        log_lambda = example("log_lambda")
        mended = log_lambda.train(positive=keras.ops.softplus)
        assert mended.diagnosis.findings == ()
        with pytest.warns(gradwatch.GradientWarning):
            broken = log_lambda.train(epochs=2)
        worst, usual = (watch.log.steps()["global_norm"].max() for watch in (broken, mended))
        assert worst > 10 * usual
        assert mended.log.steps()["loss"].tail(20).mean() < 1 < broken.log.steps()["loss"].tail(20).mean()

    def test_without_eps_the_first_gradient_is_not_finite(self):
        with pytest.warns(gradwatch.GradientWarning) as told:
            watch = example("log_lambda").train(eps=0.0, epochs=1)
        assert sum("GW201 NonFiniteGradient" in str(warning.message) for warning in told) == 1
        finding = next(f for f in watch.diagnosis.findings if f.rule == "NonFiniteGradient")
        assert (finding.severity, finding.first_step) == ("error", 0)
        assert finding.layers[0] == "log_brightness/brightness"  # right before the Lambda, which has no variables
        assert "NonFiniteLoss" in rules_of(watch.diagnosis)

    def test_without_eps_fail_fast_names_the_line(self):
        watch = example("log_lambda").train(eps=0.0, epochs=1, fail_fast=True)
        finding = next(f for f in watch.diagnosis.findings if f.rule == "NonFiniteGradient")
        assert finding.cause.op_type == "Log"
        assert "ops.log(" in finding.cause.code
        assert finding.cause.source.startswith("examples/log_lambda.py:")


class TestNumpyPredictions:
    def test_fit_stops_with_words_a_beginner_understands(self):
        example_module = example("numpy_predictions")
        model = example_module.build_model(mended=False)
        before = weights_of(model)
        watch = gradwatch.GradientWatch()
        with pytest.raises(gradwatch.DetachedVariableError) as raised:
            example_module.train(watch, model=model)
        message = str(raised.value)
        assert "No gradient reaches any of the 4 variables" in message
        assert "hidden (kernel, bias) and digit (kernel, bias)" in message
        assert "nothing is trained" in message
        line, code = line_with("numpy_predictions", ".numpy()")
        assert f"`{code}` (examples/numpy_predictions.py:{line}) leaves TensorFlow" in message
        assert "layer of its own" in message
        # What Keras said; its own filter of tracebacks makes the cause of any error in `fit` a mere context.
        assert "No gradients provided for any variable" in str(raised.value.__context__)
        assert watch.log.variables()["detached"].all()
        assert rules_of(watch.diagnosis) == ["DetachedVariable"]
        assert_same_weights(model, before)

    def test_the_log_on_the_disk_says_the_same(self, tmp_path):
        with pytest.raises(gradwatch.DetachedVariableError):
            example("numpy_predictions").train(gradwatch.GradientWatch(tmp_path / "run"))
        diagnosis = gradwatch.diagnose(gradwatch.load(tmp_path / "run"))
        assert rules_of(diagnosis) == ["DetachedVariable"]
        assert not diagnosis.ok

    def test_model_predict_in_a_loop_stops_likewise(self):
        example_module = example("numpy_predictions")
        model = example_module.build_model(mended=True)
        before = weights_of(model)
        with pytest.raises(gradwatch.DetachedVariableError, match="any of the 4 variables") as raised:
            example_module.train_with_predict(model=model)
        line, code = line_with("numpy_predictions", "trained.predict(images")
        assert f"`{code}` (examples/numpy_predictions.py:{line}) leaves TensorFlow" in str(raised.value)
        assert "No gradients provided for any variable" in str(raised.value.__cause__)
        assert_same_weights(model, before)

    def test_mended_it_is_healthy(self):
        watch = gradwatch.GradientWatch()
        example("numpy_predictions").train(watch, mended=True)
        assert watch.diagnosis.findings == ()
        losses = watch.log.steps()["loss"]
        assert losses.tail(57).mean() < losses.head(57).mean() / 2


def test_custom_loop_is_recorded_by_epoch(tmp_path):
    step = example("custom_loop").train(tmp_path / "run", epochs=3)
    assert step.diagnosis.findings == ()
    steps = gradwatch.load(tmp_path / "run").steps()
    assert steps.groupby("epoch").size().to_dict() == {0: 57, 1: 57, 2: 57}
    losses = steps.groupby("epoch")["loss"].mean()
    assert losses.is_monotonic_decreasing


class TestFailFastJob:
    def test_stops_at_the_broken_image_with_good_weights(self, tmp_path):
        job = example("fail_fast_job")
        keras.utils.set_random_seed(0)
        model = job.build_model()
        before = weights_of(model)
        with pytest.raises(gradwatch.NonFiniteGradientError) as stopped:
            job.train(tmp_path / "run", model=model)
        assert stopped.value.step == job.BROKEN_IMAGE // 32
        assert stopped.value.findings[0].rule == "NonFiniteInput"
        assert all(np.isfinite(values).all() for values in weights_of(model))
        assert all((now != then).any() for now, then in zip(weights_of(model), before, strict=True))
        assert gradwatch.load(tmp_path / "run").steps()["step"].max() == stopped.value.step

    def test_with_clean_data_it_ends_with_status_zero(self, tmp_path, capsys):
        job = example("fail_fast_job")
        assert job.main(["--clean", "--run-dir", str(tmp_path / "run")]) == 0
        assert "last_good.keras" in capsys.readouterr().out

    @pytest.mark.slow
    def test_the_shell_sees_the_status(self, tmp_path):
        done = subprocess.run(
            [sys.executable, str(EXAMPLES / "fail_fast_job.py"), "--run-dir", "job"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 3
        assert "Stopped at step 31" in done.stderr
        model = keras.saving.load_model(tmp_path / "job" / "last_good.keras")
        assert all(np.isfinite(values).all() for values in weights_of(model))


def test_demo_shows_each_diagnosis_and_writes_each_report(tmp_path, capsys):
    watches = example("demo").main(tmp_path)
    found = {name: rules_of(watch.diagnosis) for name, watch in watches.items()}
    assert found == {
        "healthy": [],
        "output_scaler": [],
        "log_lambda": ["UpdateTooLarge", "ZeroGradient"],
        "log_lambda_without_eps": ["NonFiniteLoss", "NonFiniteGradient"],
        "numpy_predictions": ["DetachedVariable"],
    }
    printed = capsys.readouterr().out
    for name, rules in found.items():
        assert rules_of(gradwatch.diagnose(gradwatch.load(tmp_path / name))) == rules
        report = tmp_path / ("" if name == "healthy" else name) / "report.html"
        assert str(report) in printed
        assert report.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
        assert all(rule in printed for rule in rules)


def test_a_rule_of_ones_own_is_judged_beside_the_others():
    own_rule = example("own_rule")
    own_rule.test_a_hit_and_a_miss()
    diagnosis = own_rule.train().diagnosis
    assert "NoisyGradient" in {*diagnosis.passed, *rules_of(diagnosis)}
