"""Runs the programs, or reads runs that were made, and prints, and writes, the score."""

from __future__ import annotations

import fnmatch
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import click
import rich.console
import rich.markup

from benchmarks.faults import recording, score, tables
from benchmarks.faults.program import Program

SEEDS = (0, 1, 2)
MACHINE = "machine.json"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", metavar="GLOB", help="Programs whose names match; their score is printed, not written.")
@click.option("--seed", "seeds", type=int, multiple=True, default=SEEDS, show_default=True, help="Seeds to run with.")
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="Runs made side by side.")
@click.option("--score-only", is_flag=True, help="Judge the runs that were made, and make none.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=pathlib.Path),
    default=pathlib.Path("runs/faults"),
    show_default=True,
    help="Where runs and score are kept.",
)
@click.option("--module", default=recording.PROGRAMS, hidden=True, help="The module whose PROGRAMS are run.")
def main(only: str | None, seeds: tuple[int, ...], jobs: int, score_only: bool, out: pathlib.Path, module: str) -> None:
    """Trains programs that train badly, and programs that train well, and scores what is said of them.

    The exit status is 1 if a run failed.
    """
    console = rich.console.Console(width=max(180, rich.console.Console().width))
    programs = _programs(module, only)
    out.mkdir(parents=True, exist_ok=True)
    if not score_only:
        (out / MACHINE).write_text(json.dumps(tables.machine(), indent=1))
        _record(console, recording.jobs_of(programs, seeds, out, module), jobs)
    runs = [run for program in programs for seed in seeds if (run := score.read(program, seed, out)) is not None]
    if not runs:
        raise click.ClickException(f"There are no runs of these programs and seeds in {out}. Leave out --score-only.")
    console.print(tables.of_programs(runs), *tables.summaries(runs))
    for line in tables.left_out(runs):
        console.print(rich.markup.escape(f"Not scored: {line}."))
    if only is None:
        _write(console, runs, out)
    raise SystemExit(any(run.failed for run in runs))


def _programs(module: str, only: str | None) -> list[Program]:
    found = recording.programs_of(module)
    chosen = [program for program in found if only is None or fnmatch.fnmatchcase(program.name, only)]
    if not chosen:
        raise click.UsageError(f"No program matches {only!r}. There are {', '.join(p.name for p in found) or 'none'}.")
    return chosen


def _record(console: rich.console.Console, jobs: Sequence[recording.Job], num_processes: int) -> None:
    for number, outcome in enumerate(recording.record_all(jobs, num_processes), 1):
        console.print(rich.markup.escape(f"{number} of {len(jobs)}: {_line(outcome)}"))


def _line(outcome: dict[str, Any]) -> str:
    name = f"{outcome['program']}, seed {outcome['seed']}"
    if outcome["failed"]:
        return f"{name} FAILED: {outcome['failed'].strip().splitlines()[-1]}"
    symptom = "" if outcome["symptom"] else ", but the symptom was not there"
    return f"{name}, {outcome['seconds']:.0f} s{symptom}"


def _write(console: rich.console.Console, runs: Sequence[score.Scored], out: pathlib.Path) -> None:
    kept = out / MACHINE
    machine = json.loads(kept.read_text()) if kept.exists() else tables.machine()
    (out / "score.json").write_text(json.dumps(score.to_plain(runs, machine), indent=1))
    (out / "score.md").write_text(tables.markdown(runs, machine))
    console.print(f"Wrote {out / 'score.json'} and {out / 'score.md'}.")


if __name__ == "__main__":
    main()
