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
    starts = []  # for each process its first line in the diary, and its first step in the log
    known = 0
    for before in killed_again_and_again(folder, seed):
        starts.append((before, known))
        log = gradwatch.load(folder / "run")
        lines = diary(folder)
        steps = log.steps()
        assert steps["step"].tolist() == list(range(len(steps)))
        true = np.array([line for row, _ in enumerate(starts) for line in lines_of(row, starts, lines, len(steps))])
        np.testing.assert_array_equal(steps["loss"].astype("float32"), true[:, 0].astype("float32"))
        np.testing.assert_allclose(steps["global_norm"], true[:, 1], rtol=1e-5)
        check_lost(lines, before + len(steps) - known)
        known = len(steps)
    assert log.info.outcome == "running"
    assert list(log.info.resumed_at) == sorted({step for _, step in starts if step})


def lines_of(row, starts, lines, num_steps):
    """Those lines of a process that the log has."""
    line, step = starts[row]
    end = starts[row + 1][1] if row + 1 < len(starts) else num_steps
    return lines[line : line + end - step]


def check_lost(lines, first):
    """Lost are at most the steps between two drains, and one that was under way, or those of a few seconds."""
    lost = lines[first:]
    assert len(lost) <= STEPS_BETWEEN_DRAINS + 1 or lost[-1][-1] - lost[0][-1] <= MOST_SECONDS + SLACK
