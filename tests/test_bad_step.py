import os
import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import gradwatch
from gradwatch import GradientWatch, LogFormatError, load_bad_step, postmortem
from gradwatch.bad_step import BadStep, _decoded, encoded

layers = keras.layers
pytestmark = pytest.mark.filterwarnings("ignore::gradwatch.GradientWarning")
BAD = 3


def loss(y, prediction):
    return tf.reduce_mean(tf.math.log(y) * prediction**2, -1)


def make(name="net"):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.BatchNormalization(),
            layers.Dropout(0.5, seed=3),
            layers.Dense(5, activation="tanh"),
            layers.Dense(2),
        ],
        name=name,
    )
    model.compile(keras.optimizers.Adam(0.01), loss)
    return model


def data():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(96, 6)).astype("float32"), rng.uniform(1, 2, size=(96, 2)).astype("float32")
    y[16 * BAD + 5] = 0.0
    return x, y


class Before(keras.callbacks.Callback):
    """The variables before each batch."""

    def on_train_begin(self, logs=None):
        self.seen = []

    def on_train_batch_begin(self, batch, logs=None):
        self.seen.append([np.array(variable.numpy()) for variable in self.model.variables])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run directory, the model that was trained, and its variables before each step and after the last one."""
    path, model, before = tmp_path_factory.mktemp("trained") / "run", make(), Before()
    x, y = data()
    model.fit(x, y, batch_size=16, shuffle=False, verbose=0, callbacks=[before, GradientWatch(path)])
    return path, model, [*before.seen, [np.array(variable.numpy()) for variable in model.variables]]


@pytest.fixture
def run(trained, tmp_path):
    """The same for a test of its own."""
    path, model, seen = trained
    for variable, value in zip(model.variables, seen[-1], strict=True):
        variable.assign(value)
    return shutil.copytree(path, tmp_path / "run"), model, seen


def test_the_batch_and_the_weights_from_before(run):
    path, model, seen = run
    bad = load_bad_step(path)
    x, y = data()
    assert (bad.step, bad.epoch) == (BAD, 0)
    assert bad.cause.op_type == "Log"
    assert repr(bad).startswith("<BadStep: step 3, 9 variables, Log")
    assert isinstance(bad.batch, tuple)
    np.testing.assert_array_equal(bad.batch[0], x[48:64])
    np.testing.assert_array_equal(bad.batch[1], y[48:64])
    assert [path for path, _ in bad.variables] == [variable.path for variable in model.variables]
    for (_, value), expected in zip(bad.variables, seen[BAD], strict=True):
        np.testing.assert_array_equal(value, expected)
    assert [int(value) for path, value in bad.optimizer if path.endswith("/iteration")] == [BAD]


def test_a_model_is_put_back_and_does_it_again(run):
    path, model, seen = run
    assert np.isnan(model.layers[-1].kernel.numpy()).any(), "the run is ruined"
    bad = load_bad_step(path)
    bad.restore(model)
    for variable, expected in zip(model.variables, seen[BAD], strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected)
    assert int(model.optimizer.iterations) == BAD
    x, y = bad.batch
    finding = gradwatch.check_gradients(model, x, y).findings[0]
    assert finding.cause.op_type == "Log"
    assert finding.cause.detail.endswith("row 5 of the batch of 16")


def test_a_model_made_anew_by_the_same_code_has_other_names(run):
    path, _, seen = run
    other = make("again")
    load_bad_step(path).restore(other)
    for variable, expected in zip(other.variables, seen[BAD], strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected)
    assert int(other.optimizer.iterations) == BAD


def test_another_model_is_refused_and_left_alone(run):
    path, _, _ = run
    for units, error in ((7, r"of shape \(6, 7\), expected \(6, 5\)"), (None, "no variable 'net/")):
        stack = [keras.Input((6,)), layers.BatchNormalization(), layers.Dropout(0.5)]
        stack += [layers.Dense(units), layers.Dense(2)] if units else []
        model = keras.Sequential(stack)
        before = [np.array(variable.numpy()) for variable in model.variables]
        with pytest.raises(ValueError, match=error):
            load_bad_step(path).restore(model)
        for variable, expected in zip(model.variables, before, strict=True):
            np.testing.assert_array_equal(variable.numpy(), expected)


def test_other_readers_do_not_see_it(run):
    path, _, _ = run
    assert len(pd.read_parquet(path)) == len(gradwatch.load(path).frame())
    assert not list(path.glob("_bad*.parquet"))
    shown = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    assert {entry.suffix for entry in shown} == {".parquet", ".json", ".tensors"}


def test_it_is_kept_only_where_that_is_wanted(tmp_path, monkeypatch):
    x, y = data()
    monkeypatch.chdir(tmp_path)
    make().fit(x, y, batch_size=16, verbose=0, callbacks=[GradientWatch("run", save_bad_step=False)])
    make().fit(x, y, batch_size=16, verbose=0, callbacks=[GradientWatch()])
    assert (tmp_path / "run").is_dir()
    assert not list(tmp_path.rglob("*.tensors"))


def test_a_later_run_removes_it(run):
    path, _, _ = run
    x, y = data()
    make().fit(x, y + 1, batch_size=16, verbose=0, callbacks=[GradientWatch(path)])
    with pytest.raises(FileNotFoundError, match="There is no bad step"):
        load_bad_step(path)
    assert not list(path.glob("*.tensors"))


def test_their_number_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(postmortem, "_place", id)  # as if every origin were a new one
    x, y = data()
    y[5::16] = 0.0
    drain = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: watch.log)
    watch = GradientWatch(tmp_path / "run", on_nonfinite="skip")
    make().fit(x, y, batch_size=16, verbose=0, shuffle=False, callbacks=[watch, drain])
    assert len(list((tmp_path / "run").glob("*.tensors"))) == postmortem.MOST_KEPT
    assert load_bad_step(tmp_path / "run").step == 0
    assert load_bad_step(tmp_path / "run", step=2).step == 2
    with pytest.raises(ValueError, match=r"step=5. Expected one of \[0, 1, 2, 3\]"):
        load_bad_step(tmp_path / "run", step=5)


def test_a_loop_of_ones_own(tmp_path):
    keras.utils.set_random_seed(0)
    table = keras.layers.Embedding(50, 4)
    table.build((None,))
    model = keras.Sequential([table])
    optimizer = keras.optimizers.SGD(0.1)

    @tf.function
    def step(ids, *, scale):
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(model(ids) ** 2) * tf.math.log(scale)
        optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)
        return value

    ids = tf.constant([3, 7])
    with gradwatch.watch_train_step(step, model=model, optimizers=optimizer, run_dir=tmp_path / "run") as watched:
        watched(ids, scale=tf.constant(2.0))
        before = model.trainable_variables[0].numpy()
        watched(ids, scale=tf.constant(-1.0))
    bad = load_bad_step(tmp_path / "run")
    assert bad.epoch == 0
    np.testing.assert_array_equal(bad.batch, ids)
    assert bad.options == {"scale": np.float32(-1.0)}
    ((path, value),) = bad.variables
    assert path == table.embeddings.path
    if isinstance(value, tuple):
        np.testing.assert_array_equal(value[0], ids)
        np.testing.assert_array_equal(value[1], before[[3, 7]])
    bad.restore(model)
    np.testing.assert_array_equal(model.trainable_variables[0].numpy(), before)


def test_arguments_of_any_kind():
    given = (
        {
            "x": tf.ones([2, 3]),
            1: np.zeros(2),
            "text": tf.constant([b"a\0", b""]),
            "none": None,
        },
        [tf.constant(1.5, tf.bfloat16), "a name", 3, True],
        tf.ragged.constant([[1], [2, 3]]),
        tf.sparse.from_dense([[0.0, 2.0]]),
        np.array(["é"]),
        object(),
    )
    encoding, arrays = encoded(given)
    first, second, ragged, sparse, words, other = _decoded(encoding, [array.values for array in arrays])
    assert list(first) == ["x", 1, "text", "none"]
    np.testing.assert_array_equal(first["x"], np.ones((2, 3)))
    assert first["text"].tolist() == [b"a\0", b""]
    assert first["none"] is None
    assert float(second[0]) == 1.5
    assert second[1:] == ["a name", 3, True]
    assert ragged.to_list() == [[1], [2, 3]]
    np.testing.assert_array_equal(tf.sparse.to_dense(sparse), [[0.0, 2.0]])
    assert words.tolist() == ["é".encode()]
    assert other is None


def test_reading_one_does_not_load_tensorflow(run):
    code = (
        "import sys, gradwatch; bad = gradwatch.load_bad_step(sys.argv[1]); "
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules; print(bad.batch[0].shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run[0])],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(pathlib.Path(gradwatch.__file__).parents[1])},
    )
    assert done.stdout.strip() == "(16, 6)"


def test_where_there_is_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no run"):
        load_bad_step(tmp_path / "nothing")


def test_a_damaged_one_gives_one_clear_error_or_what_was_written(run):
    (file,) = run[0].glob("*.tensors")
    whole = file.read_bytes()
    expected = load_bad_step(run[0])
    rng = np.random.default_rng(0)
    num_errors = num_right = 0
    for turn in range(60):
        damaged = bytearray(whole)
        if turn % 2:
            damaged = damaged[: rng.integers(len(whole))]
        else:
            for place in rng.integers(len(whole), size=3):
                damaged[place] ^= 1 << rng.integers(8)
        file.write_bytes(bytes(damaged))
        try:
            found = load_bad_step(run[0])
        except LogFormatError as error:
            num_errors += file.name in str(error)
        else:
            _assert_same(found, expected)
            num_right += 1
    assert num_errors + num_right == 60
    assert num_errors > 40


def _assert_same(found: BadStep, expected: BadStep) -> None:
    assert (found.step, found.epoch, found.cause) == (expected.step, expected.epoch, expected.cause)
    for one, other in zip(found.batch, expected.batch, strict=True):
        np.testing.assert_array_equal(one, other)
    for (path, one), (other_path, other) in zip(found.variables, expected.variables, strict=True):
        assert path == other_path
        np.testing.assert_array_equal(one, other)
