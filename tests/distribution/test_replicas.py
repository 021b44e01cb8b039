"""Several replicas in one process, and two processes: transparent, true, complete and guarded, as the matrix."""

import numpy as np
import pytest
from distribution.rows import LOOP, ROWS, WORKERS

import gradwatch

CALLS = [(epoch, batch) for epoch in range(2) for batch in range(4)]
BAD = 2


@pytest.fixture(scope="module", params=ROWS, ids=str)
def row(request):
    return request.param


@pytest.fixture(params=["watched", "guarded"])
def watched(request):
    return request.param


def test_transparent(row, watched):
    for worker in row.results:
        assert worker[watched]["state"] == worker["plain"]["state"]


def test_complete(row, watched):
    for worker in row.results:
        run = worker[watched]
        assert run["step"] == list(range(8))
        assert list(zip(run["epoch"], run["batch"])) == CALLS
        assert len(set(run["optimizer"])) == 1
        assert run["applied"] == [True] * 8
        assert run["replica"] == [-1] * 8
        assert len(run["variables"]) == 6


def test_what_is_recorded_is_what_was_applied(row):
    """Plain SGD moves every weight by its rate times the gradient: the weights are an oracle of what was applied."""
    for worker in row.results:
        run = worker["sgd"]
        np.testing.assert_allclose(run["updates"], 0.5 * np.array(run["norms"]), rtol=1e-3, atol=1e-7)


def test_workers_agree(row):
    for worker in row.results[1:]:
        assert worker["watched"]["norms"] == row.results[0]["watched"]["norms"]


def test_nan_names_its_replica(row):
    for worker in row.results:
        run = worker["recorded"]
        assert run["replica"][BAD] == 1
        assert run["nonfinite_inputs"][: BAD + 1] == [0, 0, 8]
        assert run["applied"] == [True] * 8


def test_fail_fast_keeps_weights_and_moving_statistics(row):
    for worker in row.results:
        run = worker["stopped"]
        assert run["error"][:2] == ["NonFiniteGradientError", BAD]
        assert "on replica 1" in run["error"][2]
        assert run["replica"] == [-1, -1, 1]
        assert run["nonfinite_inputs"] == [0, 0, 8]
        assert run["applied"] == [True, True, False]
        assert run["state"] == worker["before"]["state"]


def test_skip_leaves_no_trace_of_the_bad_batch(row):
    for worker in row.results:
        assert worker["skipped"]["applied"] == [True, True, False]
        assert worker["skipped"]["state"] == worker["before"]["state"]


def test_a_cut_is_named(row):
    for worker in row.results:
        assert worker["cut"]["causes"] == [["DetachedVariable", "not differentiable", "Round", 2]]


def test_mirrored_and_workers_record_the_same():
    """The same program on two devices of one process and in two processes."""
    mirrored, workers = (row.results[0]["sgd"] for row in (LOOP, WORKERS))
    np.testing.assert_allclose(workers["norms"], mirrored["norms"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(workers["loss"], mirrored["loss"], rtol=1e-5)


def test_only_the_chief_writes_a_shared_log(tmp_path):
    runs = {"watched": {"options": {"run_dir": str(tmp_path / "run")}}}
    one, other = (worker["watched"] for worker in WORKERS.results_of(runs))
    log = gradwatch.load(tmp_path / "run")
    assert log.num_steps == 8
    assert log.segments[0].values["grad_norm"].tolist() == one["norms"] == other["norms"]
