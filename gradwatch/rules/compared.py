"""What rules share that compare the layers of an optimizer with each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from gradwatch import summary
from gradwatch.log import Log
from gradwatch.records import Segment
from gradwatch.rules.base import Finding, Rule, Skip, listed

Indices = npt.NDArray[np.int64]

UNSEEN = "the forward pass is not seen under XLA, in `run_eagerly`, on replicas, and inside of loops and functions"
"""Why something of the forward pass may be unknown."""


def judgeable(log: Log, min_steps: int, *, min_steps_before_nan: int | None = None) -> Iterator[Segment]:
    """The segments with enough finite steps.

    Args:
        log: The log.
        min_steps: Number of finite steps that are enough.
        min_steps_before_nan: Number that is enough where a step with NaN or Inf comes after them.

    Raises:
        Skip: At the end, if an optimizer has no such segment.
    """
    require_gradients(log)
    judged: set[str] = set()
    seen: dict[str, int] = {}
    for segment in log.segments:
        if not segment.variables:
            continue
        if "grad_norm" not in segment.values:
            raise Skip("`grad_norm` was not taken.")
        count = int(summary.finite_rows(segment).sum())
        seen[segment.optimizer] = max(count, seen.get(segment.optimizer, 0))
        ends = min_steps_before_nan is not None and min_steps_before_nan <= count < segment.num_steps
        if count >= min_steps or ends:
            judged.add(segment.optimizer)
            yield segment
    for optimizer, count in seen.items():
        if optimizer not in judged:
            raise Skip(too_few(count, min_steps, f" of optimizer {optimizer!r}"))


def require_gradients(log: Log) -> None:
    """Raises `Skip` if no gradient was recorded."""
    if not any(segment.variables and segment.num_steps for segment in log.segments):
        raise Skip("No gradient was recorded.")


def too_few(count: int, min_steps: int, whose: str = "") -> str:
    """Why a rule cannot judge so few steps."""
    return f"Too few steps: needs {min_steps} recorded steps with finite gradients, the log has {count}{whose}."


def typical_rms(log: Log, segment: Segment, rows: Indices, members: summary.Layers) -> summary.FloatArray:
    """Median over some rows of the root mean square of the non-zero entries of each layer.  # [layers]."""
    return np.median(summary.layer_rms(log, segment.take(rows), members, nonzero=True), axis=0)


def median_loss(segment: Segment, rows: Indices) -> float:
    """Median of the finite losses of some rows, NaN if there is none."""
    loss = segment.steps["loss"][rows]
    return float(np.median(loss[np.isfinite(loss)])) if np.isfinite(loss).any() else np.nan


def layers_finding(
    rule: Rule,
    log: Log,
    segment: Segment,
    rows: Indices,
    suspects: Indices,
    what: str,
    worst: tuple[float, float],
) -> Finding:
    """A finding about some of the layers that are compared, given by position, root suspect first."""
    members = summary.weight_layers(log, segment)
    names = [[*members][position] for position in suspects]
    first, last = segment.steps["step"][rows[[0, -1]]]
    return rule.finding(
        f"The gradient of {listed(names)} {what} (root mean square), steps {first} to {last}.",
        variables=[log.variable_infos[segment.variables[column]].path for name in names for column in members[name]],
        layers=names,
        steps=(first, last),
        value=worst[0],
        threshold=worst[1],
    )


@dataclasses.dataclass(frozen=True)
class Looks:
    """What was seen of one variable at the steps at which a number was taken.

    Args:
        steps: The optimizer calls.  # [looks]
        values: The numbers.  # [looks]
    """

    steps: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


def looks_of(log: Log, statistic: str, otherwise: str, *, beside: str = "") -> dict[int, Looks]:
    """A number that is taken on a schedule, for the variables that have it, by index and in model order.

    Args:
        log: The log.
        statistic: Name of the number.
        otherwise: Why there may be none although it was asked for.
        beside: Another number; where that is there, it is known that there is nothing to take this one of.

    Raises:
        Skip: If there is none.
    """
    require_gradients(log)
    found: dict[int, list[Looks]] = {}
    for segment in log.segments:
        if statistic not in segment.values:
            continue
        known = np.isfinite(segment.values[statistic])
        looked = np.flatnonzero(known.any(axis=1))
        table, steps = segment.values[statistic][looked].astype(np.float64), segment.steps["step"][looked]
        for column in np.flatnonzero(known.any(axis=0)):
            rows = known[looked, column]
            found.setdefault(segment.variables[column], []).append(Looks(steps[rows], table[rows, column]))
    if not found:
        if beside and any(np.isfinite(summary.values(segment, beside)).any() for segment in log.segments):
            return {}
        taken = any(statistic in segment.values for segment in log.segments)
        raise Skip(f"There is no `{statistic}`: {otherwise}." if taken else f"`{statistic}` was not taken.")
    return {index: _in_step_order(found[index]) for index in sorted(found)}


def _in_step_order(parts: list[Looks]) -> Looks:
    steps = np.concatenate([part.steps for part in parts])
    order = np.argsort(steps, kind="stable")
    return Looks(steps[order], np.concatenate([part.values for part in parts])[order])


def activations_of(log: Log) -> dict[str, str]:
    """Keras' name of the activation after each layer that is followed by one that could be seen."""
    return {info.layer: info.activation for info in log.variable_infos if info.activation}


def last_step(log: Log) -> int:
    """The last recorded optimizer call; of a log that has one."""
    return max(int(segment.steps["step"][-1]) for segment in log.segments if segment.num_steps)


def span_of(segments: Iterable[Segment]) -> tuple[int, int] | None:
    """The first and the last recorded step of some segments."""
    steps = [segment.steps["step"] for segment in segments if segment.num_steps]
    return (min(int(s.min()) for s in steps), max(int(s.max()) for s in steps)) if steps else None
