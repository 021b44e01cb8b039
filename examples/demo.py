"""The tour: a healthy training, then three that are not what they seem, each with its diagnosis and its report.

`make demo` runs it. It trains on the handwritten digits of scikit-learn, takes less than a minute on a laptop, and
writes `runs/demo/`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import warnings
from collections.abc import Callable

import quiet  # noqa: F401  # has to be the first to import TensorFlow

# isort: split
import log_lambda
import numpy_predictions
import output_scaler
import quickstart
from rich.console import Console

import gradwatch
from gradwatch.cli import main as gradwatch_command

OUT = pathlib.Path("runs/demo")


@dataclasses.dataclass(frozen=True)
class Run:
    """One stop of the tour.

    Args:
        name: The name of its run directory.
        title: Its heading.
        story: What is trained, and what to look for.
        train: Trains, with the log in the directory it is given, and returns the watch.
        report: Its report, relative to the demo's directory.
    """

    name: str
    title: str
    story: str
    train: Callable[[pathlib.Path], gradwatch.GradientWatch]
    report: str


def without_the_way_back(run_dir: pathlib.Path) -> gradwatch.GradientWatch:
    """The run of `numpy_predictions`, which raises: what it raises is in the watch's diagnosis as well."""
    watch = gradwatch.GradientWatch(run_dir)
    with contextlib.suppress(gradwatch.DetachedVariableError):
        numpy_predictions.train(watch)
    return watch


RUNS = (
    Run(
        "healthy",
        "A healthy training",
        "Three dense layers learn the digits. There should be nothing to report.",
        lambda run_dir: quickstart.train(run_dir),
        "report.html",
    ),
    Run(
        "output_scaler",
        "A layer of your own after the softmax",
        "It multiplies and shifts by numbers that are not trained. Does the gradient still get through? It does.",
        lambda run_dir: output_scaler.train(run_dir),
        "output_scaler/report.html",
    ),
    Run(
        "log_lambda",
        "log(relu(x) + eps) in a Lambda",
        "The loss rises and stays there: spikes in the gradient push every output below zero, where a ReLU is flat.",
        lambda run_dir: log_lambda.train(run_dir),
        "log_lambda/report.html",
    ),
    Run(
        "log_lambda_without_eps",
        "The same without eps",
        "The logarithm of zero is minus infinity. With fail_fast the training ends at the first NaN, before it reaches "
        "the weights, and the watch names the line.",
        lambda run_dir: log_lambda.train(run_dir, eps=0.0, epochs=1, fail_fast=True),
        "log_lambda_without_eps/report.html",
    ),
    Run(
        "numpy_predictions",
        "Predictions multiplied in NumPy",
        "The loss is made of plain numbers, which do not know what weights they came from. Keras stops at once; the "
        "watch says why.",
        without_the_way_back,
        "numpy_predictions/report.html",
    ),
)


def show(run: Run, out: pathlib.Path, console: Console) -> gradwatch.GradientWatch:
    """Trains one of the runs, prints its diagnosis and writes its report."""
    console.rule(f"[bold]{run.title}", align="left")
    say(console, run.story + "\n", style="italic")
    with warnings.catch_warnings():
        # A watch warns while training; here the diagnosis is printed right below, and once is enough.
        warnings.filterwarnings("ignore", r"\[GW", gradwatch.GradientWarning)
        watch = run.train(out / run.name)
    watch.close()
    # What is printed is read from the log on the disk, as the shell command that stands above it would do.
    say(console, f"$ gradwatch diagnose {out / run.name}", style="bold cyan")
    gradwatch_command(["diagnose", str(out / run.name)], standalone_mode=False)
    console.print()
    watch.report().save(out / run.report)
    return watch


def say(console: Console, text: str, *, style: str | None = None) -> None:
    """Prints plain text: no markup in it, and paths are not broken."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def main(out: pathlib.Path = OUT) -> dict[str, gradwatch.GradientWatch]:
    """Goes through all runs.

    Args:
        out: The directory to write to.

    Returns:
        The watches by name.
    """
    console = Console()
    watches = {run.name: show(run, out, console) for run in RUNS}
    gradwatch.plots.overview(watches["healthy"].log).savefig(out / "overview.png", dpi=110)
    console.rule("[bold]What was written", align="left")
    width = max(len(str(out / run.report)) for run in RUNS)
    for run in RUNS:
        say(console, f"{out / run.report!s:{width}}  {run.title}")
    say(console, f"\nOpen them in a browser, this one first: {(out / RUNS[0].report).resolve().as_uri()}")
    say(console, f"The logs are beside them; in Python: gradwatch.load({str(out / RUNS[2].name)!r}).frame()")
    return watches


if __name__ == "__main__":
    main()
