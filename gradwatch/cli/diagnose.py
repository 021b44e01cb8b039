"""`gradwatch diagnose`: the findings of a run."""

from __future__ import annotations

import pathlib

import click

from gradwatch.cli import progress, reading, verdict


@click.command()
@reading.run_argument
@click.option("--json", "as_json", is_flag=True, help="Print the diagnosis as JSON.")
@click.pass_context
def diagnose(context: click.Context, run: pathlib.Path, as_json: bool) -> None:
    """Print what the rules find in RUN, a run directory or a .parquet file.

    Exits with 1 if a finding has severity error.
    """
    with progress.bar(2) as begin:
        begin(f"Reading {run}")
        log = reading.read_log(run)
        from gradwatch import diagnosis

        begin("Judging")
        result = diagnosis.diagnose(log)
    if as_json:
        click.echo(result.to_json())
    else:
        verdict.show(result, title=f"{run}: {len(log)} records of {log.num_steps} steps")
    context.exit(0 if result.ok else reading.UNHEALTHY)
