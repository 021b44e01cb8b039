"""Runs programs, watched by gradwatch and by the witness of the other rule sets, and keeps what was recorded."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import importlib
import json
import multiprocessing
import os
import pathlib
import queue
import shutil
import threading
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmarks.faults.program import Program

PROGRAMS = "benchmarks.faults.programs"
"""The module whose `PROGRAMS` are run."""

LOG, OUTCOME, WITNESS = "log", "outcome.json", "witness.json"
"""What the directory of a run holds."""

RUNS_IN_PROCESS = 15
"""After so many runs a process is replaced, for TensorFlow keeps what it has traced."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One run that is to be made.

    Args:
        program: The name of the program.
        seed: The seed.
        out: The directory of all runs.
        module: The module whose `PROGRAMS` has the program.
    """

    program: str
    seed: int
    out: pathlib.Path
    module: str = PROGRAMS

    @property
    def directory(self) -> pathlib.Path:
        """Where its recordings are kept."""
        return self.out / self.program / str(self.seed)


def record(job: Job) -> dict[str, Any]:
    """Makes one run, and writes its log, what the witness saw, and its outcome.

    Args:
        job: The run.

    Returns:
        The outcome: `program`, `seed`, `seconds`, `symptom` (`None` if the run failed), `error` (what `fit` raised),
        `failed` (the traceback of anything else that was raised), `history`, and what each of the `peers` said.
    """
    import gradwatch
    from benchmarks.faults.peers import PEERS
    from benchmarks.faults.peers.witness import Witness

    shutil.rmtree(job.directory, ignore_errors=True)
    job.directory.mkdir(parents=True)
    start = time.perf_counter()
    outcome: dict[str, Any] = {"program": job.program, "seed": job.seed, "symptom": None, "error": None, "failed": None}
    watch, witness = gradwatch.GradientWatch(run_dir=job.directory / LOG), Witness()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # GradientWarning among them: what is said is judged, not read
        try:
            program = find(job.program, job.module)
            run = program.run(job.seed, [watch, witness])
            outcome["error"] = None if run.error is None else f"{type(run.error).__name__}: {run.error}"
            outcome["history"] = run.history
            outcome["symptom"] = bool(program.symptom(run))
        except Exception:
            outcome["failed"] = traceback.format_exc()
        finally:
            watch.close()
    outcome["seconds"] = time.perf_counter() - start
    outcome["peers"] = {name: dataclasses.asdict(judge(witness.recording)) for name, judge in PEERS.items()}
    (job.directory / WITNESS).write_text(witness.recording.to_json())
    (job.directory / OUTCOME).write_text(json.dumps(outcome, indent=1))
    return outcome


def find(name: str, module: str = PROGRAMS) -> Program:
    """The program of that name."""
    return next(program for program in programs_of(module) if program.name == name)


def programs_of(module: str = PROGRAMS) -> tuple[Program, ...]:
    """The programs of a module."""
    return importlib.import_module(module).PROGRAMS


def record_all(jobs: Iterable[Job], num_processes: int = 2) -> Iterator[dict[str, Any]]:
    """Makes runs in processes of their own, side by side.

    A run that raises, or whose process dies, has an outcome with `failed`, and the others go on.

    Args:
        jobs: The runs.
        num_processes: How many are made at once.

    Yields:
        The outcomes, as they come.
    """
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in (jobs := list(jobs)):
        waiting.put(job)
    done: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    num_processes = max(1, min(num_processes, len(jobs)))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # sums are then the same however many runs are made at once
    for _ in range(num_processes):
        threading.Thread(target=_work, args=(waiting, done), daemon=True).start()
    for _ in jobs:
        yield done.get()


def _work(waiting: queue.SimpleQueue[Job], done: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Takes one job after another, each in the one process of this thread.

    A pool of one process, because it is then known which run a process died of; and because what replaces processes in
    a larger pool, `max_tasks_per_child`, is not there before Python 3.11.
    """
    pool, left = None, 0
    while True:
        try:
            job = waiting.get_nowait()
        except queue.Empty:
            break
        if pool is None or not left:
            _close(pool)
            pool = concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
            left = RUNS_IN_PROCESS
        try:
            outcome = pool.submit(record, job).result()
        except Exception as error:
            outcome, left = _failed(job, f"{type(error).__name__}: {error}"), 1
        left -= 1
        done.put(outcome)
    _close(pool)


def _close(pool: concurrent.futures.ProcessPoolExecutor | None) -> None:
    if pool is not None:
        pool.shutdown()


def _failed(job: Job, reason: str) -> dict[str, Any]:
    """Writes the outcome of a run of which nothing came back."""
    outcome = {"program": job.program, "seed": job.seed, "symptom": None, "error": None, "failed": reason}
    job.directory.mkdir(parents=True, exist_ok=True)
    (job.directory / OUTCOME).write_text(json.dumps(outcome, indent=1))
    return outcome


def jobs_of(programs: Sequence[Program], seeds: Sequence[int], out: pathlib.Path, module: str = PROGRAMS) -> list[Job]:
    """A run of each program with each seed; the first seed of all programs comes first."""
    return [Job(program.name, seed, out, module) for seed in seeds for program in programs]
