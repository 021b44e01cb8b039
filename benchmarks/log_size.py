"""What a long log costs: bytes of a record, and seconds and memory to load, judge, tabulate and report it.

The log is made up, in the shape of a recorded one: norms at every step, what needs a second pass at each tenth. It is
written once; then each step is taken in a process of its own that loads it, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import rich.console
import rich.table

import gradwatch
from gradwatch import schema
from gradwatch.log import Log
from gradwatch.options import DETAILED_EVERY
from gradwatch.records import STEP_DTYPES, RunInfo, Segment, VariableInfo

BOUNDS = {"bytes": 24.0, "load and diagnose": 2.0, "frame": 3.0, "report": 10.0, "load and diagnose, megabytes": 1000.0}

ROWS = {
    "bytes": "a record in memory, bytes",
    "bytes of the step": "what a step has besides its records, bytes",
    "bytes on disk": "a record on disk, its share of the step included, bytes",
    "load and diagnose": "load and diagnose, seconds",
    "load and diagnose, megabytes": "peak memory of the process, megabytes",
    "frame": "frame(), seconds",
    "frame, megabytes": "peak memory of the process, megabytes",
    "report": "report, judged and saved, seconds",
    "report, megabytes": "peak memory of the process, megabytes",
}


def made_up(num_variables: int, num_records: int, seed: int = 0) -> Log:
    """A healthy log of one optimizer, with arrays of the dtypes that are recorded."""
    rng = np.random.default_rng(seed)
    num_steps = num_records // num_variables
    kinds = (("kernel", (64, 64)), ("bias", (64,)))
    variables = [
        VariableInfo(
            f"dense_{number // 2}/{kinds[number % 2][0]}", f"dense_{number // 2}", kinds[number % 2][1], "float32"
        )
        for number in range(num_variables)
    ]
    steps = {name: np.zeros(num_steps, dtype) for name, dtype in STEP_DTYPES.items()}
    steps["step"][:] = np.arange(num_steps)
    steps["epoch"][:], steps["batch"][:] = np.divmod(np.arange(num_steps), 1000)
    steps["applied"][:], steps["replica"][:] = True, -1
    steps["loss"][:] = np.exp(-np.arange(num_steps) / num_steps) + rng.normal(scale=0.01, size=num_steps)
    steps["learning_rate"][:], steps["loss_scale"][:] = 1e-3, np.nan
    shape = (num_steps, num_variables)
    values = {"grad_norm": rng.lognormal(size=shape)}
    for name in schema.COUNTS:
        values[name] = np.zeros(shape, np.int32)
    for name in ("grad_max", "zero_fraction"):
        values[name] = np.full(shape, np.nan, np.float32)
        values[name][::DETAILED_EVERY] = rng.uniform(0, 0.5, values[name][::DETAILED_EVERY].shape)
    segment = Segment("adam", tuple(range(num_variables)), (), steps, values)
    return Log(variables, [segment], RunInfo(model="made_up", num_trainable=num_variables))


TASKS: dict[str, Callable[[Log, pathlib.Path], object]] = {
    "load and diagnose": lambda log, folder: gradwatch.diagnose(log),
    "frame": lambda log, folder: log.frame(),
    "report": lambda log, folder: gradwatch.report(log).save(folder / "report.html"),
}


def take(task: str, path: pathlib.Path) -> dict[str, float]:
    """Seconds and megabytes of one task in this process; loading counts where it is named."""
    before = time.perf_counter()
    log = gradwatch.load(path)
    loaded = time.perf_counter()
    TASKS[task](log, path.parent)
    end = time.perf_counter()
    start = before if task.startswith("load") else loaded
    return {"seconds": end - start, "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def measure(num_variables: int, num_records: int, repeats: int) -> dict[str, Any]:
    """All figures of a log of so many variables."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "run"
        log = made_up(num_variables, num_records)
        log.save(path)
        figures: dict[str, Any] = {
            "variables": num_variables,
            "records": len(log),
            "bytes": sum(values.nbytes for segment in log.segments for values in segment.values.values()) / len(log),
            "bytes of the step": sum(values.nbytes for values in log.segments[0].steps.values()) / log.num_steps,
            "bytes on disk": sum(file.stat().st_size for file in path.iterdir()) / len(log),
        }
        del log
        for task in TASKS:
            command = [sys.executable, "-m", "benchmarks.log_size", "--take", task, "--run", str(path)]
            taken = [json.loads(subprocess.check_output(command, text=True)) for _ in range(repeats)]
            figures[task] = [one["seconds"] for one in taken]
            figures[f"{task}, megabytes"] = [one["megabytes"] for one in taken]
    return figures


def table(results: list[dict[str, Any]]) -> rich.table.Table:
    """The figures beside their bounds: median (least to most); what is over its bound is marked."""
    shown = rich.table.Table(title=f"A log of {results[0]['records']:,} records")
    for heading in ("", *(f"{result['variables']} variables" for result in results), "bound"):
        shown.add_column(heading, justify="left" if heading == "" else "right")
    for name in [name for name in results[0] if name not in ("variables", "records")]:
        cells = []
        for figures in (np.atleast_1d(result[name]) for result in results):
            over = "!" if np.median(figures) > BOUNDS.get(name, np.inf) else ""
            spread = f" ({figures.min():.1f} to {figures.max():.1f})" if len(figures) > 1 else ""
            cells.append(f"{np.median(figures):.1f}{over}{spread}")
        shown.add_row(ROWS[name], *cells, f"{BOUNDS[name]:g}" if name in BOUNDS else "")
    return shown


def main() -> None:
    """Measures, prints a table, and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--variables", type=int, nargs="+", default=[10, 300])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path, default=pathlib.Path("runs/bench/log_size.json"))
    parser.add_argument("--take", choices=list(TASKS), help=argparse.SUPPRESS)
    parser.add_argument("--run", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.take:
        sys.stdout.write(json.dumps(take(options.take, options.run)))
        return
    results = [measure(number, options.records, options.repeats) for number in options.variables]
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=1))
    rich.console.Console(width=120).print(table(results), f"Wrote {options.json}. A ! marks what is over its bound.")


if __name__ == "__main__":
    main()
