"""The log of a run: arrays inside, tables made when asked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gradwatch import notebook, records, schema, store
from gradwatch.deferred import Deferred
from gradwatch.records import RunInfo, Segment, VariableInfo

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = Deferred("pandas")

_NUM_SHOWN = 20
"""Variables that a log names where it shows itself in a notebook."""


class Log:
    """Everything that was recorded in a run; every table, plot, rule and report is a function of it.

    Args:
        variables: The trainable variables in model order.
        segments: The recorded steps; segments of the same optimizer and variables are joined.
        info: Facts about the run as a whole.

    >>> Log().frame().empty
    True
    """

    def __init__(
        self,
        variables: Sequence[VariableInfo] = (),
        segments: Sequence[Segment] = (),
        info: RunInfo | None = None,
    ) -> None:
        self._variables = tuple(variables)
        self._segments = records.join(segments)
        self._info = info if info is not None else RunInfo()

    @property
    def info(self) -> RunInfo:
        """Facts about the run as a whole."""
        return self._info

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The recorded steps as arrays, one segment for each optimizer and set of variables."""
        return self._segments

    @property
    def variable_infos(self) -> tuple[VariableInfo, ...]:
        """The trainable variables in model order; segments point into it."""
        return self._variables

    @property
    def num_steps(self) -> int:
        """Number of recorded optimizer calls."""
        return sum(segment.num_steps for segment in self._segments)

    def __len__(self) -> int:
        """Number of records, the rows of `frame()`."""
        return sum(segment.num_records for segment in self._segments)

    def __repr__(self) -> str:
        return f"<gradwatch.Log: {self._extent()}>"

    def _repr_html_(self) -> str:
        rows = self.variables().head(_NUM_SHOWN).to_dict("records")
        norms = self._last_norms()
        every = "every step" if self._info.every_steps == 1 else f"one step in {self._info.every_steps}"
        return notebook.render(
            "log",
            title=f"Log of {self._info.model}" if self._info.model else "Log",
            facts=[self._extent(), f"Recorded at {every}: {', '.join(self._info.statistics)}"],
            rows=[{**row, "norm": norms.get(index)} for index, row in enumerate(rows)],
            more=len(self._variables) - len(rows),
        )

    def _extent(self) -> str:
        steps = [segment.steps["step"] for segment in self._segments if segment.num_steps]
        span = f" ({min(s[0] for s in steps)} to {max(s[-1] for s in steps)})" if steps else ""
        return f"{self.num_steps} steps{span}, {len(self._variables)} variables, {len(self)} records"

    def _last_norms(self) -> dict[int, float]:
        """The norm of the gradient of each variable at its last recorded step, where there is one."""
        having = [segment for segment in self._segments if segment.num_steps and "grad_norm" in segment.values]
        having.sort(key=lambda segment: segment.steps["step"][-1])
        return {
            index: float(norm)
            for segment in having
            for index, norm in zip(segment.variables, segment.values["grad_norm"][-1], strict=True)
        }

    def tail(self, num_steps: int) -> Log:
        """The last `num_steps` recorded calls of each segment; makes no copy."""
        if num_steps < 0:
            raise ValueError(f"`num_steps` must not be negative. Received: num_steps={num_steps}.")
        segments = [segment.take(slice(max(0, segment.num_steps - num_steps), None)) for segment in self._segments]
        return Log(self._variables, segments, self._info)

    def frame(self) -> pd.DataFrame:
        """The tidy table: one row per step and variable, in order of step, then of the model.

        Returns:
            A frame with the columns of `schema.FRAME_COLUMNS`. `optimizer`, `layer` and `variable` are categorical,
            with the categories in model order. A statistic that was not taken is missing (`NaN`, `<NA>` for counts).
        """
        parts = [self._segment_frame(segment) for segment in self._segments if segment.num_records]
        if not parts:
            return self._typed(pd.DataFrame(columns=list(schema.FRAME_COLUMNS)))
        return _in_step_order(parts)

    def layers(self) -> pd.DataFrame:
        """One row per step and layer: what `frame()` has, combined over the variables of the layer.

        Returns:
            A frame with the columns of `frame()` less `variable`. Norms are combined as the root of the sum of squares,
            counts are summed, `grad_max` is the largest, `zero_fraction` is over all entries of the layer, and
            `detached` is true where every variable of the layer is.
        """
        parts = [self._segment_layers(segment) for segment in self._segments if segment.num_records]
        columns = [name for name in schema.FRAME_COLUMNS if name != "variable"]
        if not parts:
            return self._typed(pd.DataFrame(columns=columns))
        return _in_step_order(parts)

    def steps(self) -> pd.DataFrame:
        """One row per optimizer call.

        Returns:
            A frame with the columns of `schema.STEPS_TABLE_COLUMNS`. `global_norm` is the L2 norm of all gradients of
            the call together; `loss` and `loss_scale` are missing where there is none.
        """
        parts = [
            pd.DataFrame(
                {
                    **_step_columns(segment.steps),
                    "optimizer": segment.optimizer,
                    "global_norm": global_norm(segment),
                }
            )
            for segment in self._segments
        ]
        if not parts:
            return self._typed(pd.DataFrame(columns=list(schema.STEPS_TABLE_COLUMNS)))
        table = pd.concat(parts, ignore_index=True).sort_values("step", kind="stable", ignore_index=True)
        return table[list(schema.STEPS_TABLE_COLUMNS)]

    def variables(self) -> pd.DataFrame:
        """One row per trainable variable, in model order.

        Returns:
            A frame with the columns of `schema.VARIABLES_TABLE_COLUMNS`. `optimizer` is missing for a variable that no
            optimizer was ever given, and names all where several were; `detached` is true where every recorded call
            had no gradient for it.
        """
        optimizers: dict[int, list[str]] = {}
        attached: set[int] = set()
        for segment in self._segments:
            attached.update(segment.variables)
            for index in (*segment.variables, *segment.detached):
                names = optimizers.setdefault(index, [])
                if segment.optimizer not in names:
                    names.append(segment.optimizer)
        rows = [
            {
                "variable": variable.path,
                "layer": variable.layer,
                "optimizer": ", ".join(optimizers[index]) if index in optimizers else None,
                "shape": variable.shape,
                "size": variable.size,
                "dtype": variable.dtype,
                "detached": index in optimizers and index not in attached,
                "cut": "; ".join(map(str, variable.cuts)) or None,
            }
            for index, variable in enumerate(self._variables)
        ]
        return pd.DataFrame(rows, columns=list(schema.VARIABLES_TABLE_COLUMNS))

    def wide(self, statistic: str) -> pd.DataFrame:
        """One statistic as a matrix.

        Args:
            statistic: A name out of `schema.VALUE_NAMES`.

        Returns:
            A float frame with index `step` and one column per variable, in model order; missing where a step did not
            have the variable.

        Raises:
            ValueError: If the statistic is unknown.
        """
        if statistic not in schema.VALUE_NAMES:
            raise ValueError(
                f"Unknown statistic. Received: {statistic!r}. Expected one of {', '.join(schema.VALUE_NAMES)}."
            )
        steps = np.concatenate([s.steps["step"] for s in self._segments] or [np.zeros(0, np.int64)])
        table = np.full((len(steps), len(self._variables)), np.nan)  # [steps, variables]
        start = 0
        for segment in self._segments:
            stop = start + segment.num_steps
            if statistic in segment.values:
                table[start:stop, list(segment.variables)] = segment.values[statistic]
            start = stop
        order = np.argsort(steps, kind="stable")
        return pd.DataFrame(
            table[order],
            index=pd.Index(steps[order], name="step"),
            columns=pd.Index([variable.path for variable in self._variables], name="variable"),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the log.

        Args:
            path: A `.parquet` file, or else a run directory, which is made if need be.

        Raises:
            OSError: If it cannot be written.
        """
        store.write(path, self._variables, self._segments, self._info)

    def _segment_frame(self, segment: Segment) -> pd.DataFrame:
        indices = np.array([*segment.variables, *segment.detached], dtype=np.int64)
        order = np.argsort(indices, kind="stable")
        num_steps, width = segment.num_steps, len(indices)
        data = _repeated_steps(segment, width)
        data["optimizer"] = self._labels(np.zeros(num_steps * width, np.int8), [segment.optimizer])
        codes = np.tile(indices[order], num_steps)
        data["variable"] = self._labels(codes, [variable.path for variable in self._variables])
        layers = self._layer_names()
        layer_codes = np.array([layers.index(variable.layer) for variable in self._variables], dtype=np.int64)
        data["layer"] = self._labels(layer_codes[codes], layers)
        for name in schema.STATISTIC_NAMES:
            values = segment.values.get(name)
            data[name] = _column(name, _with_missing(values, len(segment.detached), num_steps, width, order))
        data["detached"] = np.tile((np.arange(width) >= len(segment.variables))[order], num_steps)
        return _uncopied(data)

    def _segment_layers(self, segment: Segment) -> pd.DataFrame:
        layers = self._layer_names()
        indices = np.array([*segment.variables, *segment.detached], dtype=np.int64)
        codes = np.array([layers.index(self._variables[index].layer) for index in indices], dtype=np.int64)
        present = np.unique(codes)
        num_steps, width = segment.num_steps, len(present)
        attached = codes[: len(segment.variables)]
        sizes = np.array([self._variables[index].size for index in segment.variables], dtype=np.float64)
        data = _repeated_steps(segment, width)
        data["optimizer"] = self._labels(np.zeros(num_steps * width, np.int8), [segment.optimizer])
        data["layer"] = self._labels(np.tile(present, num_steps), layers)
        for name in schema.STATISTIC_NAMES:
            table = np.full((num_steps, width), np.nan)  # [steps, layers]
            if name in segment.values:
                for column, code in enumerate(present):
                    members = np.flatnonzero(attached == code)
                    if len(members):
                        table[:, column] = _combine(name, segment.values[name][:, members], sizes[members])
            data[name] = _column(name, table.ravel())
        data["detached"] = np.tile(~np.isin(present, attached), num_steps)
        return _uncopied(data)

    def _layer_names(self) -> list[str]:
        return list(dict.fromkeys(variable.layer for variable in self._variables))

    def _labels(self, codes: npt.NDArray, names: list[str]) -> pd.Categorical:
        return pd.Categorical.from_codes(codes, categories=pd.Index(names, dtype=object))

    @staticmethod
    def _typed(empty: pd.DataFrame) -> pd.DataFrame:
        dtypes = {column.name: column.dtype for column in (*schema.STEP_COLUMNS, *schema.STATISTICS)}
        dtypes |= dict.fromkeys(("optimizer", "layer", "variable"), "category")
        dtypes |= {"detached": "bool", "global_norm": "float64"}
        return empty.astype({name: dtypes[name] for name in empty.columns})


def load(path: str | os.PathLike[str]) -> Log:
    """Reads a log that was written by `Log.save` or by a watch with a `run_dir`.

    Args:
        path: A run directory or a `.parquet` file.

    Returns:
        The log.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        LogFormatError: If what is there is not a log, is damaged, or was written by a newer version.
    """
    variables, segments, info = store.read(path)
    return Log(variables, segments, info)


def global_norm(segment: Segment) -> npt.NDArray[np.float64]:
    """L2 norm of all gradients of a call together; missing where `grad_norm` was not taken.  # [steps]."""
    if "grad_norm" not in segment.values:
        return np.full(segment.num_steps, np.nan)
    return _root_sum_square(segment.values["grad_norm"])


def _root_sum_square(norms: npt.NDArray) -> npt.NDArray[np.float64]:
    """Root of the sum of squares over the last axis, without overflow of the squares."""
    norms = norms.astype(np.float64)
    if norms.shape[1] == 0:
        return np.zeros(norms.shape[0])
    peak = np.max(norms, axis=1, keepdims=True)
    scale = np.where(np.isfinite(peak) & (peak > 0), peak, 1.0)
    return (scale * np.sqrt(np.sum(np.square(norms / scale), axis=1, keepdims=True)))[:, 0]


def _combine(name: str, values: npt.NDArray, sizes: npt.NDArray) -> npt.NDArray:
    """One statistic of several variables `[steps, variables]` as one of their layer `[steps]`."""
    if name.endswith("_norm"):
        return _root_sum_square(values)
    if name in schema.COUNTS:
        return values.sum(axis=1)
    if name == "grad_max":
        return np.fmax.reduce(values, axis=1)
    filled = sizes > 0
    return values[:, filled] @ sizes[filled] / sizes.sum() if filled.any() else np.full(len(values), np.nan)


def _with_missing(
    values: npt.NDArray | None, num_missing: int, num_steps: int, width: int, order: npt.NDArray
) -> npt.NDArray:
    """Values `[steps, attached]` with missing columns for the detached, in model order, made flat."""
    if values is None:
        return np.full(num_steps * width, np.nan)
    if num_missing:
        values = np.concatenate([values, np.full((num_steps, num_missing), np.nan)], axis=1)
    return (values if np.array_equal(order, np.arange(width)) else values[:, order]).ravel()


def _column(name: str, values: npt.NDArray) -> pd.Series | npt.NDArray:
    if name not in schema.COUNTS:
        return values.astype(np.float64)  # a copy: the log's own numbers are not for changing
    if values.dtype.kind != "f":
        return pd.Series(pd.arrays.IntegerArray(values.astype(np.int64), np.zeros(len(values), bool)))
    missing = np.isnan(values)
    counts = np.where(missing, 0, values).astype(np.int64)
    return pd.Series(pd.arrays.IntegerArray(counts, missing))


def _step_columns(steps: dict[str, npt.NDArray]) -> dict[str, pd.Series]:
    dtypes = {column.name: column.dtype for column in schema.STEP_COLUMNS}
    return {name: pd.Series(values).astype(dtypes[name]) for name, values in steps.items()}


def _repeated_steps(segment: Segment, width: int) -> dict[str, object]:
    """Those columns of the steps that a table of records has, each value as often as a step has records."""
    names = [column.name for column in schema.STEP_COLUMNS if column.name in schema.FRAME_COLUMNS]
    columns = _step_columns({name: segment.steps[name] for name in names})
    return {name: np.repeat(column.to_numpy(), width) for name, column in columns.items()}


def _uncopied(data: dict[str, object]) -> pd.DataFrame:
    """A frame of these columns as they are, in the order of the schema; pandas would copy each of them once more."""
    return pd.DataFrame({name: data[name] for name in schema.FRAME_COLUMNS if name in data}, copy=False)


def _in_step_order(parts: list[pd.DataFrame]) -> pd.DataFrame:
    if len(parts) == 1:
        return parts[0]
    for name in ("optimizer", "layer", "variable"):
        if name in parts[0]:
            categories = list(dict.fromkeys(label for part in parts for label in part[name].cat.categories))
            parts = [part.assign(**{name: part[name].cat.set_categories(categories)}) for part in parts]
    return pd.concat(parts, ignore_index=True).sort_values("step", kind="stable", ignore_index=True)
