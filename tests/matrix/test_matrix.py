"""Transparent, true, complete and guarded: every row of the matrix. The docs' table is made of the same rows."""

import functools
import warnings

import keras
import numpy as np
import pytest
from programs import identical, oracle

import gradwatch
from gradwatch import schema
from matrix.row import Run, Spy, Traced
from matrix.rows import chosen

pytestmark = pytest.mark.matrix

NAN_RULES = {"NonFiniteGradient", "NonFiniteLoss", "NonFiniteInput"}


class Runs:
    """The runs of one row, each made once, when first asked for."""

    def __init__(self, row):
        self.row = row

    plain = functools.cached_property(lambda self: self._run(None))
    watched = functools.cached_property(lambda self: self._run({}))
    spied = functools.cached_property(lambda self: self._run({"statistics": schema.STATISTIC_NAMES}, spy=True))
    stopped = functools.cached_property(lambda self: self._run({"fail_fast": True}, spy=True))
    skipped = functools.cached_property(lambda self: self._run({"on_nonfinite": "skip"}, spy=True))

    def are_alike(self, name):
        """Whether a guarded run had the weights of the one that is only spied on, up to the bad step.

        A difference counts if it is there in a second pair of runs as well: TensorFlow itself, without any watch, now
        and then reads a weight after the update that should come later (5 of 4000 steps of a linear model).
        """
        for _ in range(2):
            if identical(values(getattr(self, name).spy.before), values(self.spied.spy.before)):
                return True
            del vars(self)[name], vars(self)["spied"]
        return False

    def _run(self, options, *, spy=False):
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        run = Run(options, Spy(self.row.bad, self.row.position) if spy else None)
        Traced.count = 0
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                run.history = self.row.program(run)
            except gradwatch.GradientError as error:
                run.error = error
        run.traces = run.traces or Traced.count
        run.warnings = [str(w.message) for w in caught if issubclass(w.category, gradwatch.GradientWarning)]
        if run.watch is not None:
            run.log = run.watch.log
        return run


@pytest.fixture(scope="module", params=chosen(), ids=str)
def runs(request):
    if request.param.needs and not hasattr(keras.optimizers, request.param.needs):
        pytest.skip(f"this Keras has no {request.param.needs}")
    yield Runs(request.param)
    keras.config.set_dtype_policy("float32")
    keras.config.set_floatx("float32")


def paths_in(run):
    """Path in the log of each variable: its own, and numbered where several share it."""
    known = [info.path for info in run.log.variable_infos]
    paths, taken = {}, {}
    for variable in {id(v): v for model in run.models for v in model.variables}.values():
        path = variable.path
        if path in known:
            taken[path] = taken.get(path, 0) + 1
            count = taken[path]
            paths[id(variable)] = path if count == 1 else f"{path}#{count}"
    return paths


def test_transparent(runs):
    plain, watched = runs.plain, runs.watched
    assert watched.error is None
    assert repr(plain.history) == repr(watched.history)
    assert identical(plain.state(), watched.state())
    for one, other in zip((*plain.models, *plain.optimizers), (*watched.models, *watched.optimizers)):
        assert set(vars(one)) == set(vars(other))
        assert not {"apply", "compute_loss"} & set(vars(other))
    assert len(watched.warnings) == bool(runs.row.warns)
    assert all(runs.row.warns in warning for warning in watched.warnings)


def test_traced_no_more_often(runs):
    assert runs.watched.traces <= runs.plain.traces


def test_complete(runs):
    log, row = runs.watched.log, runs.row
    steps = log.steps()
    assert steps["step"].tolist() == list(range(len(row.calls)))
    assert tuple(zip(steps["epoch"], steps["batch"], steps["optimizer"])) == row.calls
    assert steps["applied"].tolist() == [call >= row.overflows for call in range(len(row.calls))]
    given = [[variable for variable, *_ in call] for call in runs.spied.spy.calls()]
    paths = paths_in(runs.spied)
    frame = log.frame()
    names = frame[~frame["detached"]].groupby("step", observed=True)["variable"].apply(lambda v: sorted(v))
    assert names.tolist() == [sorted(paths[id(v)] for v in variables) for variables in given]


