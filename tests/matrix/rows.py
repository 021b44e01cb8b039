"""All rows of the matrix, by area."""

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
