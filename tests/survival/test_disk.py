"""A disk that fails while training runs: training goes on as without a watch, with one warning, and the log stays."""

import pathlib
import resource
import shutil
import signal

import keras
import numpy as np
import pytest

import gradwatch
from gradwatch import GradientWarning, GradientWatch

NUM_STEPS = 200


def model_and_data():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.01), "mse")
    rng = np.random.default_rng(0)
    return model, rng.normal(size=(400, 3)), rng.normal(size=(400, 1))


class At(keras.callbacks.Callback):
    """Does something at the end of a batch."""

    def __init__(self, batch, what):
        super().__init__()
        self._batch = batch
        self._what = what

    def on_train_batch_end(self, batch, logs=None):
        if batch == self._batch:
            self._what()


def fit(*callbacks):
    model, x, y = model_and_data()
    model.fit(x, y, batch_size=2, shuffle=False, verbose=0, callbacks=list(callbacks))
    return [variable.numpy() for variable in (*model.variables, *model.optimizer.variables)]


def check(run_dir, break_it, words):
    watch = GradientWatch(run_dir)
    with pytest.warns(GradientWarning, match=words) as caught:
        state = fit(watch, At(120, break_it))
    ours = [warning for warning in caught if issubclass(warning.category, GradientWarning)]
    assert len(ours) == 1
    for mine, plain in zip(state, fit(), strict=True):
        np.testing.assert_array_equal(mine, plain)
    assert watch.log.num_steps == NUM_STEPS
    assert watch.diagnosis.ok
    watch.close()


def test_the_directory_goes(tmp_path):
    run_dir = tmp_path / "run"
    check(run_dir, lambda: shutil.rmtree(run_dir), r"stops writing to ParquetSink.*FileNotFoundError")


def test_something_else_is_in_its_place(tmp_path):
    run_dir = tmp_path / "run"

    def replace():
        shutil.rmtree(run_dir)
        run_dir.write_text("a file")

    check(run_dir, replace, r"stops writing to ParquetSink.*NotADirectoryError")


def test_no_permission_any_more(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    def take_away():
        monkeypatch.setattr(pathlib.Path, "replace", refuse)

    check(tmp_path / "run", take_away, r"stops writing to ParquetSink.*PermissionError.*Permission denied")
    monkeypatch.undo()
    assert 1 <= gradwatch.load(tmp_path / "run").num_steps <= 121  # what was there before


def test_the_disk_is_full(tmp_path):
    """The system refuses to make any file longer than it lets this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        check(
            tmp_path / "run",
            lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard)),
            r"stops writing to ParquetSink.*File too large",
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert 1 <= gradwatch.load(tmp_path / "run").num_steps <= 121
    assert not [entry for entry in (tmp_path / "run").iterdir() if entry.name.endswith(".tmp")]


def test_it_cannot_be_written_from_the_start(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"Cannot write the log\. Received: .*file.*Give a path"):
        GradientWatch(tmp_path / "file")
