"""For people who write rules: logs with a known fault, and what a rule finds in them.

>>> from gradwatch.rules import ZeroGradient
>>> log = synthetic_log(zero_fraction={"dense/kernel": 1.0, "dense/bias": 1.0})
>>> [finding.layers for finding in findings_of(ZeroGradient(), log)]
[('dense',)]
>>> findings_of(ZeroGradient(), synthetic_log())
()
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from gradwatch import records, schema
from gradwatch.log import Log
from gradwatch.records import Output, RunInfo, Segment, VariableInfo
from gradwatch.rules.base import Finding, Rule

VARIABLES: dict[str, tuple[int, ...]] = {
    "dense/kernel": (3, 4),
    "dense/bias": (4,),
    "head/kernel": (4, 2),
    "head/bias": (2,),
}
"""The variables of a synthetic log unless told otherwise: two layers, input first."""

_STEP_NAMES = tuple(column.name for column in schema.STEP_COLUMNS)


def synthetic_log(
    *,
    num_steps: int = 60,
    variables: Mapping[str, tuple[int, ...]] | None = None,
    detached: Sequence[str] = (),
    unoptimized: Sequence[str] = (),
    untracked: Sequence[str] = (),
    optimizer: str = "adam",
    info: RunInfo | None = None,
    **values: npt.ArrayLike | Mapping[str, npt.ArrayLike] | None,
) -> Log:
    """A log of a made-up run of one optimizer: healthy but for what is asked.

    A healthy variable has a gradient with root mean square 0.01, nothing in it is zero, NaN or Inf; an update changes
    it by a thousandth, no unit is dead and no activation flat. The loss falls from 1 to 0.5. The model ends without an
    activation, and its loss is the mean squared error to targets between -1 and 1.

    Args:
        num_steps: Number of recorded calls.
        variables: The shape of each variable by path, in model order; `VARIABLES` by default. What stands before the
            last "/" is its layer.
        detached: Those of them that have no gradient.
        unoptimized: Those of them that the optimizer was not given.
        untracked: Those of `unoptimized` that the model does not know either.
        optimizer: Name of the optimizer.
        info: Facts about the run; by default the statistics, the number of variables and how the model ends.
        **values: By the name of a column of the steps or of a statistic. A column: a number, or `[steps]`. A statistic:
            a number, `[steps]` for every variable, `[steps, variables]` for those with a gradient, or a dict from path
            to a number or `[steps]`, for some. `None` for what was not taken. Where `nan_count` or `inf_count` is given
            and `grad_norm` is not, the norm is NaN or Inf there, and 0 where `zero_fraction` is 1.

    Returns:
        The log.

    Raises:
        ValueError: If a name is unknown or a shape does not fit.

    >>> synthetic_log(num_steps=2, grad_norm={"head/bias": [1.0, 2.0]}).wide("grad_norm")["head/bias"].tolist()
    [1.0, 2.0]
    >>> synthetic_log(detached=["head/kernel", "head/bias"]).variables().query("detached")["variable"].tolist()
    ['head/kernel', 'head/bias']
    >>> synthetic_log(gradnorm=1.0)
    Traceback (most recent call last):
        ...
    ValueError: Unknown column 'gradnorm'. Expected names of `schema.STEP_COLUMNS` or `schema.STATISTICS`.
    """
    shapes = VARIABLES if variables is None else dict(variables)
    _require_known([*detached, *unoptimized, *untracked], shapes, "variable", "a path out of `variables`")
    known = (*_STEP_NAMES, *schema.VALUE_NAMES)
    _require_known(values, known, "column", "names of `schema.STEP_COLUMNS` or `schema.STATISTICS`")
    paths = list(shapes)
    attached = [path for path in paths if path not in {*detached, *unoptimized, *untracked}]
    segment = Segment(
        optimizer=optimizer,
        variables=tuple(paths.index(path) for path in attached),
        detached=tuple(index for index, path in enumerate(paths) if path in detached),
        steps=_steps(num_steps, {name: value for name, value in values.items() if name in _STEP_NAMES}),
        values=_statistics(
            num_steps,
            {path: int(np.prod(shapes[path])) for path in attached},
            {name: value for name, value in values.items() if name not in _STEP_NAMES},
        ),
    )
    if info is None:
        info = RunInfo(
            statistics=tuple(segment.values),
            num_trainable=len(paths) - len(untracked),
            output=Output(paths[-1].rpartition("/")[0], "linear", 1, "mean_squared_error", False, -1.0, 1.0),
        )
    infos = [
        VariableInfo(path, path.rpartition("/")[0], tuple(shapes[path]), "float32", tracked=path not in untracked)
        for path in paths
    ]
    return Log(infos, [segment], info)


def merged_log(*logs: Log) -> Log:
    """One log out of several, as of a run with several optimizers.

    Args:
        *logs: The logs. A path that is in several is one variable. Steps are taken as they are; facts about the run are
            those of the first.

    Returns:
        The log.

    >>> discriminator = synthetic_log(variables={"d/kernel": (2, 2)}, optimizer="d", step=range(0, 20, 2), num_steps=10)
    >>> generator = synthetic_log(variables={"g/kernel": (2, 2)}, optimizer="g", step=range(1, 20, 2), num_steps=10)
    >>> merged_log(discriminator, generator).steps()["optimizer"].head(3).tolist()
    ['d', 'g', 'd']
    """
    infos = list({variable.path: variable for log in logs for variable in log.variable_infos}.values())
    places = {variable.path: index for index, variable in enumerate(infos)}
    segments = []
    for log in logs:
        moved = [places[variable.path] for variable in log.variable_infos]
        for segment in log.segments:
            variables, detached = (tuple(moved[i] for i in part) for part in (segment.variables, segment.detached))
            segments.append(dataclasses.replace(segment, variables=variables, detached=detached))
    return Log(infos, segments, logs[0].info if logs else None)


def findings_of(rule: Rule, log: Log) -> tuple[Finding, ...]:
    """What a rule finds in a log, in the order in which it says so.

    Args:
        rule: The rule.
        log: The log to judge.

    Returns:
        Its findings; empty if it judged and found nothing.

    Raises:
        Skip: If the rule cannot judge the log.
    """
    return tuple(rule.check(log))


def _steps(num_steps: int, given: Mapping[str, object]) -> dict[str, npt.NDArray]:
    columns: dict[str, object] = {
        "step": np.arange(num_steps),
        "epoch": 0,
        "batch": np.arange(num_steps),
        "applied": True,
        "loss": np.linspace(1.0, 0.5, num_steps),
        "learning_rate": 1e-3,
        "loss_scale": np.nan,
        "overflow": False,
        "replica": -1,
        "nonfinite_inputs": 0,
    }
    columns |= {name: np.nan if value is None else value for name, value in given.items()}
    if "nonfinite_loss" not in given:
        columns["nonfinite_loss"] = ~np.isfinite(np.asarray(columns["loss"], np.float64)) & (
            given.get("loss") is not None
        )
    return {
        name: _broadcast(name, value, (num_steps,)).astype(records.STEP_DTYPES[name]) for name, value in columns.items()
    }


def _statistics(num_steps: int, sizes: Mapping[str, int], given: Mapping[str, object]) -> dict[str, npt.NDArray]:
    size = np.array([*sizes.values()], dtype=np.float64)
    healthy: dict[str, object] = {
        "grad_norm": np.broadcast_to(0.01 * np.sqrt(size), (num_steps, len(size))),
        "grad_max": 0.03,
        **dict.fromkeys((*schema.COUNTS, "zero_fraction"), 0),
        "weight_norm": 1.0,
        "update_norm": 1e-3,
        "dead_fraction": 0.0,
        "unit_spread": 1.0,
        "saturation": 0.0,
        "input_rms": 1.0,
    }
    table = {
        name: _filled(name, given.get(name, value), value, [*sizes], num_steps)
        for name, value in {**dict.fromkeys(given), **healthy}.items()
        if given.get(name, value) is not None
    }
    if "grad_norm" not in given:
        zero, nan, inf = (table.get(name, np.zeros(1)) for name in ("zero_fraction", *schema.COUNTS))
        norm = np.where(zero == 1, 0, table["grad_norm"])
        table["grad_norm"] = np.where(nan > 0, np.nan, np.where(inf > 0, np.inf, norm))
    counts = schema.COUNTS
    return {
        name: table[name].astype(np.int64 if name in counts else np.float64)
        for name in schema.VALUE_NAMES
        if name in table
    }


def _filled(name: str, value: object, default: object, paths: list[str], num_steps: int) -> npt.NDArray:
    """A statistic as a table `[steps, variables]`."""
    shape = (num_steps, len(paths))
    if not isinstance(value, Mapping):
        array = np.asarray(value, dtype=np.float64)
        return _broadcast(name, array[:, None] if array.ndim == 1 else array, shape)
    _require_known(value, paths, "variable", f"in `{name}` a path that has a gradient")
    table = _broadcast(name, default, shape).copy()
    for path, column in value.items():
        table[:, paths.index(path)] = _broadcast(name, column, (num_steps,))
    return table


def _broadcast(name: str, value: object, shape: tuple[int, ...]) -> npt.NDArray:
    array = np.asarray(value, dtype=np.float64)
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(f"`{name}` does not fit. Received: shape {array.shape}. Expected: {shape}.") from None


def _require_known(names: Iterable[object], known: Collection[object], what: str, expected: str) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"Unknown {what} {name!r}. Expected {expected}.")
