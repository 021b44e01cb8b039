"""A diagnosis as it is printed for a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from gradwatch.diagnosis import Diagnosis
    from gradwatch.rules.base import Finding

STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}


def show(diagnosis: Diagnosis, *, title: str, on_stderr: bool = False, with_skipped: bool = True) -> None:
    """Prints a diagnosis for a person.

    Args:
        diagnosis: What to print.
        title: What was judged.
        on_stderr: Print to stderr, not to stdout.
        with_skipped: Print also what could not be judged.
    """
    to = console(on_stderr=on_stderr)
    for block in _blocks(diagnosis, title, with_skipped):
        to.print(block)


def console(*, on_stderr: bool = False) -> Console:
    """Where to print: words as they are, for the paths of layers may look like markup.

    Args:
        on_stderr: Whether that is stderr, not stdout.
    """
    from rich.console import Console

    return Console(stderr=on_stderr, highlight=False, markup=False, emoji=False)


def _blocks(diagnosis: Diagnosis, title: str, with_skipped: bool) -> Iterator[RenderableType]:
    from rich.text import Text

    worst = str(diagnosis.findings[0].severity) if diagnosis.findings else None
    yield Text(title, style="dim")
    yield Text(diagnosis.verdict, style=STYLES[worst] if worst else "bold green")
    for finding in diagnosis.findings:
        yield ""
        yield _finding(finding)
    if diagnosis.skipped and with_skipped:
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
