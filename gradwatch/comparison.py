"""Two runs side by side: which layers differ, from which step on, and what is found in one of them only."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gradwatch import summary
from gradwatch.diagnosis import Diagnosis, diagnose, to_plain
from gradwatch.log import Log
from gradwatch.reporting import Report
from gradwatch.reporting.compared import NAMES, Compared, LayerPair
from gradwatch.rules import RULES, Finding, Rule, Severity
from gradwatch.rules.base import plural

TOLERANCE = 1e-3
"""Relative difference of two norms, or two losses, up to which runs count as together."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What differs between two runs, called a and b.

    Args:
        layers: A row for each layer of either run, those that differ most first: `layer`, `norm_a` and `norm_b` (median
            of the finite gradient norms, missing where a run has none), `decades` (log10 of b over a, infinite where
            one of them is 0), and `parts_at`, the first step at which their norms differ, missing if they never do.
        parts_at: The first step at which a norm or the loss differs, `None` if none does.
        num_steps: Number of recorded steps that both have.
        only_a: Findings that only a has.
        only_b: Findings that only b has.
        names: What the runs are called.
        logs: The logs that were compared, the variables of b named as in a where only the names differ.
        diagnosis: All that was found in b.
    """

    layers: pd.DataFrame
    parts_at: int | None
    num_steps: int
    only_a: tuple[Finding, ...]
    only_b: tuple[Finding, ...]
    names: tuple[str, str]
    logs: tuple[Log, Log] = dataclasses.field(repr=False)
    diagnosis: Diagnosis = dataclasses.field(repr=False)

    @property
    def worse(self) -> bool:
        """Whether b has a finding of severity "error" that a does not have."""
        return any(finding.severity == Severity.ERROR for finding in self.only_b)

    def frame(self) -> pd.DataFrame:
        """The layers as a table of its own."""
        return self.layers.copy()

    def to_json(self) -> str:
        """Everything as JSON text; a number that JSON does not have is the string "nan", "inf" or "-inf"."""
        rows = [{name: _plain(value) for name, value in row.items()} for row in self.layers.to_dict("records")]
        findings = {name: [_described(finding) for finding in getattr(self, name)] for name in ("only_a", "only_b")}
        content = {"parts_at": self.parts_at, "num_steps": self.num_steps, "layers": rows, **findings}
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)

    def report(self) -> Report:
        """The report of b with a section on what differs from a.

        Returns:
            The report: the last value of a notebook cell shows it, `save("report.html")` writes it.
        """
        return Report(self.logs[1], self.diagnosis, self._compared())

    def _compared(self) -> Compared:
        places = {layer: place for place, layer in enumerate(_layer_names(*self.logs))}
        return Compared(
            names=self.names,
            verdict=self.verdict,
            layers=tuple(_pair(row, places[row["layer"]]) for row in self.layers.to_dict("records")),
            only_a=self.only_a,
            only_b=self.only_b,
            logs=self.logs,
        )

    def _repr_html_(self) -> str:
        from gradwatch.reporting import html, pictures

        return html.comparison(self._compared(), pictures.draw_both(*self.logs, self.names))

    def __str__(self) -> str:
        lines = [self.verdict]
        for name, findings in zip(self.names, (self.only_a, self.only_b), strict=True):
            lines += [f"Only in {name}: [{finding.code} {finding.rule}] {finding.message}" for finding in findings]
        return "\n".join(lines)

    @property
    def verdict(self) -> str:
        """In one sentence where they part."""
        both = plural(self.num_steps, "recorded step")
        if not self.num_steps:
            return "The runs have no recorded step in common."
        if self.parts_at is None:
            return f"The runs do not differ in the {both} that both have."
        return f"The runs part at step {self.parts_at}; both have {both}."


def compare(
    a: Log,
    b: Log,
    *,
    rules: Iterable[Rule] = RULES,
    tolerance: float = TOLERANCE,
    names: Sequence[str] = NAMES,
) -> Comparison:
    """Compares two runs, step by step and layer by layer.

    Layers are told by their names; where the names differ but all variables have the same shapes in the same order, by
    their order, and called as in a.

    Args:
        a: The log of one run.
        b: The log of the other.
        rules: Rules to judge both by.
        tolerance: Relative difference up to which two numbers count as equal.
        names: What to call the runs in words and pictures.

    Returns:
        What differs; shows itself in a notebook, and `report()` gives the report of b with it.

    Raises:
        ValueError: If the tolerance is negative, or there are not two names.
    """
    if isinstance(names, str) or len(names) != 2:
        raise ValueError(f"`names` must be two names. Received: names={names!r}.")
    if not tolerance >= 0:
        raise ValueError(f"`tolerance` must not be negative. Received: tolerance={tolerance!r}.")
    rules = tuple(rules)
    b = summary.named_as(b, a)
    tables = [_norms(log) for log in (a, b)]
    steps = tables[0].index.intersection(tables[1].index)
    layer_names = _layer_names(a, b)
    ours, theirs = (table.reindex(index=steps, columns=layer_names) for table in tables)
    apart = _apart(ours, theirs, tolerance)  # [steps, layers]
    loss_a, loss_b = (_losses(log).reindex(steps).to_frame() for log in (a, b))
    anywhere = np.asarray(apart.any(axis=1)) | _apart(loss_a, loss_b, tolerance).to_numpy().any(axis=1)
    middle = [summary.layer_medians(log).reindex(layer_names).to_numpy(dtype=float, copy=True) for log in (a, b)]
    with np.errstate(divide="ignore", invalid="ignore"):
        decades = np.log10(middle[1] / middle[0])
    decades[middle[0] == middle[1]] = 0.0
    layers = pd.DataFrame(
        {
            "layer": layer_names,
            "norm_a": middle[0],
            "norm_b": middle[1],
            "decades": decades,
            "parts_at": pd.array([_first(apart[name].to_numpy(), steps) for name in layer_names], dtype="Int64"),
        }
    )
    found = [diagnose(log, rules) for log in (a, b)]
    return Comparison(
        layers=layers.iloc[_most_different_first(layers)].reset_index(drop=True),
        parts_at=_first(anywhere, steps),
        num_steps=len(steps),
        only_a=_only(found[0].findings, found[1].findings),
        only_b=_only(found[1].findings, found[0].findings),
        names=(str(names[0]), str(names[1])),
        logs=(a, b),
        diagnosis=found[1],
    )


def _layer_names(a: Log, b: Log) -> list[str]:
    """The layers of either log, in model order, those of a first."""
    return list(dict.fromkeys(info.layer for log in (a, b) for info in log.variable_infos))


def _pair(row: dict[Hashable, Any], position: int) -> LayerPair:
    parts_at = None if pd.isna(row["parts_at"]) else int(row["parts_at"])
    return LayerPair(position, row["layer"], row["norm_a"], row["norm_b"], 10.0 ** row["decades"], parts_at)


def _norms(log: Log) -> pd.DataFrame:
    """Norm of each layer at each recorded step; one row a step."""
    table = summary.wide_layers(log, summary.layer_norms)
    return table[~table.index.duplicated()]


def _losses(log: Log) -> pd.Series:
    table = log.steps().set_index("step")["loss"].astype(float)
    return table[~table.index.duplicated()]


def _apart(a: pd.DataFrame, b: pd.DataFrame, tolerance: float) -> pd.DataFrame:
    """Where two tables differ: what is missing or not finite in one has to be so in the other."""
    left, right = a.to_numpy(dtype=float), b.to_numpy(dtype=float)
    with np.errstate(invalid="ignore", over="ignore"):
        far = np.abs(left - right) > tolerance * np.maximum(np.abs(left), np.abs(right))
    finite = np.isfinite(left) & np.isfinite(right)
    alike = (left == right) | (np.isnan(left) & np.isnan(right))
    return pd.DataFrame(np.where(finite, far, ~alike), index=a.index, columns=a.columns)


def _first(apart: np.ndarray, steps: pd.Index) -> int | None:
    rows = np.flatnonzero(apart)
    return int(steps[rows[0]]) if len(rows) else None


def _most_different_first(layers: pd.DataFrame) -> np.ndarray:
    """Places of the rows; a layer that only one run has comes first."""
    distance = layers["decades"].abs().fillna(np.inf).to_numpy()
    return np.argsort(-distance, kind="stable")


def _only(findings: tuple[Finding, ...], others: tuple[Finding, ...]) -> tuple[Finding, ...]:
    known = {(finding.rule, finding.layers[:1]) for finding in others}
    return tuple(finding for finding in findings if (finding.rule, finding.layers[:1]) not in known)


def _described(finding: Finding) -> dict[str, object]:
    return {
        "code": finding.code,
        "rule": finding.rule,
        "severity": str(finding.severity),
        "layers": list(finding.layers),
        "first_step": finding.first_step,
        "message": finding.message,
    }


def _plain(value: object) -> object:
    return None if value is pd.NA else to_plain(value) if isinstance(value, float) else value
