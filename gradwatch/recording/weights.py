"""Norms of the weights and of the update of one call, taken around it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from gradwatch.recording import statistics
from gradwatch.recording.branch import only_if
from gradwatch.recording.groups import stack

Tensor = Any

WEIGHT_STATISTICS = ("weight_norm", "update_norm")


class WeightNorms:
    """Keeps the weights from before an update until what comes after it is known.

    To keep a weight costs a copy of it, so it is done on a schedule.

    Args:
        variables: The variables of the call.
        places: Positions of those with a gradient, by group.
        names: Names out of `WEIGHT_STATISTICS`.
        wanted: Bool scalar: take them at this call; `None` to take them without a branch, at every call.
    """

    def __init__(
        self, variables: Sequence[Any], places: Sequence[Sequence[int]], names: Sequence[str], wanted: Tensor | None
    ) -> None:
        self._members = [[variables[position] for position in each] for each in places]
        self._names = names
        self._wanted = wanted
        self._kept: list[Any] = []
        self._before = self._where_wanted(
            lambda: [stack(members) for members in self._members],
            lambda: [tf.zeros([0, _num_entries(members)], _dtype(members)) for members in self._members],
            [],
        )

    def shares(self, variables: Sequence[Any]) -> bool:
        """Whether a call with these variables changes weights that are kept here."""
        own = {id(variable) for members in self._members for variable in members}
        return any(id(variable) in own for variable in variables)

    @functools.cached_property
    def taken(self) -> Tensor:
        """The norms, float64 `[statistics * variables]`; to be asked for before the weights change once more."""
        num_numbers = len(self._names) * sum(len(members) for members in self._members)
        missing = np.full(num_numbers, np.nan)
        (norms,) = self._where_wanted(self._take, lambda *before: [tf.constant(missing)], self._before)
        norms.set_shape([num_numbers])
        return norms

    def _take(self, *kept: Tensor) -> list[Tensor]:
        parts = []
        if "weight_norm" in self._names:
            parts += [statistics.norm(before) for before in kept]
        if "update_norm" in self._names:
            # In float32 at least: the difference of two numbers of bfloat16 seldom is one.
            after = (stack(members) for members in self._members)
            parts += [statistics.norm(new - old) for old, new in zip(kept, after, strict=True)]
        return [tf.concat(parts, axis=0)]

    def _where_wanted(self, take: Callable[..., Any], leave: Callable[..., Any], given: Sequence[Tensor]) -> Any:
        results, kept = only_if(self._wanted, take, leave, given)
        self._kept.extend(kept)
        return results


def weight_statistics(names: Sequence[str]) -> tuple[str, ...]:
    """Those of the statistics that are taken of weights."""
    return tuple(name for name in names if name in WEIGHT_STATISTICS)


def _num_entries(members: Sequence[Any]) -> int:
    return int(np.prod(members[0].shape, dtype=np.int64))


def _dtype(members: Sequence[Any]) -> Any:
    return tf.float64 if tf.as_dtype(members[0].dtype) == tf.float64 else tf.float32
