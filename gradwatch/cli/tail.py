"""`gradwatch tail`: a live table of a run that is still training."""

from __future__ import annotations

import pathlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from gradwatch.cli import reading, verdict

if TYPE_CHECKING:
    from gradwatch.cli.snapshot import Snapshot
    from gradwatch.cli.watching import Watching


@click.command()
@reading.run_argument
@click.option("--once", is_flag=True, help="Print how it stands, and end.")
@click.option("--wait", is_flag=True, help="Wait for a run that has not begun yet.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How often to look.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object on one line for each update.")
@click.pass_context
def tail(context: click.Context, run: pathlib.Path, once: bool, wait: bool, interval: float, as_json: bool) -> None:
    """Follow RUN, a run directory that is written to, until the run ends.

    Shows the last steps, the layers whose gradients are farthest from the others, and the findings. Where stdout is not
    a terminal, a line for each update. Ends with the run, or with Ctrl-C; exits with 1 if a finding has severity error.
    """
    with reading.errors_in_one_line():
        from gradwatch.cli.watching import Watching
        from gradwatch.diagnosis import RECENT_STEPS

        watching = Watching(run, RECENT_STEPS)  # at its end all of them are judged
        try:
            if wait and not watching.is_file:
                _wait_for(watching, run, interval)
            if once:
                _print(watching.look(), run, as_json, as_table=True)
            else:
                _follow(watching, run, interval, as_json)
        except KeyboardInterrupt:
            click.echo(err=True)  # below the ^C
        except FileNotFoundError as error:
            raise reading.UnusableInputError(f"{error} With --wait it is waited for.") from error
    context.exit(reading.UNHEALTHY if watching.has_errors else 0)


def _wait_for(watching: Watching, run: pathlib.Path, interval: float) -> None:
    if not watching.follower.is_there:
        click.echo(f"Waiting for {run} ...", err=True)
    while not watching.follower.is_there:
        time.sleep(interval)


def _follow(watching: Watching, run: pathlib.Path, interval: float, as_json: bool) -> None:
    """Shows each update until the run ends, and what is found in all of it then."""
    if sys.stdout.isatty() and not as_json:
        from rich.live import Live

        from gradwatch.cli import live

        with Live(console=verdict.console(), auto_refresh=False) as screen:
            for snapshot in _updates(watching, interval):
                screen.update(live.table(snapshot, str(run), now=time.time()), refresh=True)
    else:
        shown = None
        for snapshot in _updates(watching, interval):
            if shown is None or (snapshot.step, snapshot.outcome) != (shown.step, shown.outcome):
                _print(snapshot, run, as_json, as_table=False)
            shown = snapshot
    diagnosis = watching.judge_all()
    if not as_json:
        verdict.show(diagnosis, title=_ending(snapshot))


def _ending(snapshot: Snapshot) -> str:
    if snapshot.is_over:
        return f"The run {snapshot.outcome}."
    return "The run was cut off: no process writes to it any more."


def _updates(watching: Watching, interval: float) -> Iterator[Snapshot]:
    """Looks at a run until it is seen twice that it has ended: a `fit` may be followed by another one."""
    ended = None
    while True:
        is_over = not watching.is_written
        snapshot = watching.look()
        is_over |= snapshot.is_over
        yield snapshot
        if watching.is_file or (is_over and ended == (snapshot.ended, snapshot.step)):
            return
        ended = (snapshot.ended, snapshot.step) if is_over else None
        time.sleep(interval)


def _print(snapshot: Snapshot, run: pathlib.Path, as_json: bool, *, as_table: bool) -> None:
    if as_json:
        click.echo(snapshot.to_json())
        return
    from gradwatch.cli import live

    if as_table:
        verdict.console().print(live.table(snapshot, str(run), now=time.time()))
    else:
        click.echo(live.line(snapshot))
