"""The score as tables for a terminal, and as Markdown."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import pathlib
import platform
from collections.abc import Iterable, Sequence
from typing import Any

import rich.markup
import rich.table

from benchmarks.faults import score
from benchmarks.faults.program import FAULTY
from benchmarks.faults.score import OURS, TOOLS, Figures, Scored

_SHOWN = 60
"""Characters of what was said first that a table shows."""

ROWS = (
    ("detected", "faulty runs with a right finding"),
    ("required", "... with the finding that has to be there"),
    ("root_first", "... whose first finding is right"),
    ("layer_named", "... that name the layer, where there is one"),
    ("findings", "findings in a faulty run, median (most)"),
    ("false_alarms", "healthy runs with a false alarm"),
    ("alarmed_programs", "healthy programs with one"),
)
"""The rows of a summary, and what they say."""


def of_programs(runs: Sequence[Scored]) -> rich.table.Table:
    """A row for each program: what gradwatch said of it."""
    shown = rich.table.Table(title="gradwatch, program by program (runs whose symptom was there)")
    for heading in ("program", "kind", "runs", "detected", "first", "layer", "false alarms", "said first"):
        shown.add_column(heading, justify="left" if heading in ("program", "kind", "said first") else "right")
    group = None
    for name, own in sorted(score.by_program(runs).items(), key=lambda item: _order(item[1][0])):
        if score.group_of(own[0].program) != group:
            group = score.group_of(own[0].program)
            shown.add_section()
            shown.add_row(f"[bold]{group}")
        shown.add_row(name, own[0].program.kind, *_cells(own), rich.markup.escape(_said_first(own)))
    return shown


def _order(run: Scored) -> tuple[int, str, str]:
    return score.GROUPS.index(score.group_of(run.program)), run.program.kind, run.program.name


def _cells(own: Sequence[Scored]) -> list[str]:
    counted = [run for run in own if run.counts]
    of_all = f"{len(counted)} of {len(own)}"
    if not counted:
        return [of_all, *[""] * 4]
    got = score.figures(own, OURS)
    if own[0].program.kind == FAULTY:
        return [of_all, *(str(n.count) if n.of else "-" for n in (got.detected, got.root_first, got.layer_named)), ""]
    return [of_all, "", "", "", str(got.false_alarms.count)]


def _said_first(own: Sequence[Scored]) -> str:
    failed = [run.failed for run in own if run.failed]
    if failed:
        return f"FAILED: {failed[0].strip().splitlines()[-1]}"[:_SHOWN]
    firsts = [run.said[OURS].verdicts[0] for run in own if run.counts and run.said[OURS].verdicts]
    if not firsts:
        return "" if any(run.counts for run in own) else "the symptom was not there"
    return f"{firsts[0].rules[0]}: {firsts[0].said}"[:_SHOWN]


def summaries(runs: Sequence[Scored]) -> Iterable[rich.table.Table]:
    """A table for each group: gradwatch beside the others."""
    for group, tools in score.by_group(runs).items():
        shown = rich.table.Table(title=f"{group}: {_counted(runs, group)}")
        for heading in ("", *TOOLS):
            shown.add_column(heading, justify="right" if heading else "left")
        for row, words in ROWS:
            shown.add_row(words, *(_cell(tools[tool], row) for tool in TOOLS))
        yield shown


def _counted(runs: Sequence[Scored], group: str) -> str:
    own = [run for run in runs if run.counts and group in ("all", score.group_of(run.program))]
    faulty = {run.program.name for run in own if run.program.kind == FAULTY}
    healthy = {run.program.name for run in own} - faulty
    return f"{len(faulty)} faulty and {len(healthy)} healthy programs, {len(own)} runs"


def _cell(got: Figures, row: str) -> str:
    if row != "findings":
        return str(getattr(got, row))
    return f"{got.findings_median:g} ({got.findings_max})" if got.detected.of else "-"


def left_out(runs: Sequence[Scored]) -> list[str]:
    """A line for each program with runs that are not scored: why, and with which seeds."""
    lines = []
    for name, own in score.by_program(runs).items():
        absent = [str(run.seed) for run in own if run.symptom is False]
        failed = [str(run.seed) for run in own if run.failed]
        if absent:
            lines.append(f"{name}: the symptom was not there with {_seeds(absent)} of {len(own)}")
        if failed:
            lines.append(f"{name}: failed with {_seeds(failed)} of {len(own)}")
    return lines


def _seeds(seeds: Sequence[str]) -> str:
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(seeds)}"


def markdown(runs: Sequence[Scored], machine: dict[str, Any]) -> str:
    """The summary as Markdown: a table for each group, what was left out, and what it was measured on."""
    lines = ["# Programs that train badly, and what is said of them", ""]
    seeds = sorted({run.seed for run in runs})
    lines += [f"{machine_line(machine)} Seeds {', '.join(map(str, seeds))}.", ""]
    for group, tools in score.by_group(runs).items():
        lines += [f"## {group[0].upper()}{group[1:]}", "", f"{_counted(runs, group)}.", ""]
        lines += [f"| | {' | '.join(TOOLS)} |", f"| --- |{' ---: |' * len(TOOLS)}"]
        for row, words in ROWS:
            lines.append(f"| {words} | {' | '.join(_cell(tools[tool], row) for tool in TOOLS)} |")
        lines.append("")
    missing = left_out(runs)
    if missing:
        lines += ["## Not scored", "", *(f"- {line}" for line in missing), ""]
    return "\n".join(lines)


def machine_line(machine: dict[str, Any]) -> str:
    """What the runs were made on, as a sentence."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return f"{machine['date']}, {machine['processor']}, {machine['cores']} cores, {versions}."


def machine() -> dict[str, Any]:
    """What runs are made on."""
    versions = {name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "gradwatch")}
    return {
        "date": datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "versions": {"Python": platform.python_version(), **versions},
    }


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
