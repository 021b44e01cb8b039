"""All rows of the matrix, by area."""

import os

from matrix import company, execution, models, optimizers, precision, refused, steps

AREAS = {
    "execution": execution.ROWS,
    "precision": precision.ROWS,
    "optimizer": optimizers.ROWS,
    "steps": steps.ROWS,
    "models": models.ROWS,
    "company": company.ROWS,
}
ROWS = tuple(row for rows in AREAS.values() for row in rows)
REFUSED = refused.REFUSED


def chosen():
    """The rows to run: all of them, or each n-th where GRADWATCH_MATRIX_EVERY says so, as long as time is short."""
    return ROWS[:: int(os.environ.get("GRADWATCH_MATRIX_EVERY", "1"))]
