"""A run directory that is used again: by the same training that goes on, by another one, by two at once."""

import signal

import keras
import numpy as np
import pandas as pd
import pytest
from survival.start import diary, start, wait_for

import gradwatch
from gradwatch import GradientWatch, store


def model_and_data(units=4):
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    rng = np.random.default_rng(0)
    return model, rng.normal(size=(40, 3)), rng.normal(size=(40, 1))


def fit(model, x, y, run_dir, **options):
    watch = GradientWatch(run_dir)
    model.fit(x, y, batch_size=4, verbose=0, callbacks=[watch], **options)
    return watch


def outcome(run_dir):
    return gradwatch.load(run_dir).info.outcome


def test_fit_that_restores_a_backup_goes_on_with_the_log(tmp_path):
    first = start(tmp_path, "fit", 2000)
    wait_for(tmp_path, first, 150)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    before = gradwatch.load(tmp_path / "run").steps()
    assert outcome(tmp_path / "run") == "running"
    num_lines = len(diary(tmp_path))

    second = start(tmp_path, "fit", 200)
    _, errors = second.communicate()
    assert second.returncode == 0, errors
    log = gradwatch.load(tmp_path / "run")
    after = log.steps()
    assert after["step"].tolist() == list(range(len(after)))
    pd.testing.assert_frame_equal(after[: len(before)], before)
    assert len(after) - len(before) == len(diary(tmp_path)) - num_lines
    assert log.info.resumed_at == (len(before),)
    assert after["epoch"].iloc[-1] == 9
    assert after["epoch"][len(before)] > 0
    assert log.info.outcome == "completed"
    assert len(list((tmp_path / "run").glob("*.parquet"))) == 1


def test_the_watch_has_the_whole_log_too(tmp_path):
    model, x, y = model_and_data()
    fit(model, x, y, tmp_path)
    watch = fit(model, x, y, tmp_path, initial_epoch=1, epochs=3)
    assert watch.log.info.resumed_at == (10,)
    for log in (watch.log, gradwatch.load(tmp_path)):
        assert log.steps()["step"].tolist() == list(range(30))
        assert log.steps()["epoch"].tolist() == [0] * 10 + [1] * 10 + [2] * 10
        assert len(log.frame()) == 120
    assert watch.log.frame().equals(gradwatch.load(tmp_path).frame())


def test_training_that_begins_anew_replaces_the_log(tmp_path):
    for _ in range(2):
        watch = fit(*model_and_data(), tmp_path)
        assert watch.log.num_steps == gradwatch.load(tmp_path).num_steps == 10
        assert gradwatch.load(tmp_path).info.resumed_at == ()


def test_another_model_replaces_the_log(tmp_path):
    fit(*model_and_data(), tmp_path)
    model, x, y = model_and_data(units=5)
    fit(model, x, y, None)
    assert fit(model, x, y, tmp_path).log.num_steps == gradwatch.load(tmp_path).num_steps == 10


def test_a_second_fit_with_one_watch_is_the_same_run(tmp_path):
    model, x, y = model_and_data()
    watch = fit(model, x, y, tmp_path)
    ended = gradwatch.load(tmp_path).info
    assert (ended.outcome, bool(ended.started), bool(ended.ended)) == ("completed", True, True)
    assert not store.is_locked(tmp_path)
    model.fit(x, y, batch_size=4, verbose=0, callbacks=[watch])
    assert gradwatch.load(tmp_path).num_steps == watch.log.num_steps == 20


def test_two_watches_of_a_process_the_later_one_has_the_directory(tmp_path):
    model, x, y = model_and_data()
    first, second = GradientWatch(tmp_path), GradientWatch(tmp_path)
    with pytest.warns(gradwatch.GradientWarning, match="stops writing to ParquetSink.*another watch"):
        model.fit(x, y, batch_size=4, verbose=0, callbacks=[first])
    assert first.log.num_steps == 10
    other, x, y = model_and_data()
    other.fit(x[:8], y[:8], batch_size=4, verbose=0, callbacks=[second])
    assert gradwatch.load(tmp_path).num_steps == 2


def test_a_second_process_is_refused(tmp_path):
    process = start(tmp_path, "fit", 1_000_000)
    try:
        wait_for(tmp_path, process, 1)
        with pytest.raises(BlockingIOError, match=f"held by process {process.pid}"):
            GradientWatch(tmp_path / "run")
        wait_for(tmp_path, process, 60)  # it does not mind
    finally:
        process.kill()
        process.communicate()
    GradientWatch(tmp_path / "run").close()


def test_how_a_run_ended(tmp_path):
    model, x, y = model_and_data()
    x[20] = np.nan
    watch = GradientWatch(tmp_path / "stopped", fail_fast=True)
    with pytest.raises(gradwatch.GradientError):
        model.fit(x, y, batch_size=4, shuffle=False, verbose=0, callbacks=[watch])
    assert outcome(tmp_path / "stopped") == "stopped"

    model, x, y = model_and_data()

    def raise_late(batch, logs):
        if batch == 3:
            raise ZeroDivisionError

    watch = GradientWatch(tmp_path / "failed")
    failing = keras.callbacks.LambdaCallback(on_train_batch_end=raise_late)
    with pytest.raises(ZeroDivisionError):
        model.fit(x, y, batch_size=4, verbose=0, callbacks=[watch, failing])
    assert outcome(tmp_path / "failed") == "running"  # nobody tells a callback
    watch.close()
    assert outcome(tmp_path / "failed") == "interrupted"
    assert gradwatch.load(tmp_path / "failed").num_steps == 4


def test_a_script_that_fails_leaves_all_its_records(tmp_path):
    (tmp_path / "backup").write_text("no directory, so that the callback of Keras fails at the end of the first epoch")
    process = start(tmp_path, "fit", 40)
    process.communicate()
    assert process.returncode == 1
    log = gradwatch.load(tmp_path / "run")
    assert log.num_steps == len(diary(tmp_path)) == 20
    assert log.info.outcome == "interrupted"


def test_findings_that_cannot_be_written_cost_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(gradwatch.Diagnosis, "to_json", lambda _: 1 / 0)
    model, x, y = model_and_data()
    with pytest.warns(gradwatch.GradientWarning, match=r"failed at judging the records.*ZeroDivisionError"):
        watch = fit(model, x, y, tmp_path)
    assert watch.log.num_steps == gradwatch.load(tmp_path).num_steps == 10
    fit(*model_and_data(), None)  # without a run directory they are not made at all


def test_the_manifest_says_what_was_run(tmp_path):
    model, x, y = model_and_data()
    watch = GradientWatch(tmp_path, fail_fast=["NonFiniteLoss"], allow_detached=("pooler/*",))
    model.fit(x, y, verbose=0, callbacks=[watch])
    info = gradwatch.load(tmp_path).info
    assert info == watch.log.info
    assert info.options["fail_fast"] == ["NonFiniteLoss"]
    assert info.options["allow_detached"] == ["pooler/*"]
    assert info.options["run_dir"] == str(tmp_path)
    assert "VanishingGradient" in info.options["rules"]
    assert "2 layers, 21 weights, 21 of them trainable\ndense" in info.summary
    assert set(info.versions) == {"gradwatch", "keras", "tensorflow", "python"}
    assert gradwatch.Diagnosis.from_json((tmp_path / "_findings.json").read_text()) == watch.diagnosis
