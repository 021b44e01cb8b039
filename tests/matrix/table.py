"""The table of the matrix in the docs, made of the rows: `make matrix` writes it, a test holds it up to date."""

import pathlib

from distribution.rows import ROWS as DISTRIBUTED

from matrix.rows import AREAS, REFUSED

PATH = pathlib.Path(__file__).parents[2] / "docs" / "matrix.md"

HEAD = """\
# What gradwatch is tested with

Every row is a program that `make test-sweeps` runs without a watch, with one, and with a NaN put into the gradient of
one variable at a known call. This page is made of the same rows by `make matrix`, and a test holds it up to date.

- **transparent**: weights, optimizer state and History are bit for bit those of the same seeded program without a
  watch; the model and its optimizers have the attributes they had; the step is traced no more often.
- **true**: every statistic equals that of the gradients the optimizer was given, computed in float64 NumPy.
- **complete**: one row for each call of an optimizer and variable, with the right step, epoch, batch, optimizer and
  `applied`.
- **NaN named**: the finding has the step and the variable.
- **fail_fast**, **skip**: weights and optimizer state are bit for bit those just before the bad batch, and those the
  program has there without a guard.

On several replicas the weights of plain SGD are the oracle of what was applied, and moving statistics are compared with
those before the bad batch too.
"""


def _line(*cells):
    return "| " + " | ".join(cells) + " |"


def _row(row):
    nan = "held back by the loss scale" if row.loss_scaled else "yes"
    guard = "yes" if row.exact_guards else "yes, see the note"
    return _line(row.name, row.about, "yes", "yes", "yes", nan, guard, guard, row.note)


def text():
    """The page."""
    columns = ("row", "what", "transparent", "true", "complete", "NaN named", "fail_fast", "skip", "note")
    parts = [HEAD]
    for area, rows in AREAS.items():
        lines = [f"## {area.capitalize()}", "", _line(*columns), _line(*["---"] * len(columns)), *map(_row, rows)]
        parts.append("\n".join(lines) + "\n")
    lines = ["## Distribution", "", _line(*columns), _line(*["---"] * len(columns))]
    lines += [
        _line(row.name, row.about, *["yes"] * 3, "yes, with its replica", "yes", "yes", row.note) for row in DISTRIBUTED
    ]
    parts.append("\n".join(lines) + "\n")
    if REFUSED:
        lines = ["## Refused", "", "These are refused with an error before the first step.", ""]
        lines += [_line("row", "what", "error", "instead"), _line(*["---"] * 4)]
        lines += [_line(row.name, row.about, f"`{row.error.__name__}`", row.note) for row in REFUSED]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PATH.write_text(text())
