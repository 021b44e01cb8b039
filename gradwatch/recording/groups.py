"""Gradients of one shape side by side, so that a statistic of all of them costs few operations.

A step of a small model takes as long as its operations take to be started, not as the numbers in them. So small tensors
of equal shape are stacked and reduced together: 300 variables of 4 shapes cost 4 reductions, not 300. Large ones stand
alone and are never copied.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

Tensor = Any

LARGEST_STACKED = 4096
"""Entries above which a tensor stands alone: reading it takes longer than starting an operation."""


@dataclasses.dataclass(frozen=True)
class Group:
    """Tensors of one shape and dtype.

    Args:
        positions: Their places among the tensors that were grouped.
        entries: `[tensors, entries]`, float32 or float64; of a sparse gradient only the rows that it has.
    """

    positions: tuple[int, ...]
    entries: Tensor

    @property
    def is_small(self) -> bool:
        """Whether the entries are so few that exactness costs next to nothing."""
        return (self.entries.shape[1] or LARGEST_STACKED) <= LARGEST_STACKED


def group(tensors: Sequence[Tensor | None]) -> list[Group]:
    """Groups the tensors that are there.

    Args:
        tensors: Dense tensors or `tf.IndexedSlices` of any float dtype, and `None`.
    """
    return [Group(tuple(places), stack([tensors[place] for place in places])) for places in places_of(tensors)]


def places_of(tensors: Sequence[Tensor | None]) -> list[list[int]]:
    """The places of the tensors that are there, by the groups that they will be put in."""
    together: dict[tuple, list[int]] = {}
    for position, tensor in enumerate(tensors):
        if tensor is not None:
            together.setdefault(_kind(tensor, position), []).append(position)
    return list(together.values())


def stack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors of one shape as the rows of a matrix `[tensors, entries]`, in float32 at least."""
    if len(tensors) > 1:
        rows = tf.stack([tf.convert_to_tensor(tensor) for tensor in tensors])
    else:
        (only,) = tensors
        rows = summed_slices(only) if isinstance(only, tf.IndexedSlices) else tf.convert_to_tensor(only)
    if rows.dtype not in (tf.float32, tf.float64):
        rows = tf.cast(rows, tf.float32)
    # -1 cannot be told where there are no entries.
    num_entries = rows.shape.num_elements()
    return tf.reshape(rows, [len(tensors), -1 if num_entries is None else num_entries // len(tensors)])


def summed_slices(grad: Tensor) -> Tensor:
    """The slices of a sparse gradient with those of equal index summed, `[slices, ...]`, the rest filled with zeros.

    What is applied is the sum of slices that repeat an index. They are summed by sorting, since the number of different
    indices is unknown when XLA compiles; the embedding table itself is never made dense.
    """
    order = tf.argsort(grad.indices)
    indices = tf.gather(grad.indices, order)
    starts = tf.concat([tf.ones_like(indices[:1]), tf.cast(indices[1:] != indices[:-1], indices.dtype)], axis=0)
    values = tf.gather(grad.values, order)
    return tf.math.unsorted_segment_sum(values, tf.cumsum(starts) - 1, tf.shape(indices)[0])


def _kind(tensor: Tensor, position: int) -> tuple:
    """What tensors share that are stacked; the position for those that stand alone."""
    num_entries = None if isinstance(tensor, tf.IndexedSlices) else tensor.shape.num_elements()
    if num_entries is None or num_entries > LARGEST_STACKED:
        return (position,)
    return (tensor.dtype, *tensor.shape)
