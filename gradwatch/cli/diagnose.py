"""`gradwatch diagnose`: the findings of a run."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from gradwatch.cli import reading

if TYPE_CHECKING:
    from rich.console import RenderableType

    from gradwatch.diagnosis import Diagnosis
    from gradwatch.rules.base import Finding

STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}


@click.command()
@reading.run_argument
@click.option("--json", "as_json", is_flag=True, help="Print the diagnosis as JSON.")
@click.pass_context
def diagnose(context: click.Context, run: pathlib.Path, as_json: bool) -> None:
    """Print what the rules find in RUN, a run directory or a .parquet file.

    Exits with 1 if a finding has severity error.
    """
    log = reading.read_log(run)
    from gradwatch import diagnosis

    result = diagnosis.diagnose(log)
    if as_json:
        click.echo(result.to_json())
    else:
        show(result, title=f"{run}: {len(log)} records of {log.num_steps} steps")
    context.exit(0 if result.ok else reading.UNHEALTHY)


def show(diagnosis: Diagnosis, *, title: str) -> None:
    """Prints a diagnosis to stdout for a person.

    Args:
        diagnosis: What to print.
        title: What was judged.
    """
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    for block in _blocks(diagnosis, title):
        console.print(block)


def _blocks(diagnosis: Diagnosis, title: str) -> Iterator[RenderableType]:
    from rich.text import Text

    worst = str(diagnosis.findings[0].severity) if diagnosis.findings else None
    yield Text(title, style="dim")
    yield Text(diagnosis.verdict, style=STYLES[worst] if worst else "bold green")
    for finding in diagnosis.findings:
        yield ""
        yield _finding(finding)
    if diagnosis.skipped:
        yield ""
        yield _skipped(diagnosis)


def _finding(finding: Finding) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    severity = str(finding.severity)
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(Text(severity, style=STYLES[severity]), Text(f"{finding.code} {finding.rule}", style="bold"))
    if finding.first_step is not None:
        table.add_row("when", _steps(finding))
    table.add_row("what", finding.message)
    if finding.cause is not None:
        table.add_row("where", str(finding.cause))
    table.add_row("mend", finding.remedy)
    return table


def _steps(finding: Finding) -> str:
    last = finding.last_step if finding.last_step is not None else finding.first_step
    return f"step {last}" if last == finding.first_step else f"steps {finding.first_step} to {last}"


def _skipped(diagnosis: Diagnosis) -> RenderableType:
    from rich import box
    from rich.table import Table

    table = Table(title="Could not be judged", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for name in ("code", "rule", "why"):
        table.add_column(name, no_wrap=name != "why")
    for skip in diagnosis.skipped:
        table.add_row(skip.code, skip.rule, skip.reason)
    return table
