"""How a run stands, as a table for a terminal or as a line."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gradwatch import sparkline
from gradwatch.cli.snapshot import Series, Snapshot
from gradwatch.cli.verdict import STYLES

NUM_LAYERS = 10
NUM_FINDINGS = 8
WIDTH = 32
LONG_AGO = 60.0
"""Seconds without a new record after which that is pointed out."""


def table(snapshot: Snapshot, run: str, *, now: float) -> RenderableType:
    """The table.

    Args:
        snapshot: What to show.
        run: Where the run is.
        now: The time, in seconds since 1970.
    """
    return Group(*_blocks(snapshot, run, now))


def line(snapshot: Snapshot) -> str:
    """One line."""
    if snapshot.step is None:
        return "no step yet"
    counts = {severity: sum(str(each.severity) == severity for each in snapshot.findings) for severity in STYLES}
    found = ", ".join(f"{count} {severity}" for severity, count in counts.items() if count)
    worst = next((each for each in snapshot.layers), None)
    parts = [
        f"step {snapshot.step}",
        f"epoch {snapshot.epoch}",
        f"loss {_number(snapshot.loss.last)}",
        f"learning rate {_number(snapshot.learning_rate)}",
        f"global norm {_number(snapshot.norm.last)}",
        *([f"{worst.layer} {_number(worst.norms.last)}"] if worst is not None else []),
        f"findings: {found or 'none'}",
        *([snapshot.outcome] if snapshot.is_over else []),
    ]
    return "  ".join(parts)


def _blocks(snapshot: Snapshot, run: str, now: float) -> Iterator[RenderableType]:
    yield _heading(snapshot, run, now)
    if snapshot.step is None:
        yield Text("No step has been recorded yet.")
        return
    yield _facts(snapshot)
    yield _layers(snapshot)
    yield _findings(snapshot)


def _heading(snapshot: Snapshot, run: str, now: float) -> Text:
    age = max(0.0, now - snapshot.written)
    words = [run]
    if snapshot.model:
        words.append(f"model {snapshot.model}")
    if snapshot.outcome:
        since = snapshot.ended if snapshot.is_over else snapshot.started
        words.append(
            f"{snapshot.outcome} {'at' if snapshot.is_over else 'since'} {since}" if since else snapshot.outcome
        )
    text = Text(", ".join(words), style="bold")
    is_late = age > LONG_AGO and not snapshot.is_over
    return text.append(f", last written {_duration(age)} ago", style="yellow" if is_late else "dim")


def _facts(snapshot: Snapshot) -> Table:
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for _ in range(3):
        facts.add_column()
    facts.add_row("step", f"{snapshot.step}", f"epoch {snapshot.epoch}")
    facts.add_row("loss", _number(snapshot.loss.last), _spark(snapshot.loss))
    facts.add_row("global norm", _number(snapshot.norm.last), _spark(snapshot.norm))
    facts.add_row("learning rate", _number(snapshot.learning_rate), "")
    return facts


def _layers(snapshot: Snapshot) -> Table:
    left = len(snapshot.layers) - NUM_LAYERS
    caption = f"and {left} more layers" if left > 0 else None
    lines = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left")
    lines.add_column("layer, worst first", overflow="fold")
    lines.add_column("norm", justify="right", no_wrap=True)
    lines.add_column("last steps", no_wrap=True)
    lines.add_column("against the others", justify="right")
    for each in snapshot.layers[:NUM_LAYERS]:
        lines.add_row(each.layer, _number(each.norms.last), _spark(each.norms), _times(each.decades))
    return lines


def _findings(snapshot: Snapshot) -> RenderableType:
    if not snapshot.findings:
        return Text("No findings so far.", style="green")
    lines = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    lines.add_column(no_wrap=True)
    lines.add_column(no_wrap=True)
    lines.add_column(overflow="fold")
    for each in snapshot.findings[:NUM_FINDINGS]:
        severity = str(each.severity)
        lines.add_row(Text(severity, style=STYLES[severity]), f"{each.code} {each.rule}", Text(each.message))
    left = len(snapshot.findings) - NUM_FINDINGS
    return Group(lines, Text(f"and {left} more findings")) if left > 0 else lines


def _spark(series: Series) -> Text:
    drawn = sparkline.text(series.points.tolist(), series.bad.tolist(), width=WIDTH)
    text = Text(drawn, style="cyan")
    text.highlight_regex("✗", "bold red")
    return text


def _number(value: float) -> str:
    return f"{value:.3g}"


def _times(decades: float) -> str:
    return "-" if not math.isfinite(decades) else f"{10.0**decades:.2g} x"


def _duration(seconds: float) -> str:
    """A length of time in one unit.

    >>> _duration(7.4), _duration(130), _duration(7300)
    ('7 s', '2 min', '2 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