def test_true(runs):
    run, row = runs.spied, runs.row
    calls, paths = run.spy.calls(), paths_in(run)
    assert len(calls) == len(row.calls) == run.log.num_steps
    wide = {name: run.log.wide(name) for name in schema.STATISTIC_NAMES}
    for step, call in enumerate(calls):
        for variable, grad, weight in call:
            path = paths[id(variable)]
            want = oracle(grad) | {"weight_norm": np.linalg.norm(weight)}
            got = {name: wide[name].loc[step, path] for name in want}
            for name in want:
                np.testing.assert_allclose(
                    got[name], want[name], rtol=row.rtol, atol=1e-12, err_msg=f"{name} of {path} at {step}"
                )


def test_update_norms(runs):
    run, row = runs.spied, runs.row
    if not row.update_norms:
        pytest.skip("something else changes the weights between two calls")
    calls, paths = run.spy.calls(), paths_in(run)
    norms = run.log.wide("update_norm")
    for step, call in enumerate(calls):
        for variable, _, before in call:
            later = [w for other in calls[step + 1 :] for v, _, w in other if v is variable]
            if later:
                want = np.linalg.norm(later[0] - before)
                got = norms.loc[step, paths[id(variable)]]
                np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-6, err_msg=f"{variable.path} at {step}")


def kept_in(places):
    """What was kept at the moment, in whichever trace it came."""
    (kept,) = [place for place in places if place.filled.numpy()]
    return kept


def values(places):
    return kept_in(places).values()


def changed_since(places, variables):
    """Names of the variables that are no longer what was kept of them."""
    kept = kept_in(places)
    assert {id(v) for v in kept.variables} <= {id(v) for v in variables}
    pairs = zip(kept.variables, kept.values())
    return [v.path for v, value in pairs if not np.array_equal(np.float64(v.numpy()).ravel(), value)]


def bad_path(run):
    return paths_in(run)[id(run.spy.bad_variable())]


def test_nan_is_reported_with_step_and_variable(runs):
    run, row = runs.spied, runs.row
    findings = [finding for finding in run.watch.diagnosis.findings if finding.rule in NAN_RULES]
    if row.loss_scaled:
        assert not findings
        assert not run.log.steps()["applied"][row.bad]
        return
    finding = next(finding for finding in findings if finding.rule == "NonFiniteGradient")
    assert finding.first_step == row.bad
    assert finding.variables == (bad_path(run),)
    assert finding is findings[0]


def test_fail_fast_keeps_the_weights(runs):
    run, row = runs.stopped, runs.row
    if row.loss_scaled:
        assert run.error is None
    else:
        assert isinstance(run.error, gradwatch.NonFiniteGradientError)
        assert run.error.step == row.bad
        assert run.error.findings[0].variables == (bad_path(run),)
        assert changed_since(run.spy.before, run.trained()) == []
        applied = run.log.steps()["applied"].tolist()
        assert applied[: row.bad] == [call >= row.overflows for call in range(row.bad)]
        assert not any(applied[row.bad :])
        assert not {"train_step", "compute_loss"} & {name for model in run.models for name in vars(model)}
    if row.exact_guards:
        assert runs.are_alike("stopped")


def test_skip_drops_the_bad_update_only(runs):
    run, row = runs.skipped, runs.row
    assert run.error is None
    before, after = values(run.spy.before), values(run.spy.after)
    assert identical(before, after)
    assert all(np.isfinite(v.numpy()).all() for v in run.trained())
    applied = run.log.steps()["applied"].tolist()
    assert applied == [call >= row.overflows and call != row.bad for call in range(len(row.calls))]
    if row.exact_guards:
        assert runs.are_alike("skipped")
