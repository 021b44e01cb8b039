"""`gradwatch report`: the report of a run as a file."""

from __future__ import annotations

import pathlib

import click

from gradwatch.cli import progress, reading

SUFFIXES = (".html", ".htm", ".md", ".markdown")


@click.command()
@reading.run_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=pathlib.Path),
    default=pathlib.Path("report.html"),
    show_default=True,
    callback=reading.known_suffix("report", SUFFIXES, ".html or .md"),
    help="The file to write: .html, or .md for Markdown.",
)
@click.pass_context
def report(context: click.Context, run: pathlib.Path, output: pathlib.Path) -> None:
    """Write the report of RUN, a run directory or a .parquet file.

    Exits with 1 if a finding has severity error; the report is written all the same.
    """
    with progress.bar(3) as begin:
        begin(f"Reading {run}")
        log = reading.read_log(run)
        from gradwatch import diagnosis
        from gradwatch.reporting import report as make_report

        begin("Judging")
        result = diagnosis.diagnose(log)
        begin("Writing the report")
        with reading.errors_in_one_line(f"Cannot write {str(output)!r}: "):
            make_report(log, result).save(output)
    click.echo(f"Wrote {output}.", err=True)
    context.exit(0 if result.ok else reading.UNHEALTHY)
