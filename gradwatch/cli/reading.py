"""What the commands that read a log share: the argument, and errors as one line."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

import click

from gradwatch.cli.completion import RunPath

if TYPE_CHECKING:
    from gradwatch.log import Log

UNHEALTHY = 1
"""Exit status: findings of severity "error"."""

run_argument: Callable = click.argument("run", type=RunPath())
"""The argument RUN."""


class UnusableInputError(click.ClickException):
    """What was named on the command line cannot be read or written: one line on stderr, exit status 2."""

    exit_code = 2


def known_suffix(what: str, suffixes: Collection[str], expected: str) -> Callable[..., pathlib.Path | None]:
    """A callback of an option that refuses a name which says no known format, before any work is done.

    Args:
        what: What is written.
        suffixes: The suffixes that are known.
        expected: Those to name in the error.
    """

    def check(context: click.Context, option: click.Parameter, path: pathlib.Path | None) -> pathlib.Path | None:
        if path is not None and path.suffix.lower() not in suffixes:
            raise click.BadParameter(f"Unknown {what} format: {str(path)!r}. Give a name that ends in {expected}.")
        return path

    return check


def read_log(run: pathlib.Path) -> Log:
    """The log at a path from the command line.

    Args:
        run: A run directory or a `.parquet` file.

    Returns:
        The log.

    Raises:
        UnusableInputError: If there is none, or none that can be read.
    """
    from gradwatch import log

    with errors_in_one_line():
        return log.load(run)


@contextlib.contextmanager
def errors_in_one_line(start: str = "") -> Iterator[None]:
    """Turns what reading and writing raise into a message for the shell, without a traceback.

    Args:
        start: What the message starts with.

    Raises:
        UnusableInputError: If the block raised one of those errors.
    """
    from gradwatch.errors import LogFormatError

    try:
        yield
    except (LogFormatError, OSError) as error:
        raise UnusableInputError(start + " ".join(str(error).split())) from error
