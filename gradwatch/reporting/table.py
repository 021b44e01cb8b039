"""The ranked table of variables."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

from gradwatch.log import Log
from gradwatch.plots import grid
from gradwatch.plots.ranking import ranking
from gradwatch.rules.base import Finding, plural

NUM_POINTS = 40
KINDS = {
    "problem": "with a problem",
    "found": "named in a finding",
    "detached": "no gradient",
    "nonfinite": "NaN or Inf",
    "zero": "zero",
    "unrecorded": "not recorded",
}
"""What a reader may want to see alone, and the words for it."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One variable, worst first.

    Args:
        rank: 1 for the one to look at first.
        position: Its place in the model, 0 for the first variable.
        layer: Path of its layer.
        variable: Its path.
        shape: Its shape.
        kind: What is wrong with its gradient, a key of `KINDS`; empty if nothing.
        state: The same in a few words.
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
    position: int
    layer: str
    variable: str
    shape: tuple[int, ...]
    kind: str
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

    @property
    def prefix(self) -> str:
        """What stands before the name in its path."""
        return self.variable.removesuffix(self.name)

    @property
    def size(self) -> int:
        """How many entries it has."""
        return math.prod(self.shape)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Those of `KINDS` that it belongs to."""
        belongs = {"problem": bool(self.kind), "found": bool(self.codes)}
        return tuple(kind for kind in KINDS if belongs.get(kind, kind == self.kind))


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
            position=place[str(name)],
            layer=str(facts["layer"]),
            variable=str(name),
            shape=facts["shape"],
            kind=_kind(facts),
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


def kind_counts(shown: Iterable[Row]) -> tuple[tuple[str, str, int], ...]:
    """Those of `KINDS` that some rows belong to, each with its words and how many do."""
    counts = collections.Counter(kind for row in shown for kind in row.kinds)
    return tuple((kind, words, counts[kind]) for kind, words in KINDS.items() if counts[kind])


def norm_span(shown: Iterable[Row]) -> tuple[float, float] | None:
    """The smallest and the largest norm above zero among the points of all rows; `None` if there is none."""
    points = np.array([point for row in shown for point in row.points])
    points = points[np.isfinite(points) & (points > 0)]
    return (float(points.min()), float(points.max())) if len(points) else None


def _kind(facts: pd.Series) -> str:
    if facts["detached"]:
        return "detached"
    if facts["nonfinite_steps"]:
        return "nonfinite"
    if facts["zero_steps"] * 2 >= facts["recorded"] > 0:
        return "zero"
    return "" if facts["recorded"] else "unrecorded"


def _state(facts: pd.Series) -> str:
    kind = _kind(facts)
    if kind == "nonfinite":
        return f"{KINDS[kind]}: {plural(facts['nonfinite_steps'], 'step')}"
    if kind == "zero":
        return f"{KINDS[kind]}: {facts['zero_steps']} of {plural(facts['recorded'], 'step')}"
    return KINDS.get(kind, "")


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
