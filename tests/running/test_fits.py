import gc
import subprocess
import sys
import types
import weakref

import keras
import numpy as np
import pytest

import gradwatch
from gradwatch import options
from gradwatch.environment import RUN_DIR_VARIABLE
from gradwatch.running import UnusableRunDirError, WatchedFits

X = np.linspace(-1, 1, 64 * 4, dtype="float32").reshape(64, 4)
Y = X.sum(axis=1, keepdims=True)
NUM_STEPS = 2  # of one epoch


def build(name="net"):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)], name=name)
    model.compile("sgd", "mse")
    return model


def fit(model, **options):
    return model.fit(X, Y, verbose=0, **options)


def steps(fits):
    return {run.name: run.log.num_steps for run in fits.runs}


@pytest.fixture
def told():
    return []


@pytest.fixture
def fits(told):
    return WatchedFits(None, told.append)


def test_each_fit_of_a_model_goes_into_one_log(fits, told):
    model, plain = build(), keras.Model.fit
    with fits.active():
        assert keras.Model.fit is not plain
        history = fit(model, epochs=2)
        fit(model)
    assert keras.Model.fit is plain
    assert "fit" not in vars(keras.Model)
    assert len(history.history["loss"]) == 2
    assert steps(fits) == {"net": 3 * NUM_STEPS}
    assert fits.runs[0].log.steps()["step"].tolist() == list(range(3 * NUM_STEPS))
    assert (fits.num_fits, fits.num_own, told) == (2, 0, [])


def test_the_weights_are_those_of_an_unwatched_run(fits):
    unwatched, watched = build(), build()
    fit(unwatched, epochs=3)
    with fits.active():
        fit(watched, epochs=3)
    for one, other in zip(unwatched.weights, watched.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_different_models_have_logs_of_their_own(fits):
    first, second = build("first"), build("second")
    with fits.active():
        fit(first)
        fit(second, epochs=2)
        fit(first)
    assert steps(fits) == {"first": 2 * NUM_STEPS, "second": 2 * NUM_STEPS}


def stopping():
    return keras.callbacks.EarlyStopping("loss")


@pytest.mark.parametrize("given", [None, [], stopping(), (stopping(), [keras.callbacks.LambdaCallback()])])
def test_callbacks_in_every_form(fits, given):
    model = build()
    before = list(given) if isinstance(given, list | tuple) else None
    with fits.active():
        fit(model, callbacks=given)
    assert steps(fits) == {"net": NUM_STEPS}
    assert before is None or list(given) == before  # what the program holds is not changed


def test_a_callback_list_that_keras_made(fits):
    model = build()
    given = keras.callbacks.CallbackList([stopping()], add_history=True, model=model)
    before = list(given.callbacks)
    with fits.active():
        assert len(fit(model, callbacks=given, epochs=2).history["loss"]) == 2
    assert steps(fits) == {"net": 2 * NUM_STEPS}
    assert given.callbacks == before


def test_callbacks_by_position(fits):
    seen, model = [], build()
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    with fits.active():
        model.fit(X, Y, 32, 2, 0, [callback])
    assert seen == [0, 1]
    assert steps(fits) == {"net": 2 * NUM_STEPS}


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_fit_with_a_watch_of_its_own_keeps_it_and_only_that(fits, wrapped):
    own, model = gradwatch.GradientWatch(), build()
    callbacks = keras.callbacks.CallbackList([own], add_history=True, model=model) if wrapped else [[own]]
    with fits.active():
        fit(model, callbacks=callbacks)
    assert own.log.num_steps == NUM_STEPS
    assert (fits.runs, fits.num_fits, fits.num_own) == ([], 1, 1)


class Halving(keras.Model):
    """Its own `fit` trains twice, on halves."""

    def __init__(self, name):
        super().__init__(name=name)
        self.dense = keras.layers.Dense(1)

    def call(self, x):
        return self.dense(x)

    def fit(self, x, y, parts):
        for half in np.array_split(np.arange(len(x)), parts):
            super().fit(x[half], y[half], verbose=0)


def test_a_subclass_with_its_own_fit(fits):
    model = Halving("halving")
    model.compile("sgd", "mse")
    with fits.active():
        model.fit(X, Y, parts=2)
    assert steps(fits) == {"halving": 2}
    assert fits.num_fits == 2


def test_a_fit_within_a_fit(fits):
    outer, inner = build("outer"), build("inner")
    again = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: fit(inner))
    with fits.active():
        fit(outer, epochs=2, callbacks=[again])
    assert steps(fits) == {"outer": 2 * NUM_STEPS, "inner": 2 * NUM_STEPS}


def test_wrong_arguments_are_what_keras_says(fits):
    model = build()
    with fits.active():
        with pytest.raises(TypeError, match="bananas"):
            fit(model, bananas=3)
        with pytest.raises(ValueError, match="compile"):
            keras.Sequential([keras.layers.Dense(1)]).fit(X, Y)


def test_what_was_recorded_before_an_exception_is_there(fits):
    model = build()

    def fail(batch, logs):
        raise OSError("disk")

    with fits.active():
        with pytest.raises(OSError, match="disk"):
            fit(model, callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=fail)])
        fit(model)
    assert steps(fits) == {"net": 1 + NUM_STEPS}


