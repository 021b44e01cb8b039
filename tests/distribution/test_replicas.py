"""Several replicas in one process, and two processes; each program runs by itself, for devices are set up once."""

import json
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest

import gradwatch

PROGRAM = pathlib.Path(__file__).with_name("program.py")
TIMEOUT = 120


def start(**arguments):
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), json.dumps(arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def result_of(process):
    out, err = process.communicate(timeout=TIMEOUT)
    lines = [line for line in out.splitlines() if line.startswith("RESULT")]
    assert lines, err[-3000:]
    return json.loads(lines[0].removeprefix("RESULT"))


def run(**arguments):
    return result_of(start(**arguments))


def run_workers(**arguments):
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1], two.getsockname()[1]]
    processes = [start(ports=ports, task=task, loop=True, **arguments) for task in (0, 1)]
    try:
        return [result_of(process) for process in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.mark.parametrize("loop", [False, True])
def test_mirrored_is_transparent(loop):
    plain = run(options=None, loop=loop)
    for options in ({"statistics": "full"}, {"fail_fast": True}):
        watched = run(options=options, loop=loop)
        assert watched["state"] == plain["state"]
        assert watched["step"] == list(range(8))
        assert watched["applied"] == [True] * 8
        assert watched["replica"] == [-1] * 8
        assert watched["variables"] == 6


def test_mirrored_eagerly():
    assert run(options={}, eager=True)["state"] == run(options=None, eager=True)["state"]


def test_what_is_recorded_is_what_was_applied():
    """Plain SGD moves every weight by its rate times the gradient: the weights are an oracle of what was applied."""
    mirrored = run(options={"statistics": "full"}, sgd=True, loop=True)
    np.testing.assert_allclose(mirrored["updates"], 0.5 * np.array(mirrored["norms"]), rtol=1e-3, atol=1e-7)
    for worker in run_workers(options={"statistics": "full"}, sgd=True):
        np.testing.assert_allclose(worker["norms"], mirrored["norms"], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(worker["loss"], mirrored["loss"], rtol=1e-5)


@pytest.mark.parametrize("loop", [False, True])
def test_nan_names_its_replica_and_fail_fast_keeps_the_weights(loop):
    stopped = run(options={"fail_fast": True}, bad=True, loop=loop)
    assert stopped["error"][:2] == ["NonFiniteGradientError", 2]
    assert "on replica 1" in stopped["error"][2]
    assert stopped["replica"] == [-1, -1, 1]
    assert stopped["nonfinite_inputs"] == [0, 0, 8]
    assert stopped["applied"] == [True, True, False]
    assert all(np.isfinite(values).all() for values in stopped["state"][:4])


def test_skip_on_replicas():
    skipped = run(options={"on_nonfinite": "skip"}, bad=True)
    assert skipped["applied"] == [True, True, False, True] * 2


def test_workers_are_transparent_and_stop_together(tmp_path):
    plain = run_workers(options=None)
    watched = run_workers(options={"run_dir": str(tmp_path / "run")})
    assert [worker["state"] for worker in watched] == [worker["state"] for worker in plain]
    assert watched[0]["norms"] == watched[1]["norms"]
    assert gradwatch.load(tmp_path / "run").num_steps == 8
    stopped = run_workers(options={"fail_fast": True}, bad=True)
    for worker in stopped:
        assert worker["error"][:2] == ["NonFiniteGradientError", 2]
        assert worker["replica"] == [-1, -1, 1]
