"""Which variables to look at first."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from gradwatch import summary
from gradwatch.log import Log
from gradwatch.records import Segment

Columns = Callable[[int], npt.NDArray]
"""Takes the index of a variable, returns its values in order of step; without any if not taken."""


def ranking(log: Log) -> pd.DataFrame:
    """Ranks the variables, worst first.

    First come the detached ones, then those with NaN or Inf, then those whose gradient is exactly zero on at least half
    of the steps, then the rest by how far their typical root mean square, median over steps of
    `grad_norm / sqrt(size)`, is from the median of all variables, in decades and in either direction.

    Returns:
        A frame with index `variable`, in that order, and the columns `layer`, `shape`, `size`, `detached`, `recorded`
        (steps with a gradient), `nonfinite_steps`, `zero_steps`, `first_norm`, `median_norm` (over finite values),
        `last_norm`, `nan_count`, `inf_count` (sums; missing if not taken), `zero_fraction` (mean) and `decades`
        (distance of the typical root mean square from the model's, with its sign).
    """
    table = log.variables().set_index("variable")[["layer", "shape", "size", "detached"]]
    facts = _facts(log, len(table)).set_index(table.index)
    table = table.join(facts)
    rms = table["median_norm"] / np.sqrt(table["size"].clip(lower=1))
    rms = rms.where(rms > 0)
    # Older pandas warn of the median of nothing but NaN.
    table["decades"] = np.log10(rms / rms.dropna().median())
    keys = pd.DataFrame(
        {
            "detached": table["detached"],
            "nonfinite": table["nonfinite_steps"] > 0,
            "zero": (table["zero_steps"] * 2 >= table["recorded"]) & (table["recorded"] > 0),
            "distance": table["decades"].abs().fillna(-1.0),
        }
    )
    order = keys.reset_index(drop=True).sort_values(list(keys.columns), ascending=False, kind="stable").index
    return table.iloc[order]


def columns_of(log: Log, quantity: Callable[[Segment], npt.NDArray | None]) -> Columns:
    """A quantity as a function from a variable to its values in order of step.

    Args:
        log: The log.
        quantity: Gives `[steps, variables]` of a segment, or `None` where it was not taken.
    """
    tables = [(segment, quantity(segment)) for segment in log.segments if segment.variables]
    places = [{index: column for column, index in enumerate(segment.variables)} for segment, _ in tables]

    def column(index: int) -> npt.NDArray:
        having = [
            (segment.steps["step"], table[:, place[index]])
            for (segment, table), place in zip(tables, places, strict=True)
            if table is not None and index in place
        ]
        if not having:
            return np.zeros(0)
        order = np.argsort(np.concatenate([steps for steps, _ in having]), kind="stable")
        return np.concatenate([values for _, values in having])[order]

    return column


def stored(statistic: str) -> Callable[[Segment], npt.NDArray | None]:
    """A statistic as it is in the log, `None` where it was not taken."""
    return lambda segment: segment.values.get(statistic)


def _facts(log: Log, num_variables: int) -> pd.DataFrame:
    norms = columns_of(log, stored("grad_norm"))
    nonfinite = columns_of(log, summary.nonfinite)
    zeros = columns_of(log, summary.zero)
    calls = columns_of(log, lambda segment: np.ones((segment.num_steps, len(segment.variables)), bool))
    counts = {name: columns_of(log, stored(name)) for name in ("nan_count", "inf_count")}
    fractions = columns_of(log, stored("zero_fraction"))
    rows = [
        {
            "recorded": len(calls(index)),
            "nonfinite_steps": int(nonfinite(index).sum()),
            "zero_steps": int(zeros(index).sum()),
            **_norm_facts(norms(index)),
            **{name: _total(column(index)) for name, column in counts.items()},
            "zero_fraction": _mean(fractions(index)),
        }
        for index in range(num_variables)
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)


_COLUMNS = [
    "recorded",
    "nonfinite_steps",
    "zero_steps",
    "first_norm",
    "median_norm",
    "last_norm",
    "nan_count",
    "inf_count",
    "zero_fraction",
]


def _norm_facts(norms: npt.NDArray) -> dict[str, float]:
    finite = norms[np.isfinite(norms)]
    return {
        "first_norm": float(norms[0]) if len(norms) else np.nan,
        "median_norm": float(np.median(finite)) if len(finite) else np.nan,
        "last_norm": float(norms[-1]) if len(norms) else np.nan,
    }


def _total(counts: npt.NDArray) -> float:
    return float(counts.sum()) if len(counts) else np.nan


def _mean(values: npt.NDArray) -> float:
    values = values[np.isfinite(values)]
    return float(values.astype(np.float64).mean()) if len(values) else np.nan
