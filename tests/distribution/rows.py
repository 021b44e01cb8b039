"""Rows of the matrix on several replicas, and the runs of each; a row is a process, or a process for each worker."""

import dataclasses
import functools
import json
import pathlib
import socket
import subprocess
import sys

from gradwatch import schema

PROGRAM = pathlib.Path(__file__).with_name("program.py")
TIMEOUT = 300

RUNS = {
    "plain": {"options": None},
    "watched": {"options": {"statistics": "full"}},
    "guarded": {"options": {"fail_fast": True}},
    "sgd": {"options": {"statistics": schema.STATISTIC_NAMES}, "sgd": True},
    "before": {"options": None, "batches": 2, "epochs": 1},
    "stopped": {"options": {"fail_fast": True}, "bad": True},
    "skipped": {"options": {"on_nonfinite": "skip"}, "bad": True, "batches": 3, "epochs": 1},
    "recorded": {"options": {}, "bad": True},
    "cut": {"options": {}, "cut": True, "batches": 1, "epochs": 1},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distributed:
    """One row.

    Args:
        name: Name, unique.
        about: What it is, for the table in the docs.
        num_workers: Number of processes, each with one replica; 0 for one process with two replicas.
        loop: Whether the program is a loop of its own, and not `fit`.
        run_eagerly: Whether it is run eagerly.
        note: For the table in the docs.
    """

    name: str
    about: str
    num_workers: int = 0
    loop: bool = False
    run_eagerly: bool = False
    note: str = ""

    def __str__(self):
        return f"distribution: {self.name}"

    @functools.cached_property
    def results(self):
        """For every worker the results of all `RUNS` by name."""
        return self.results_of(RUNS)

    def results_of(self, runs):
        """For every worker the results of some runs by name."""
        arguments = {"loop": self.loop, "run_eagerly": self.run_eagerly, "runs": runs}
        if not self.num_workers:
            return _results([arguments])
        ports = _free_ports(self.num_workers)
        return _results([arguments | {"ports": ports, "task": task} for task in range(self.num_workers)])


def _free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _results(all_arguments):
    processes = [
        subprocess.Popen(
            [sys.executable, str(PROGRAM), json.dumps(arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for arguments in all_arguments
    ]
    try:
        return [_result(*process.communicate(timeout=TIMEOUT)) for process in processes]
    finally:
        for process in processes:
            process.kill()


def _result(out, err):
    lines = [line for line in out.splitlines() if line.startswith("RESULT")]
    assert lines, err[-3000:]
    return json.loads(lines[0].removeprefix("RESULT"))


ROWS = (MIRRORED, EAGER, LOOP, WORKERS) = (
    Distributed(name="MirroredStrategy", about="`fit` on two logical devices"),
    Distributed(name="MirroredStrategy, run_eagerly", about="the same with `run_eagerly`", run_eagerly=True),
    Distributed(name="MirroredStrategy, loop", about="a loop of one's own on two logical devices", loop=True),
    Distributed(
        name="MultiWorkerMirroredStrategy, loop",
        about="a loop of one's own in two processes",
        num_workers=2,
        loop=True,
        note="in `fit`, Keras itself stops before it calls any callback",
    ),
)
