"""Which numbers of a run become points of charts, for sinks that draw."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from gradwatch import records, schema, summary
from gradwatch.log import Log, global_norm
from gradwatch.plots.ranking import ranking
from gradwatch.records import Segment, VariableInfo
from gradwatch.sinks.places import Places, Wanted
from gradwatch.sinks.thinning import Thinning

WORST_VARIABLES = 10
WORST_LAYERS = 50
CALLS_BEFORE_RANKING = 50
"""Recorded calls after which the worst are looked for, and then again at each doubling."""

HISTORY_BYTES = 16_000_000
"""Bytes of points that are kept for those who may still get a chart."""

Columns = dict[str, list[float | None]]
"""For each chart its value at each step, `None` for no point."""


@dataclasses.dataclass(frozen=True)
class Point:
    """Values of charts at one step.

    Args:
        step: The optimizer call.
        values: The value by the name of the chart; NaN and Inf are what was found, not what is missing.
    """

    step: int
    values: Mapping[str, float]


class Charts:
    """Makes points of records: a few charts for a run, one a layer, and one a variable for the ten worst.

    - `gradwatch/loss`, `learning_rate`, `loss_scale` and `global_norm`, and where there are any `nan_count` and
      `inf_count`. Of several optimizers each has its own, with its name behind.
    - `gradwatch_layers/LAYER/grad_norm`, the norm of all gradients of the layer together. Of more than 50 layers the 50
      worst have one.
    - `gradwatch_variables/VARIABLE/grad_norm` for the ten worst.

    Worst are those that the report lists first: NaN or Inf, then a gradient of zero, then a typical size furthest from
    that of the other variables. They are looked for after 50 recorded calls and at each doubling. Half of the
    places go to those found at first, the others are kept for what gets there later; what is left at the end goes to
    the worst of the whole run. A chart that was begun goes on, and is begun with the points from before it, so that no
    chart has a hole and there are never more than ten.

    Args:
        variables: "worst", "all", "none", or glob patterns of variables.
        layers: The same for layers.
        every_steps: Each so many recorded calls there is a point; by default ever fewer, see `Thinning`.
        points: Points that a doubling of the run adds by default.

    Raises:
        ValueError: If an option has a value that is not known.
        TypeError: If an option is of the wrong kind.
    """

    def __init__(self, *, variables: Wanted, layers: Wanted, every_steps: int | None, points: int) -> None:
        if every_steps is not None and (isinstance(every_steps, bool) or not hasattr(every_steps, "__index__")):
            raise TypeError(f"`every_steps` must be a whole number or None. Received: every_steps={every_steps!r}.")
        if every_steps is not None and every_steps < 1:
            raise ValueError(f"`every_steps` must be at least 1. Received: every_steps={every_steps}.")
        self._thinning = Thinning(points, every_steps)
        self._layers = Places("layers", layers, WORST_LAYERS)
        self._chosen = Places("variables", variables, WORST_VARIABLES)
        self._variables: tuple[VariableInfo, ...] = ()
        self._history: list[Segment] = []
        self._num_calls = 0
        self._next_ranking = CALLS_BEFORE_RANKING
        self._names: dict[str, str] = {}

    def take(self, segments: Sequence[Segment], variables: Sequence[VariableInfo]) -> list[Point]:
        """The points of new steps, and those of before for charts that begin.

        Args:
            segments: The steps recorded since the last call.
            variables: All variables known by now, in model order.
        """
        self._learn(segments, variables)
        thinned = [part for part in map(self._thinning.thin, segments) if part.num_steps]
        points = _points((part.steps, self._columns(part)) for part in thinned)
        self._num_calls += sum(segment.num_steps for segment in segments)
        if not self._is_open:
            self._history.clear()
            return points
        self._history += thinned
        if sum(part.num_bytes for part in self._history) > HISTORY_BYTES:
            return points + self.rest()
        if self._num_calls >= self._next_ranking:
            self._next_ranking = 2 * self._num_calls
            return points + self._choose(final=False)
        return points

    def rest(self) -> list[Point]:
        """The points of the charts that begin when no more is to come: no place is kept free any longer."""
        points = self._choose(final=True) if self._history else []
        self._history.clear()
        return points

    @property
    def _is_open(self) -> bool:
        return self._layers.are_contested or self._chosen.are_contested

    def _learn(self, segments: Sequence[Segment], variables: Sequence[VariableInfo]) -> None:
        paths = [variable.path for variable in variables]
        if paths != [variable.path for variable in self._variables]:
            self._history = records.repoint(self._history, self._variables, variables)
        self._variables = tuple(variables)
        self._chosen.learn(paths)
        self._layers.learn([variable.layer for variable in variables])
        optimizers = dict.fromkeys(segment.optimizer for segment in segments)
        for optimizer in optimizers:
            # The first one has the plain names if it is alone when the first steps come.
            is_only = not self._names and len(optimizers) == 1
            self._names.setdefault(optimizer, "" if is_only else optimizer)

    def _choose(self, *, final: bool) -> list[Point]:
        table = ranking(Log(self._variables, self._history))
        table = table[table["recorded"] > 0]  # without a gradient there is nothing to draw
        variables = self._chosen.fill(list(table.index), final=final)
        layers = self._layers.fill(list(dict.fromkeys(table["layer"])), final=final)
        return _points((part.steps, self._norms(part, layers, variables)) for part in self._history)

    def _columns(self, segment: Segment) -> Columns:
        layers = {variable.layer for variable in self._variables if variable.layer in self._layers}
        variables = {variable.path for variable in self._variables if variable.path in self._chosen}
        return {**_run(segment, self._names[segment.optimizer]), **self._norms(segment, layers, variables)}

    def _norms(self, segment: Segment, layers: set[str], variables: set[str]) -> Columns:
        norms = segment.values.get("grad_norm")
        if norms is None:
            return {}
        log = Log(self._variables, [segment])
        members = {layer: where for layer, where in summary.layers(log, segment).items() if layer in layers}
        of_layers = summary.layer_norms(log, segment, members).T.tolist() if members else []
        columns: Columns = {
            _name("gradwatch_layers", layer, "grad_norm"): column
            for layer, column in zip(members, of_layers, strict=True)
        }
        for place, index in enumerate(segment.variables):
            path = self._variables[index].path
            if path in variables:
                columns[_name("gradwatch_variables", path, "grad_norm")] = norms[:, place].tolist()
        return columns


def _run(segment: Segment, optimizer: str) -> Columns:
    """The charts of the run as a whole."""
    steps = segment.steps
    columns = {
        "loss": _taken(steps["loss"], steps["nonfinite_loss"].astype(bool) | ~np.isnan(steps["loss"])),
        "learning_rate": _taken(steps["learning_rate"], ~np.isnan(steps["learning_rate"])),
        "loss_scale": _taken(steps["loss_scale"], ~np.isnan(steps["loss_scale"])),
    }
    if "grad_norm" in segment.values:
        columns["global_norm"] = list(global_norm(segment).tolist())
    for name in schema.COUNTS:
        if name in segment.values:
            counts = segment.values[name].sum(axis=1)
            columns[name] = _taken(counts, counts > 0)
    return {_name("gradwatch", name, optimizer): column for name, column in columns.items()}


def _taken(values: npt.NDArray, taken: npt.NDArray[np.bool_]) -> list[float | None]:
    return [value if there else None for value, there in zip(values.tolist(), taken.tolist(), strict=True)]


def _points(parts: Iterable[tuple[Mapping[str, npt.NDArray], Columns]]) -> list[Point]:
    """The points of all steps, in order of step."""
    points = []
    for steps, columns in parts:
        for row, step in enumerate(steps["step"].tolist()):
            values = {name: float(value) for name, column in columns.items() if (value := column[row]) is not None}
            if values:
                points.append(Point(step, values))
    return sorted(points, key=lambda point: point.step)


def _name(*parts: str) -> str:
    return "/".join(part for part in parts if part)
