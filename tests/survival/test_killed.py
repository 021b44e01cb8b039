"""Training that is killed at random moments: what was flushed is there and true, and the next process goes on."""

import concurrent.futures
import signal

import numpy as np
import pytest
from survival.start import diary, start, wait_for

import gradwatch
from gradwatch.delivery import MOST_SECONDS
from gradwatch.recording.ledger import STEPS_BETWEEN_DRAINS

NUM_KILLS = 10
NUM_CHAINS = 2
SLACK = 5.0
"""Seconds that a busy machine may take over one flush."""


def killed_again_and_again(folder, seed):
    rng = np.random.default_rng(seed)
    for _ in range(NUM_KILLS):
        process = start(folder, "loop", 1_000_000)
        before = len(diary(folder))
        wait_for(folder, process, before + int(rng.integers(1, 400)))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        yield before


@pytest.mark.slow
def test_a_killed_run_is_there_up_to_the_last_flush(tmp_path):
    with concurrent.futures.ThreadPoolExecutor(NUM_CHAINS) as chains:
        folders = [tmp_path / str(seed) for seed in range(NUM_CHAINS)]
        list(chains.map(check_chain, folders, range(NUM_CHAINS)))


def check_chain(folder, seed):
    folder.mkdir()
    lines_before, steps_before = [], []  # of each process
    known = 0
    for before in killed_again_and_again(folder, seed):
        lines_before.append(before)
        steps_before.append(known)
        log = gradwatch.load(folder / "run")
        lines = diary(folder)
        steps = log.steps()
        assert steps["step"].tolist() == list(range(len(steps)))
        line_ends, step_ends = [*lines_before[1:], len(lines)], [*steps_before[1:], len(steps)]
        for first, end, step, step_end in zip(lines_before, line_ends, steps_before, step_ends):
            check_true(steps[step:step_end], lines[first:end])
        check_lost(lines[before + len(steps) - known :])
        known = len(steps)
    assert log.info.outcome == "running"
    assert list(log.info.resumed_at) == sorted({step for step in steps_before if step})


def check_true(steps, lines):
    """A step may be in the log before its line is written, and be killed between the two."""
    assert len(steps) <= len(lines) + 1
    true = np.array(lines[: len(steps)]).reshape(-1, 3)
    steps = steps[: len(true)]
    np.testing.assert_array_equal(steps["loss"].astype("float32"), true[:, 0].astype("float32"))
    np.testing.assert_allclose(steps["global_norm"], true[:, 1], rtol=1e-5)


def check_lost(lines):
    """Lost are at most the steps between two drains, and one that was under way, or those of a few seconds."""
    assert len(lines) <= STEPS_BETWEEN_DRAINS + 1 or lines[-1][-1] - lines[0][-1] <= MOST_SECONDS + SLACK
