"""What a step is given: its tensors, their names, and the rows that hold a NaN or an Inf."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

_OF_FIT = ("x", "y", "sample_weight")
_MOST_ROWS = 5


def tensors_in(arguments: Any) -> list[Any]:
    """The tensors among arguments, in the order in which a traced function takes them."""
    return [leaf for leaf in tf.nest.flatten(arguments, expand_composites=True) if tf.is_tensor(leaf)]


def bad_ones(function: Callable[..., Any], arguments: tuple, options: dict[str, Any]) -> str:
    """The inputs with a NaN or Inf, by name, and their rows: "x['age']: rows 1, 7 of the batch of 16"."""
    texts = []
    for name, value in named(function, arguments, options):
        tensors = [tensor for tensor in tensors_in(value) if tensor.dtype.is_floating]
        if not all(np.isfinite(_as_numpy(tensor)).all() for tensor in tensors):
            rows = bad_rows(_as_numpy(tensors[0]), tensors[0].shape[0] if tensors[0].shape.rank else None)
            texts.append(f"{name}: {rows}" if rows else name)
    return "; ".join(texts)


def named(function: Callable[..., Any], arguments: tuple, options: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The inputs of a step with their names, as `fit` calls them, or as the parameters of the function are called."""
    names = _names(function, len(arguments))
    if len(arguments) == 1 and not options:
        (only,) = arguments
        if isinstance(only, tuple | list) and 1 <= len(only) <= len(_OF_FIT):
            names, arguments = _OF_FIT, tuple(only)
    for name, value in (*zip(names, arguments, strict=False), *options.items()):
        yield from _leaves(name, value)


def bad_rows(values: np.ndarray, batch_size: int | None) -> str:
    """Rows of the batch with something bad, where the first dimension is that of the batch."""
    if batch_size is None or values.ndim == 0 or len(values) != batch_size:
        return ""
    rows = np.flatnonzero(~np.isfinite(values.reshape(batch_size, -1)).all(axis=1))
    shown = ", ".join(str(row) for row in rows[:_MOST_ROWS])
    more = f" and {len(rows) - _MOST_ROWS} more" if len(rows) > _MOST_ROWS else ""
    word = "row" if len(rows) == 1 else "rows"
    return f"{word} {shown}{more} of the batch of {batch_size}" if len(rows) else ""


def _names(function: Callable[..., Any], num_arguments: int) -> tuple[str, ...]:
    try:
        names = list(inspect.signature(function).parameters)
    except (ValueError, TypeError):
        names = []
    return (*names[:num_arguments], *(f"argument {number}" for number in range(len(names), num_arguments)))


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(f"{name}[{key!r}]", each)
    elif isinstance(value, tuple | list):
        for number, each in enumerate(value):
            yield from _leaves(f"{name}[{number}]", each)
    else:
        yield name, value


def _as_numpy(tensor: Any) -> np.ndarray:
    return tensor.numpy().astype(np.float64)
