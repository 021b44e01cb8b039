"""`gradwatch compare`: what differs between two runs."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

import click

from gradwatch.cli import progress, reading, verdict
from gradwatch.cli.completion import RunPath
from gradwatch.cli.report import SUFFIXES as REPORT_SUFFIXES

if TYPE_CHECKING:
    from rich.console import RenderableType

    from gradwatch.comparison import Comparison
    from gradwatch.log import Log

NUM_LAYERS = 10
SUFFIXES = (".png", ".svg", ".pdf")


@click.command()
@click.argument("run_a", type=RunPath())
@click.argument("run_b", type=RunPath())
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON.")
@click.option(
    "--picture",
    type=click.Path(path_type=pathlib.Path),
    callback=reading.known_suffix("picture", SUFFIXES, ".png, .svg or .pdf"),
    help="Write a picture of both: .png, .svg or .pdf.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=pathlib.Path),
    callback=reading.known_suffix("report", REPORT_SUFFIXES, ".html or .md"),
    help="Write the report of RUN_B with what differs: .html or .md.",
)
@click.pass_context
def compare(
    context: click.Context,
    run_a: pathlib.Path,
    run_b: pathlib.Path,
    as_json: bool,
    picture: pathlib.Path | None,
    output: pathlib.Path | None,
) -> None:
    """Print what differs between RUN_A and RUN_B.

    The layers whose gradient norms differ most, the first step at which the runs part, and what is found in one of them
    only. Exits with 1 if RUN_B has a finding of severity error that RUN_A does not have.
    """
    with progress.bar(3 + bool(picture) + bool(output)) as begin:
        logs = []
        for run in (run_a, run_b):
            begin(f"Reading {run}")
            logs.append(reading.read_log(run))
        from gradwatch import comparison

        begin("Comparing")
        names = (str(run_a), str(run_b))
        result = comparison.compare(*logs, names=names)
        if picture is not None:
            begin("Drawing")
            _draw(logs, names, picture)
        if output is not None:
            begin("Writing the report")
            with reading.errors_in_one_line(f"Cannot write {str(output)!r}: "):
                result.report().save(output)
    if output is not None:
        click.echo(f"Wrote {output}.", err=True)
    if as_json:
        click.echo(result.to_json())
    else:
        _show(result, str(run_a), str(run_b))
    context.exit(reading.UNHEALTHY if result.worse else 0)


def _draw(logs: list[Log], names: tuple[str, str], picture: pathlib.Path) -> None:
    from gradwatch import plots

    with reading.errors_in_one_line("Cannot write the picture. "):
        plots.side_by_side(*logs, names=names).savefig(picture)


def _show(result: Comparison, a: str, b: str) -> None:
    from rich.text import Text

    console = verdict.console()
    console.print(Text(f"a: {a}\nb: {b}", style="dim"))
    console.print(Text(result.verdict, style="bold"))
    console.print(_table(result))
    for name, findings in (("Only in a", result.only_a), ("Only in b", result.only_b)):
        for finding in findings:
            console.print(Text(f"{name}: ", style="bold"), f"{finding.code} {finding.rule}, {finding.message}", sep="")


def _table(result: Comparison) -> RenderableType:
    import pandas as pd
    from rich import box
    from rich.table import Table

    left = len(result.layers) - NUM_LAYERS
    table = Table(box=box.SIMPLE_HEAD, caption=f"and {left} more layers" if left > 0 else None, caption_justify="left")
    table.add_column("layer", overflow="fold")
    for name in ("norm in a", "norm in b", "b / a", "parts at step"):
        table.add_column(name, justify="right")
    for row in result.layers.head(NUM_LAYERS).itertuples():
        ratio = 10.0**row.decades
        numbers = (f"{number:.3g}" if not pd.isna(number) else "-" for number in (row.norm_a, row.norm_b, ratio))
        table.add_row(row.layer, *numbers, "never" if pd.isna(row.parts_at) else str(row.parts_at))
    return table
