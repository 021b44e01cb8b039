"""`python -m gradwatch`: the command line, with options of Python's own before it."""

from gradwatch.cli import main

main(prog_name="gradwatch")
