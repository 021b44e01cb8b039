"""What a report says, before it has a format."""

from __future__ import annotations

import dataclasses

import numpy as np

from gradwatch.causes import Cause
from gradwatch.diagnosis import Diagnosis
from gradwatch.log import Log
from gradwatch.records import RunInfo
from gradwatch.reporting.compared import Compared
from gradwatch.reporting.table import Row, kind_counts, norm_span, rows
from gradwatch.rules.base import Finding, Severity, Skipped, plural

MAX_ROWS = 1000


@dataclasses.dataclass(frozen=True)
class Content:
    """What a report says.

    Args:
        model: Name of the model; empty if not known.
        level: "error", "warning", "healthy" or "unknown", the worst of what was found.
        verdict: The diagnosis in a line.
        findings: What was found, most severe first.
        causes: Where in the program the findings come from, each with the codes of the findings.
        skipped: The rules that could not judge.
        facts: Names and values of what is known of the run.
        rows: The variables, worst first, at most `MAX_ROWS`.
        kinds: What the rows can be narrowed down to: a key of `table.KINDS`, its words, and how many rows belong to it.
        span: The smallest and the largest norm above zero that the rows show; `None` if there is none.
        num_variables: How many variables there are.
        compared: What differs from another run, if there is one to compare with.
    """

    model: str
    level: str
    verdict: str
    findings: tuple[Finding, ...]
    causes: tuple[tuple[Cause, tuple[str, ...]], ...]
    skipped: tuple[Skipped, ...]
    facts: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    kinds: tuple[tuple[str, str, int], ...]
    span: tuple[float, float] | None
    num_variables: int
    compared: Compared | None = None

    @property
    def places(self) -> dict[str, int]:
        """For the path of each variable that has a row its rank."""
        return {row.variable: row.rank for row in self.rows}


def gather(log: Log, diagnosis: Diagnosis, compared: Compared | None = None) -> Content:
    """Puts together what there is to say about a log, and about what differs from another one."""
    shown = rows(log, diagnosis.findings, limit=MAX_ROWS)
    return Content(
        model=log.info.model,
        level=diagnosis.level,
        verdict=diagnosis.verdict,
        findings=diagnosis.findings,
        causes=_causes(log, diagnosis),
        skipped=diagnosis.skipped,
        facts=tuple((name, value) for name, value in _facts(log).items() if value),
        rows=shown,
        kinds=kind_counts(shown),
        span=norm_span(shown),
        num_variables=len(log.variable_infos),
        compared=compared,
    )


def _causes(log: Log, diagnosis: Diagnosis) -> tuple[tuple[Cause, tuple[str, ...]], ...]:
    """Each cause once: that of every finding, and every cut behind the variables that one names."""
    found: dict[Cause, dict[str, None]] = {}
    cuts = {info.path: info.cuts for info in log.variable_infos}
    for finding in diagnosis.findings:
        if finding.cause is not None:
            behind = [cut for path in finding.variables for cut in cuts.get(path, ()) if finding.cause in cuts[path]]
            for cause in (finding.cause, *behind):
                found.setdefault(cause, {})[finding.code] = None
    return tuple((cause, tuple(codes)) for cause, codes in found.items())


def steps_text(finding: Finding) -> str:
    """At which steps something was seen; empty if at none."""
    if finding.first_step is None:
        return ""
    if finding.last_step is None or finding.last_step == finding.first_step:
        return f"step {finding.first_step}"
    return f"steps {finding.first_step} to {finding.last_step}"


def evidence_text(finding: Finding) -> str:
    """The number that was judged and what it was held against; empty if there is none."""
    if finding.value is None:
        return ""
    against = "" if finding.threshold is None else f", threshold {_exact(finding.threshold)}"
    return f"measured {_exact(finding.value)}{against}"


def _exact(value: float) -> str:
    """A count in full, anything else with three digits."""
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.3g}"


def severity_text(severity: Severity | str) -> str:
    """The severity as a person says it."""
    return {"error": "Error", "warning": "Warning", "info": "Note"}[str(severity)]


def _facts(log: Log) -> dict[str, str]:
    table = log.variables()
    return {
        "Model": log.info.model,
        "Outcome": _outcome_fact(log.info),
        "Went on at": ", ".join(f"step {step:,}" for step in log.info.resumed_at),
        "Steps": _steps_fact(log),
        "Updates not applied": _withheld_fact(log),
        "Loss": _loss_fact(log),
        "Optimizers": ", ".join(dict.fromkeys(segment.optimizer for segment in log.segments)),
        "Variables": f"{len(table):,} in {plural(table['layer'].nunique(), 'layer')}, {table['size'].sum():,} entries"
        if len(table)
        else "none seen",
        "Recorded": _schedule_fact(log),
        "Versions": ", ".join(f"{name} {version}" for name, version in log.info.versions.items()),
    }


def _outcome_fact(info: RunInfo) -> str:
    """How it ended, and when it was; times are in UTC."""
    times = " to ".join(_clock(time) for time in (info.started, info.ended) if time)
    return ", ".join(part for part in (info.outcome, times) if part)


def _clock(time: str) -> str:
    """A time as a person writes it.

    >>> _clock("2026-11-27T09:30:00+00:00")
    '2026-11-27 09:30:00 UTC'
    """
    return time.replace("T", " ").replace("+00:00", " UTC")


def _steps_fact(log: Log) -> str:
    having = [segment.steps for segment in log.segments if segment.num_steps]
    if not having:
        return "none recorded"
    first, last = min(steps["step"].min() for steps in having), max(steps["step"].max() for steps in having)
    epochs = max(steps["epoch"].max() for steps in having) + 1
    span = f"{first} to {last}" if last > first else str(first)
    return f"{log.num_steps:,} recorded ({span}), {plural(epochs, 'epoch')}"


def _withheld_fact(log: Log) -> str:
    number = sum(int((~segment.steps["applied"].astype(bool)).sum()) for segment in log.segments)
    return f"{number:,} of {log.num_steps:,}" if number else ""


def _loss_fact(log: Log) -> str:
    losses = log.steps()["loss"].to_numpy(np.float64)
    if not len(losses) or np.isnan(losses).all():
        return ""
    return f"{losses[0]:.4g}" if len(losses) == 1 else f"{losses[0]:.4g} at first, {losses[-1]:.4g} at last"


def _schedule_fact(log: Log) -> str:
    every = log.info.every_steps
    schedule = "every step" if every == 1 else f"one step in {every}, and every bad one"
    return f"{schedule}: {', '.join(log.info.statistics)}"
