"""`gradwatch run`: an unchanged script with every `fit` in it watched."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Iterator

import click

from gradwatch.cli import verdict
from gradwatch.environment import FAIL_FAST_VARIABLE, RUN_DIR_VARIABLE
from gradwatch.running import Ending, Program, UnusableRunDirError, WatchedFits, WatchedRun


@click.command(context_settings={"allow_interspersed_args": False})
@click.option(
    "--run-dir",
    metavar="DIR",
    envvar=RUN_DIR_VARIABLE,
    show_envvar=True,
    help="Write the log there; without it, it is kept in memory. The logs of further models go to DIR-NAME.",
)
@click.option(
    "--fail-fast", is_flag=True, help="Stop at the first finding of severity error, as GRADWATCH_FAIL_FAST=1 does."
)
@click.option("-m", "is_module", is_flag=True, help="Run a module, as `python -m` does.")
@click.argument("script", type=click.Path())
@click.argument("arguments", metavar="[ARGS]...", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def run(
    context: click.Context,
    run_dir: str | None,
    fail_fast: bool,
    is_module: bool,
    script: str,
    arguments: tuple[str, ...],
) -> None:
    """Run SCRIPT with ARGS as Python does, and watch every `fit` in it.

    The script needs no change. A `fit` that has a GradientWatch of its own keeps that one, for which --run-dir and
    --fail-fast set the defaults. Exits with the status of the script, or with 3 if it was stopped because of its
    gradients.
    """
    atexit.register(_die_of_interrupt)  # first, so that it comes after all that the script registers
    fits = WatchedFits(run_dir or None, _tell)
    try:
        with _environment({RUN_DIR_VARIABLE: run_dir, FAIL_FAST_VARIABLE: "1" if fail_fast else None}), fits.active():
            ending = Program(script, arguments, is_module=is_module).run()
    except UnusableRunDirError as error:  # where Keras had been imported before
        ending = Ending(2, error.message, has_run=False)
    _flush()
    if ending.message:
        click.echo(ending.message, err=True)
    if ending.has_run:
        _say_what_was_seen(fits)
    if not ending.interrupted:
        atexit.unregister(_die_of_interrupt)
    context.exit(ending.status)


def _say_what_was_seen(fits: WatchedFits) -> None:
    for each in fits.runs:
        _say_findings(each, is_only=len(fits.runs) == 1)
    if not fits.num_fits:
        legacy = "tf_keras" in sys.modules and "keras" not in sys.modules
        _tell(
            "Nothing was watched: the script uses tf_keras, which is Keras 2; gradwatch needs Keras 3."
            if legacy
            else "Nothing was watched: the script called no `fit` of a Keras 3 model. For a loop of your own there is "
            "`gradwatch.watch_train_step`."
        )
    elif fits.num_own == fits.num_fits:
        _tell("Every `fit` had a GradientWatch of its own.")


def _say_findings(run: WatchedRun, *, is_only: bool) -> None:
    from gradwatch.diagnosis import diagnose
    from gradwatch.errors import own_failures

    if run.log is None:
        return
    with own_failures("judging the log"):
        title = f"model {run.name}: {len(run.log)} records of {run.log.num_steps} steps"
        verdict.show(diagnose(run.log), title=title, on_stderr=True, with_skipped=False)
    if run.run_dir is not None:
        _tell(f"The log is in {run.run_dir}. For the report: gradwatch report {run.run_dir} -o report.html")
    elif is_only:
        _tell(
            "The log was kept in memory. With --run-dir DIR it is written there, and `gradwatch report DIR` reads it."
        )


def _tell(message: str) -> None:
    click.echo(f"gradwatch: {message}", err=True)


@contextlib.contextmanager
def _environment(values: dict[str, str | None]) -> Iterator[None]:
    """Sets those environment variables that have a value, also for watches of the script and what it starts."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update({name: value for name, value in values.items() if value is not None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _flush() -> None:
    """What the script printed comes before what is said of it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _die_of_interrupt() -> None:
    """Ends the process as an unhandled Ctrl-C ends Python: by the signal, so that a shell stops its script too."""
    _flush()
    if os.name == "posix":
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
