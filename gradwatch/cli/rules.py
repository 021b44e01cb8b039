"""`gradwatch rules`: what is looked for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from gradwatch.cli import verdict

if TYPE_CHECKING:
    from gradwatch.rules import Rule

FIELDS = ("code", "name", "severity", "title", "remedy")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the rules as JSON.")
def rules(as_json: bool) -> None:
    """List the rules that a run is judged by."""
    from gradwatch.rules import RULES

    if as_json:
        click.echo(json.dumps([_words(rule) for rule in RULES], indent=2))
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for name in FIELDS[:-1]:
        table.add_column(name, no_wrap=name != "title")
    for rule in RULES:
        table.add_row(*list(_words(rule).values())[:-1])
    verdict.console().print(table)


def _words(rule: Rule) -> dict[str, str]:
    return {name: str(getattr(rule, name)) for name in FIELDS}
