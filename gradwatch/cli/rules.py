"""`gradwatch rules`: what is looked for."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING

import click

from gradwatch.cli import verdict
from gradwatch.cli.completion import RuleName

if TYPE_CHECKING:
    from gradwatch.rules import Rule

FIELDS = ("code", "name", "severity", "title", "remedy")


@click.command()
@click.argument("names", metavar="[RULE]...", nargs=-1, type=RuleName())
@click.option("--json", "as_json", is_flag=True, help="Print the rules as JSON.")
def rules(names: tuple[str, ...], as_json: bool) -> None:
    """List the rules that a run is judged by, or say all about each RULE, given by name or code."""
    from gradwatch.rules import RULES

    wanted = _resolved(names)
    chosen = [rule for rule in RULES if not names or rule.name in wanted]
    if as_json:
        click.echo(json.dumps([_words(rule) for rule in chosen], indent=2))
    elif names:
        click.echo("\n\n".join(_page(rule) for rule in chosen))
    else:
        _show(chosen)


def _resolved(names: tuple[str, ...]) -> frozenset[str]:
    from gradwatch.diagnosis import resolve_rules

    try:
        return resolve_rules(names)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _page(rule: Rule) -> str:
    """All that is known of a rule: its docstring has the formula, its fields and the reference."""
    about = inspect.cleandoc(type(rule).__doc__ or "")
    remedy = click.wrap_text(f"What to do: {rule.remedy}", width=120)
    return f"{rule.code} {rule.name} ({rule.severity}): {rule.title}\n\n{about}\n\n{remedy}"


def _show(chosen: list[Rule]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for name in FIELDS[:-1]:
        table.add_column(name, no_wrap=name != "title")
    for rule in chosen:
        table.add_row(*list(_words(rule).values())[:-1])
    verdict.console().print(table)


def _words(rule: Rule) -> dict[str, str]:
    return {name: str(getattr(rule, name)) for name in FIELDS}
