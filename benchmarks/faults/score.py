"""Judges recorded runs anew, and counts what gradwatch and the other rule sets got right."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import pathlib
import statistics
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import gradwatch
from benchmarks.faults.peers import PEERS
from benchmarks.faults.peers.evidence import Recording, Verdict
from benchmarks.faults.program import FAULTY, HEALTHY, Program
from benchmarks.faults.recording import LOG, OUTCOME, WITNESS

OURS = "gradwatch"
TOOLS = (OURS, *PEERS)
"""Whose findings are scored, ours first."""

GROUPS = ("published", "own, used for tuning", "own, held back")
"""Where programs come from."""


@dataclasses.dataclass(frozen=True)
class Said:
    """What a tool said of a run, and how it stands to what was expected.

    Args:
        verdicts: What it said is wrong, the first-named first.
        not_judged: What it could not judge, and why.
    """

    verdicts: tuple[Verdict, ...] = ()
    not_judged: tuple[str, ...] = ()

    def right(self, program: Program) -> tuple[Verdict, ...]:
        """The verdicts that the program deserves."""
        return tuple(verdict for verdict in self.verdicts if set(verdict.rules) & set(program.expect))

    def is_detected(self, program: Program) -> bool:
        """Whether one of the verdicts is right."""
        return bool(self.right(program))

    def has_required(self, program: Program) -> bool:
        """Whether the one that has to be reported is."""
        return any(program.expect[0] in verdict.rules for verdict in self.verdicts)

    def is_root_first(self, program: Program) -> bool:
        """Whether the first verdict is a right one."""
        return self.verdicts[:1] == self.right(program)[:1] != ()

    def names_layer(self, program: Program) -> bool:
        """Whether a right verdict names one of the layers that it should."""
        named = [layer for verdict in self.right(program) for layer in verdict.layers]
        return any(is_named(layer, pattern) for layer in named for pattern in program.layers)

    def num_false_alarms(self, program: Program) -> int:
        """The number of verdicts that are not right."""
        return len(self.verdicts) - len(self.right(program))


def is_named(layer: str, pattern: str) -> bool:
    """Whether a pattern matches the path of a layer, with or without what is before it, or of one that it is part of.

    >>> is_named("model/encoder/dense_1", "dense_*"), is_named("model/encoder/dense_1", "encoder/*")
    (True, True)
    >>> is_named("model/recurrence/lstm_cell", "recurrence"), is_named("model/recurrence/lstm_cell", "model")
    (True, False)
    """
    parts = layer.split("/")
    whole = ["/".join(parts[start:]) for start in range(len(parts))]
    around = ["/".join(parts[start:end]) for start in range(1, len(parts)) for end in range(start + 1, len(parts))]
    return any(fnmatch.fnmatchcase(path, pattern) for path in (*whole, *around))


@dataclasses.dataclass(frozen=True)
class Scored:
    """One recorded run, judged.

    Args:
        program: Its program.
        seed: Its seed.
        symptom: Whether the symptom was there; `None` if the run failed.
        failed: Why it failed, if so.
        said: What each tool said.
        seconds: How long it took.
    """

    program: Program
    seed: int
    symptom: bool | None
    failed: str | None = None
    said: dict[str, Said] = dataclasses.field(default_factory=dict)
    seconds: float | None = None

    @property
    def counts(self) -> bool:
        """Whether it is scored: the symptom was there."""
        return bool(self.symptom)


def read(program: Program, seed: int, out: pathlib.Path) -> Scored | None:
    """Judges one recorded run by the rules as they are now.

    Args:
        program: The program.
        seed: The seed.
        out: The directory of all runs.

    Returns:
        The run, judged; `None` if it was not recorded.
    """
    directory = out / program.name / str(seed)
    if not (directory / OUTCOME).exists():
        return None
    outcome = json.loads((directory / OUTCOME).read_text())
    if outcome["failed"] is not None:
        return Scored(program, seed, None, outcome["failed"])
    said = {OURS: ours(directory / LOG)}
    recording = Recording.from_json((directory / WITNESS).read_text())
    for name, judge in PEERS.items():
        judgement = judge(recording)
        said[name] = Said(judgement.verdicts, judgement.not_judged)
    return Scored(program, seed, outcome["symptom"], None, said, outcome["seconds"])


def ours(run_dir: pathlib.Path) -> Said:
    """What gradwatch says of a log: its findings of severity warning and error; of no log it says nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gradwatch.GradientWarning)
        try:
            diagnosis = gradwatch.diagnose(gradwatch.load(run_dir))
        except (FileNotFoundError, gradwatch.LogFormatError) as error:
            return Said((), (f"there is no log: {error}",))
    reported = [finding for finding in diagnosis.findings if finding.severity >= gradwatch.Severity.WARNING]
    verdicts = (Verdict(finding.message, (finding.rule,), finding.layers) for finding in reported)
    return Said(tuple(verdicts), tuple(f"{skip.rule}: {skip.reason}" for skip in diagnosis.skipped))


