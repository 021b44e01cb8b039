"""`gradwatch completion`: what a shell needs in order to complete commands, runs and rules."""

from __future__ import annotations

import itertools
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

SHELLS = ("bash", "zsh", "fish")
DEPTH = 4
"""How many directories below the one that is typed runs are looked for."""

MOST_VISITED = 2000
"""Directories that are looked into: pressing a key must not search a disk."""

_MANIFEST = "_manifest.json"  # as in `store`, which takes too long to load for a key that is pressed
_SUFFIX = ".parquet"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    r"""Print the completion script for SHELL.

    \b
    bash, in ~/.bashrc:  eval "$(gradwatch completion bash)"
    zsh, in ~/.zshrc:    eval "$(gradwatch completion zsh)"
    fish:                gradwatch completion fish > ~/.config/fish/completions/gradwatch.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click does not know the shell {shell!r}.")
    root = click.get_current_context().find_root()
    click.echo(kind(root.command, {}, "gradwatch", "_GRADWATCH_COMPLETE").source())


class RunPath(click.Path):
    """A run directory or a `.parquet` file; completed with those that there are below what is typed."""

    def __init__(self) -> None:
        super().__init__(path_type=pathlib.Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A path, or as it is an address such as "s3://bucket/run"."""
        return value if "://" in str(value) else super().convert(value, param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The runs whose path begins so; where there are none, what the shell itself completes."""
        found = [CompletionItem(run) for run in sorted(_runs(incomplete))]
        return found or super().shell_complete(ctx, param, incomplete)


class RuleName(click.ParamType):
    """Name or code of a rule."""

    name = "rule"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The names or the codes that begin so, whatever the case of the letters."""
        from gradwatch.rules import RULES

        typed = incomplete.lower()
        by_code = typed.startswith("gw")
        words = [(rule.code, rule.name) if by_code else (rule.name, rule.code) for rule in RULES]
        return [CompletionItem(word, help=other) for word, other in words if word.lower().startswith(typed)]


def _runs(incomplete: str) -> Iterator[str]:
    start, typed = os.path.split(incomplete)
    root = start or "."
    for directory, below, files in itertools.islice(os.walk(root), MOST_VISITED):
        depth = 0 if directory == root else os.path.relpath(directory, root).count(os.sep) + 1
        below[:] = sorted(name for name in below if name[0] not in "._") if depth < DEPTH else []
        if depth == 0:
            below[:] = [name for name in below if name.startswith(typed)]
            files = [name for name in files if name.startswith(typed)]
        if _MANIFEST in files:
            if depth:
                yield _shown(directory, start)
            below[:] = []
        else:
            yield from (_shown(file, start) for file in _saved(directory, files))


def _saved(directory: str, files: list[str]) -> Iterator[str]:
    return (os.path.join(directory, name) for name in files if name.endswith(_SUFFIX))  # noqa: PTH118


def _shown(path: str, start: str) -> str:
    """The path as it is typed: without the "./" that nobody wrote."""
    return path if start else path.removeprefix("./")
