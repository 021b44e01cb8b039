"""The ranked table of variables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import pandas as pd

from gradwatch.log import Log
from gradwatch.plots import grid
from gradwatch.plots.ranking import ranking
from gradwatch.rules.base import Finding, plural

NUM_POINTS = 40


@dataclasses.dataclass(frozen=True)
class Row:
    """One variable, worst first.

    Args:
        rank: 1 for the one to look at first.
        layer: Path of its layer.
        variable: Its path.
        shape: Its shape.
        state: What is wrong with its gradient, in a few words; empty if nothing.
        codes: Codes of the findings that name it.
        relative: Its typical root mean square, against the median of all variables.
        first: Gradient norm at the first recorded step.
        median: Median of the gradient norm over the finite steps.
        last: Gradient norm at the last recorded step.
        nan_count: NaN entries over the run.
        inf_count: Infinite entries over the run.
        zero_fraction: Mean share of entries that are zero.
        points: The largest gradient norm in each bin of steps; NaN where there is none.
        bad: Whether there was NaN or Inf in each of these bins.
    """

    rank: int
    layer: str
    variable: str
    shape: tuple[int, ...]
    state: str
    codes: tuple[str, ...]
    relative: float
    first: float
    median: float
    last: float
    nan_count: float
    inf_count: float
    zero_fraction: float
    points: tuple[float, ...]
    bad: tuple[bool, ...]

    @property
    def name(self) -> str:
        """Its path without that of its layer."""
        return self.variable.removeprefix(f"{self.layer}/") if self.layer else self.variable


def rows(log: Log, findings: Iterable[Finding] = (), *, limit: int | None = None) -> tuple[Row, ...]:
    """The variables of a log, worst first by `ranking`.

    Args:
        log: The log.
        findings: What was found, to name the codes.
        limit: Largest number of rows.
    """
    table = ranking(log).head(limit if limit is not None else len(log.variable_infos))
    points = grid.make(log, grid.norms("variable"), max_bins=NUM_POINTS, complete=True)
    place = {name: column for column, name in enumerate(points.names)}
    codes: dict[str, list[str]] = {}
    for finding in findings:
        for name in finding.variables:
            codes.setdefault(name, []).append(finding.code)
    return tuple(
        Row(
            rank=rank,
            layer=str(facts["layer"]),
            variable=str(name),
            shape=facts["shape"],
            state=_state(facts),
            codes=tuple(dict.fromkeys(codes.get(str(name), ()))),
            relative=float(10.0 ** facts["decades"]),
            first=float(facts["first_norm"]),
            median=float(facts["median_norm"]),
            last=float(facts["last_norm"]),
            nan_count=float(facts["nan_count"]),
            inf_count=float(facts["inf_count"]),
            zero_fraction=float(facts["zero_fraction"]),
            points=tuple(points.high[:, place[str(name)]].tolist()),
            bad=tuple((points.nonfinite[:, place[str(name)]] > 0).tolist()),
        )
        for rank, (name, facts) in enumerate(table.iterrows(), start=1)
    )


def _state(facts: pd.Series) -> str:
    if facts["detached"]:
        return "no gradient"
    if facts["nonfinite_steps"]:
        return f"NaN or Inf: {plural(facts['nonfinite_steps'], 'step')}"
    if facts["zero_steps"] * 2 >= facts["recorded"] > 0:
        return f"zero: {facts['zero_steps']} of {plural(facts['recorded'], 'step')}"
    return "" if facts["recorded"] else "not recorded"


def number(value: float, *, missing: bool = True) -> str:
    """A number of the table as text; NaN is a dash if it says that there is none.

    >>> number(0.00012345), number(float("inf")), number(float("nan"))
    ('0.000123', 'Inf', '-')
    """
    if np.isnan(value):
        return "-" if missing else "NaN"
    return f"{value:.3g}" if np.isfinite(value) else "Inf"


def count(value: float) -> str:
    """A count of the table as text."""
    return "-" if np.isnan(value) else f"{value:,.0f}"


def share(value: float) -> str:
    """A share of the table as text."""
    return "-" if np.isnan(value) else f"{value:.1%}"