def group_of(program: Program) -> str:
    """Which of the groups a program belongs to."""
    return GROUPS[0] if program.source else GROUPS[2 if program.held_back else 1]


@dataclasses.dataclass(frozen=True)
class Share:
    """So many of so many."""

    count: int
    of: int

    def __str__(self) -> str:
        return f"{self.count} of {self.of} ({self.count / self.of:.0%})" if self.of else "-"


@dataclasses.dataclass(frozen=True)
class Figures:
    """What a tool got right, over runs whose symptom was there.

    Args:
        detected: Runs of faulty programs with a right finding.
        required: Those with the finding that has to be there.
        root_first: Those whose first finding is right.
        layer_named: Those whose right findings name the layer, of those where there is one to name.
        false_alarms: Runs of healthy programs with a finding that is not right.
        alarmed_programs: Healthy programs with such a run.
        findings_median: Findings in a run of a faulty program, median.
        findings_max: And the most.
    """

    detected: Share
    required: Share
    root_first: Share
    layer_named: Share
    false_alarms: Share
    alarmed_programs: Share
    findings_median: float
    findings_max: int


def figures(runs: Iterable[Scored], tool: str) -> Figures:
    """What a tool got right.

    Args:
        runs: Judged runs; those that failed or whose symptom was not there are left out.
        tool: Its name.

    Returns:
        The figures.
    """
    runs = [run for run in runs if run.counts]
    faulty = [run for run in runs if run.program.kind == FAULTY]
    healthy = [run for run in runs if run.program.kind == HEALTHY]
    alarmed = [run for run in healthy if run.said[tool].num_false_alarms(run.program)]
    numbers = [len(run.said[tool].verdicts) for run in faulty]

    def share(of: Sequence[Scored], is_so: Callable[[Said, Program], bool]) -> Share:
        return Share(sum(is_so(run.said[tool], run.program) for run in of), len(of))

    return Figures(
        detected=share(faulty, Said.is_detected),
        required=share(faulty, Said.has_required),
        root_first=share(faulty, Said.is_root_first),
        layer_named=share([run for run in faulty if run.program.layers], Said.names_layer),
        false_alarms=Share(len(alarmed), len(healthy)),
        alarmed_programs=Share(len({run.program.name for run in alarmed}), len({run.program.name for run in healthy})),
        findings_median=float(statistics.median(numbers)) if numbers else 0.0,
        findings_max=max(numbers, default=0),
    )


def by_group(runs: Sequence[Scored]) -> dict[str, dict[str, Figures]]:
    """The figures of each group that has programs, and of all.  # {group: {tool: figures}}."""
    groups = {group: [run for run in runs if group_of(run.program) == group] for group in GROUPS}
    groups = {group: members for group, members in groups.items() if members} | {"all": list(runs)}
    return {group: {tool: figures(members, tool) for tool in TOOLS} for group, members in groups.items()}


def by_program(runs: Iterable[Scored]) -> dict[str, list[Scored]]:
    """The runs of each program."""
    programs: dict[str, list[Scored]] = {}
    for run in runs:
        programs.setdefault(run.program.name, []).append(run)
    return programs


def to_plain(runs: Sequence[Scored], machine: dict[str, Any]) -> dict[str, Any]:
    """All figures, and what was said of each run, as JSON can hold them."""
    return {
        "machine": machine,
        "figures": {
            group: {tool: dataclasses.asdict(one) for tool, one in tools.items()}
            for group, tools in by_group(runs).items()
        },
        "programs": {
            name: {
                "kind": own[0].program.kind,
                "group": group_of(own[0].program),
                "expect": own[0].program.expect,
                "figures": {tool: dataclasses.asdict(figures(own, tool)) for tool in TOOLS},
                "runs": [
                    {
                        "seed": run.seed,
                        "symptom": run.symptom,
                        "failed": run.failed,
                        "seconds": run.seconds,
                        "said": {tool: dataclasses.asdict(said) for tool, said in run.said.items()},
                    }
                    for run in own
                ],
            }
            for name, own in by_program(runs).items()
        },
    }
