"""The first bad step of a run, kept on disk: the batch, and the weights and the random state from before it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gradwatch import store
from gradwatch.causes import Cause
from gradwatch.store import StoredArray

Rows = tuple[npt.NDArray, npt.NDArray]
"""Indices `[rows]` and values `[rows, ...]` of some rows of a variable."""


@dataclasses.dataclass(frozen=True)
class BadStep:
    """A step with a NaN or Inf.

    Args:
        step: Number of the optimizer call (0-based).
        epoch: Epoch it was in, -1 if there is none.
        cause: What made the first NaN or Inf, if that was found out.
        arguments: What the step was called with, tensors as NumPy arrays.
        options: What it was called with by name.
        variables: Path and value of each variable of the model from just before the step, in model order: weights,
            moving statistics, the state of random generators. Of a table with sparse gradients only the rows that the
            batch uses, as a pair of indices and values.
        optimizer: Path and value of the optimizers' scalars: iterations, learning rate, loss scale.
    """

    step: int
    epoch: int
    cause: Cause | None
    arguments: tuple
    options: dict[str, Any]
    variables: tuple[tuple[str, npt.NDArray | Rows], ...]
    optimizer: tuple[tuple[str, npt.NDArray], ...]

    @property
    def batch(self) -> Any:
        """The batch as the step got it: in `fit` usually `(x, y)` or `(x, y, sample_weight)`."""
        return self.arguments[0] if len(self.arguments) == 1 else self.arguments

    def restore(self, model: Any) -> None:
        """Puts a model back to the moment before the step.

        The state of the random generators is put back too, and of the optimizer its scalars; momenta are not kept.
        Variables are told by their paths, or by their order if the model has others, as Keras numbers what is made
        twice in a program.

        Args:
            model: The model that was trained, or one made by the same code; it must be built.

        Raises:
            ValueError: If the model has other variables; nothing is changed then.
        """
        pairs = _matched(model.variables, self.variables)
        misfits = [_misfit(variable, path, value) for variable, (path, value) in pairs]
        if any(misfits):
            raise ValueError(
                f"The model {model.name!r} is not the one that was trained. Received: a model with "
                f"{'; '.join(filter(None, misfits))}. Make it by the same code, and call it once if it is not built."
            )
        scalars = [v for v in getattr(getattr(model, "optimizer", None), "variables", ()) if len(v.shape) == 0]
        for variable, (_, value) in (*pairs, *_matched(scalars, self.optimizer)):
            if variable is not None:
                _assign(variable, value)

    def __repr__(self) -> str:
        what = f", {self.cause}" if self.cause else ""
        return f"<BadStep: step {self.step}, {len(self.variables)} variables{what}>"


def load_bad_step(run_dir: str | os.PathLike[str], step: int | None = None) -> BadStep:
    """Reads a bad step from a run directory.

    Args:
        run_dir: The run directory.
        step: Which one, as a number of an optimizer call; by default the first one. Kept are the first one, and the
            first one of each further origin.

    Returns:
        The bad step. Reading one with ragged or sparse tensors loads TensorFlow.

    Raises:
        FileNotFoundError: If there is no run, or it has no bad step.
        ValueError: If there is no bad step of that number.
        LogFormatError: If it is damaged, or was written by a newer version.

    Example:
    ```python
    bad = gradwatch.load_bad_step("runs/today")
    bad.restore(model)
    x, y = bad.batch
    print(gradwatch.check_gradients(model, x, y))
    ```
    """
    steps = store.bad_steps(run_dir)
    if not steps:
        raise FileNotFoundError(
            f"There is no bad step. Received: {os.fspath(run_dir)!r}. One is kept at the first NaN or Inf of a run "
            "with a `run_dir`, unless `save_bad_step=False`."
        )
    if step is not None and step not in steps:
        raise ValueError(f"There is no bad step of that number. Received: step={step}. Expected one of {steps}.")
    about, arrays = store.read_bad_step(run_dir, steps[0] if step is None else step)
    given = [array.values for array in arrays if array.role == "argument"]
    indices = {array.name: array.values for array in arrays if array.role == "indices"}
    variables = [
        (array.name, (indices[array.name], array.values) if array.role == "rows" else array.values)
        for array in arrays
        if array.role in ("variable", "rows")
    ]
    arguments, options = _decoded(about["arguments"], given)
    return BadStep(
        step=about["step"],
        epoch=about["epoch"],
        cause=None if about["cause"] is None else store.cause_of(about["cause"]),
        arguments=arguments,
        options=options,
        variables=tuple(variables),
        optimizer=tuple((array.name, array.values) for array in arrays if array.role == "optimizer"),
    )


def encoded(arguments: Any) -> tuple[Any, list[StoredArray]]:
    """Arguments of a step as JSON, and the arrays that it points to.

    Tensors are told by what they have (`numpy`, `flat_values`, `dense_shape`), so that nothing has to load TensorFlow.
    What is neither a tensor nor plain data is left out, and comes back as `None`.
    """
    arrays: list[StoredArray] = []

    def keep(tensor: Any) -> int:
        arrays.append(StoredArray("argument", str(len(arrays)), _as_numpy(tensor)))
        return len(arrays) - 1

    def encode(value: Any) -> Any:
        if isinstance(value, dict):
            return {"dict": [[key if isinstance(key, str | int) else str(key), encode(v)] for key, v in value.items()]}
        if isinstance(value, tuple | list):
            return {"tuple" if isinstance(value, tuple) else "list": [encode(each) for each in value]}
        if hasattr(value, "flat_values"):
            return {"ragged": [keep(value.flat_values), *map(keep, value.nested_row_splits)]}
        if hasattr(value, "dense_shape"):
            return {"sparse": [keep(value.indices), keep(value.values), keep(value.dense_shape)]}
        if hasattr(value, "numpy") or isinstance(value, np.ndarray | np.generic):
            return {"tensor": keep(value)}
        return {"value": value if isinstance(value, str | int | float | bool) else None}

    return encode(arguments), arrays


def _as_numpy(tensor: Any) -> npt.NDArray:
    """The entries; text as bytes objects, as TensorFlow has it."""
    values = tensor.numpy() if hasattr(tensor, "numpy") else tensor
    values = np.asarray(values, object if isinstance(values, bytes) else None)
    if values.dtype.kind == "U":
        values = np.char.encode(values, "utf-8")
    return values.astype(object) if values.dtype.kind == "S" else values


def _decoded(encoding: Any, arrays: Sequence[npt.NDArray]) -> Any:
    ((kind, content),) = encoding.items()
    if kind == "dict":
        return {key: _decoded(value, arrays) for key, value in content}
    if kind in ("tuple", "list"):
        values = [_decoded(each, arrays) for each in content]
        return tuple(values) if kind == "tuple" else values
    if kind == "tensor":
        return arrays[content]
    if kind == "value":
        return content
    import tensorflow as tf

    parts = [arrays[number] for number in content]
    if kind == "sparse":
        return tf.SparseTensor(*parts)
    return tf.RaggedTensor.from_nested_row_splits(parts[0], parts[1:])


def _matched(variables: Sequence[Any], values: Sequence[tuple[str, Any]]) -> list[tuple[Any, tuple[str, Any]]]:
    """The variable for each path and value, or `None`: by path, or else by order."""
    paths = [variable.path for variable in variables]
    if sorted(paths) != sorted(path for path, _ in values) and len(variables) == len(values):
        return list(zip(variables, values, strict=True))
    left = list(variables)  # Keras lets layers share a name: each is taken once
    matched = []
    for path, value in values:
        variable = next((variable for variable in left if variable.path == path), None)
        left = [other for other in left if other is not variable]
        matched.append((variable, (path, value)))
    return matched


def _misfit(variable: Any, path: str, value: Any) -> str:
    if variable is None:
        return f"no variable {path!r}"
    shape, expected = tuple(variable.shape), value[1].shape if isinstance(value, tuple) else value.shape
    fits = shape[1:] == expected[1:] if isinstance(value, tuple) else shape == expected
    return "" if fits else f"{path!r} of shape {shape}, expected {expected}"


def _assign(variable: Any, value: npt.NDArray | Rows) -> None:
    if isinstance(value, tuple):
        indices, rows = value
        value = np.array(variable.numpy())
        value[indices] = rows
    variable.assign(value)
