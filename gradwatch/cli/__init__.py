"""The command `gradwatch`: one module a command.

Modules of commands import at their top nothing but what is light; the rest comes when the command runs, so that the
shell's completion and `--help` are quick, and no command that reads a log loads TensorFlow.
"""

import click

from gradwatch.cli.compare import compare
from gradwatch.cli.completion import completion
from gradwatch.cli.diagnose import diagnose
from gradwatch.cli.report import report
from gradwatch.cli.rules import rules
from gradwatch.cli.run import run
from gradwatch.cli.tail import tail
from gradwatch.version import __version__

EPILOG = (
    "Exit status: 0 healthy, 1 findings of severity error, 2 wrong usage or unreadable input, 3 a script that `run` "
    "started was stopped because of its gradients; else `run` passes on the script's own. "
    "Results go to stdout, messages to stderr."
)


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="gradwatch")
def main() -> None:
    """Watch the gradients of a training run, and read what was recorded, without TensorFlow."""


for command in (run, tail, diagnose, report, compare, rules, completion):
    main.add_command(command)