def test_fail_fast_from_the_environment(fits, monkeypatch):
    monkeypatch.setenv(options.FAIL_FAST_VARIABLE, "1")
    model = build()
    with fits.active(), pytest.raises(gradwatch.NonFiniteGradientError):
        model.fit(np.full_like(X, np.nan), Y, verbose=0)
    assert fits.runs[0].log.num_steps == 1
    assert np.isfinite(model.weights[0].numpy()).all()


def test_models_can_go_and_their_logs_stay(fits):
    def train(name):
        model = build(name)
        fit(model)
        return weakref.ref(model)

    with fits.active():
        gone = [train("a"), train("b")]
        keras.utils.clear_session()
        gc.collect()
        assert [model() for model in gone] == [None, None]
    assert steps(fits) == {"a": NUM_STEPS, "b": NUM_STEPS}


def test_the_model_is_left_as_it_was(fits):
    model = build()
    before = set(vars(model))
    with fits.active():
        fit(model)
    assert {name for name in set(vars(model)) - before if "gradwatch" in name} == set()


def test_what_cannot_be_watched_is_trained_all_the_same(fits, told, monkeypatch):
    def refuse(model):
        raise NotImplementedError("Not under this strategy.")

    monkeypatch.setattr("gradwatch.requirements.require_model", refuse)
    model = build()
    with fits.active():
        fit(model)
        assert len(fit(model).history["loss"]) == 1
    assert fits.runs == []
    assert told == ["Not watched: Not under this strategy."]


def test_another_backend_is_not_watched(fits, told):
    class Model:
        def fit(self, x):
            return x

    backend = types.SimpleNamespace(backend=lambda: "jax")
    fits._put_on(types.SimpleNamespace(Model=Model, backend=backend))
    assert Model().fit(3) == 3
    assert told == ["Not watched: gradwatch needs TensorFlow, and Keras runs on jax."]


def test_a_failure_of_gradwatch_does_not_stop_the_training(fits, monkeypatch):
    def broken(*args, **kwargs):
        raise ValueError("broken")

    monkeypatch.setattr("gradwatch.callback.GradientWatch.__init__", broken)
    with fits.active(), pytest.warns(gradwatch.GradientWarning, match="training goes on: ValueError: broken"):
        assert len(fit(build()).history["loss"]) == 1


def test_forked_processes_are_left_alone(fits, monkeypatch):
    monkeypatch.setattr(fits, "_process", -1)
    with fits.active():
        fit(build())
    assert fits.runs == []


class TestRunDir:
    def test_one_model_has_the_directory_and_others_lie_beside_it(self, tmp_path, told):
        fits = WatchedFits(str(tmp_path / "run"), told.append)
        models = [build("gen"), build("critic"), build("critic")]
        with fits.active():
            for model in models:
                fit(model)
            fit(models[0])
        names = ["run", "run-critic", "run-critic-2"]
        assert [run.run_dir for run in fits.runs] == [str(tmp_path / name) for name in names]
        assert sorted(path.name for path in tmp_path.iterdir()) == names
        assert [gradwatch.load(run.run_dir).num_steps for run in fits.runs] == [2 * NUM_STEPS, NUM_STEPS, NUM_STEPS]
        assert told == []

    def test_names_that_are_no_file_names(self, told):
        fits = WatchedFits("runs/today/", told.append)
        fits.num_own = 1
        assert fits._free_place(types.SimpleNamespace(name="a b/c:d")) == "runs/today-a_b_c_d"

    def test_a_watch_of_the_script_may_have_it(self, tmp_path, told, monkeypatch):
        monkeypatch.setenv(RUN_DIR_VARIABLE, str(tmp_path / "run"))
        fits = WatchedFits(str(tmp_path / "run"), told.append)
        with fits.active():
            fit(build("own"), callbacks=[gradwatch.GradientWatch()])
            fit(build("other"))
        assert [run.run_dir for run in fits.runs] == [str(tmp_path / "run-other")]
        assert gradwatch.load(tmp_path / "run").info.model == "own"

    def test_one_that_cannot_be_written_ends_the_program_at_once(self, tmp_path, told):
        (tmp_path / "file").touch()
        fits = WatchedFits(str(tmp_path / "file"), told.append)
        with pytest.raises(UnusableRunDirError) as raised, fits.active():
            pytest.fail("the program went on")
        assert str(tmp_path / "file") in raised.value.message

    def test_a_further_one_that_cannot_be_written_is_kept_in_memory(self, tmp_path, told, monkeypatch):
        monkeypatch.setenv(RUN_DIR_VARIABLE, str(tmp_path / "run"))
        (tmp_path / "run-second").touch()
        fits = WatchedFits(str(tmp_path / "run"), told.append)
        with fits.active():
            fit(build("first"))
            fit(build("second"))
        assert steps(fits) == {"first": NUM_STEPS, "second": NUM_STEPS}
        assert [run.run_dir for run in fits.runs] == [str(tmp_path / "run"), None]
        assert gradwatch.load(tmp_path / "run").info.model == "first"
        (message,) = told
        assert message.startswith("The log of the model 'second' is kept in memory only.")


def test_the_names_of_the_variables_are_those_of_the_interface():
    assert RUN_DIR_VARIABLE == options.RUN_DIR_VARIABLE == "GRADWATCH_RUN_DIR"
    assert options.FAIL_FAST_VARIABLE == "GRADWATCH_FAIL_FAST"


def test_nothing_heavy_is_loaded_before_the_program():
    code = "import sys, gradwatch.running; assert not {'numpy', 'keras', 'tensorflow', 'pyarrow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
