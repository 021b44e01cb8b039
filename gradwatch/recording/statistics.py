"""Statistics of gradients as pure functions of tensors, computed inside the traced step.

All of them take a matrix `[variables, entries]`, with the gradients of some variables as its rows.

Two passes over a gradient are told apart. The first one is the norm, taken at every step, which is finite only if all
entries are. The second one has the largest entry, the zeros, and the exact counts of NaN and Inf; it is taken on a
schedule, and whenever the norm does not tell the truth: where it is not finite, and where the squares of float32
entries overflow or vanish. So a finite gradient of 1e30 has its true norm and is never taken for an Inf, and a
gradient of 1e-25 is never taken for zero.

Under XLA there is no branch: a conditional that takes gradients as operands changes what XLA fuses around them, and
with it the last bits of the weights. There both passes are taken always.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from gradwatch.recording.groups import Group

Tensor = Any  # tf.Tensor; TensorFlow ships no types

GRADIENT_STATISTICS = ("grad_norm", "grad_max", "nan_count", "inf_count", "zero_fraction")


def sum_of_squares(entries: Tensor) -> Tensor:
    """Sum of the squares of each row, accumulated in float64, where no square of a float32 overflows or vanishes.

    Args:
        entries: `[variables, entries]`, float32 or float64.

    Returns:
        float64 `[variables]`.
    """
    return tf.reduce_sum(tf.square(tf.cast(entries, tf.float64)), axis=1)


def grad_norm(entries: Tensor, size: int | Tensor) -> Tensor:
    """L2 norm of each gradient; NaN or Inf if it has one.

    Args:
        entries: Entries of the gradients `[variables, entries]`, float32 or float64.
        size: Number of entries of each variable, which for a sparse gradient is more.

    Returns:
        float64 `[variables]`.
    """
    del size
    if entries.dtype == tf.float32:
        return tf.sqrt(sum_of_squares(entries))
    largest = _largest_finite(entries)
    scale = tf.where(largest > 0, largest, tf.ones_like(largest))
    return scale * tf.sqrt(sum_of_squares(entries / scale[:, tf.newaxis]))


def grad_max(entries: Tensor, size: int | Tensor) -> Tensor:
    """Largest finite absolute entry, float64 `[variables]`; NaN where no entry is finite."""
    del size
    some = tf.reduce_any(tf.math.is_finite(entries), axis=1)
    return tf.where(some, tf.cast(_largest_finite(entries), tf.float64), tf.constant(np.nan, tf.float64))


def nan_count(entries: Tensor, size: int | Tensor) -> Tensor:
    """Number of NaN entries, float64 `[variables]`."""
    del size
    return _count(tf.math.is_nan(entries))


def inf_count(entries: Tensor, size: int | Tensor) -> Tensor:
    """Number of infinite entries of either sign, float64 `[variables]`."""
    del size
    return _count(tf.math.is_inf(entries))


def zero_fraction(entries: Tensor, size: int | Tensor) -> Tensor:
    """Share of the entries whose gradient is exactly zero, float64 `[variables]`; NaN for an empty variable."""
    nonzero = _count(tf.not_equal(entries, tf.zeros((), entries.dtype)))
    return 1.0 - nonzero / tf.cast(size, tf.float64)


EXACT: dict[str, Callable[[Tensor, int | Tensor], Tensor]] = {
    "grad_norm": grad_norm,
    "grad_max": grad_max,
    "nan_count": nan_count,
    "inf_count": inf_count,
    "zero_fraction": zero_fraction,
}


def first_norms(groups: Sequence[Group]) -> Tensor:
    """L2 norm of every gradient, in one pass: float64 `[variables]` in the order of the groups.

    Those of large float32 gradients are taken in float32; see `is_plain`.
    """
    norms = [
        tf.math.reduce_euclidean_norm(tf.cast(group.entries, tf.float64), axis=1)
        if group.is_small or group.entries.dtype == tf.float64
        else tf.reshape(tf.sqrt(tf.cast(2.0 * tf.nn.l2_loss(group.entries), tf.float64)), [1])
        for group in groups
    ]
    return norms[0] if len(norms) == 1 else tf.concat(norms, axis=0)


def is_plain(groups: Sequence[Group], norms: Tensor, loss: Tensor | None = None) -> Tensor:
    """Whether the first norms tell the truth about every gradient, as a bool scalar.

    They do where they are finite, and where none is so small that squares of float32 entries, or those of tiny float64
    entries, were lost.

    Args:
        groups: The gradients.
        norms: Their `first_norms`.
        loss: A scalar that has to be finite too, or `None`.
    """
    total = tf.reduce_sum(norms)
    plain = tf.math.is_finite(total if loss is None else total + tf.cast(loss, tf.float64))
    smallest = np.concatenate([np.full(len(group.positions), _smallest_exact_norm(group)) for group in groups])
    return tf.logical_and(plain, tf.reduce_all(norms >= smallest)) if smallest.any() else plain


def all_finite(groups: Sequence[Group], norms: Tensor | None) -> Tensor:
    """Whether no gradient holds a NaN or an Inf, as a bool scalar.

    Args:
        groups: The gradients.
        norms: Their `first_norms`, to look closer only when one overflowed; `None` to take no branch.
    """

    def look_closer() -> Tensor:
        return tf.reduce_all(tf.stack([tf.reduce_all(tf.math.is_finite(group.entries)) for group in groups]))

    if norms is None:
        return look_closer()
    return tf.cond(tf.math.is_finite(tf.reduce_sum(norms)), lambda: tf.constant(True), look_closer)


def quick(norms: Tensor, names: Sequence[str]) -> Tensor:
    """What the first pass tells of gradients without NaN and Inf, float64 `[statistics * variables]`.

    What it does not tell is NaN.
    """
    known = {"nan_count": 0.0, "inf_count": 0.0}
    rest = [np.full(norms.shape[0], known.get(name, np.nan)) for name in names if name != "grad_norm"]
    # "grad_norm" is the first of the schema.
    parts = [norms] * ("grad_norm" in names) + ([tf.constant(np.concatenate(rest))] if rest else [])
    return parts[0] if len(parts) == 1 else tf.concat(parts, axis=0)


def exact(groups: Sequence[Group], sizes: Sequence[int], names: Sequence[str], *, compiled: bool) -> Tensor:
    """Every named statistic of every gradient, float64 `[statistics * variables]`, statistic by statistic.

    Args:
        groups: The gradients.
        sizes: Number of entries of a variable of each group.
        names: Names out of `GRADIENT_STATISTICS`.
        compiled: Whether XLA compiles it.
    """
    rows = []
    for each, size in zip(groups, sizes, strict=True):
        if compiled:
            rows.append(_exact(each.entries, size, names))
        else:  # the branch is seldom taken, and must not cost hundreds of operations to trace
            rows.append(_exact_function(each.entries.dtype, tuple(names))(each.entries, tf.constant(size, tf.float64)))
    return tf.reshape(rows[0] if len(rows) == 1 else tf.concat(rows, axis=1), [-1])


def _exact(entries: Tensor, size: int | Tensor, names: Sequence[str]) -> Tensor:
    return tf.stack([EXACT[name](entries, size) for name in names])  # [statistics, variables]


@functools.cache
def _exact_function(dtype: Any, names: tuple[str, ...]) -> Any:
    return tf.function(
        lambda entries, size: _exact(entries, size, names),
        input_signature=[tf.TensorSpec([None, None], dtype), tf.TensorSpec([], tf.float64)],
        autograph=False,
    )


def _smallest_exact_norm(group: Group) -> float:
    """Norm above which what was lost of it by underflow is below its rounding, for up to 1e9 entries."""
    if group.entries.dtype == tf.float64:
        return 1e-135
    return 0.0 if group.is_small else 1e-11


def norm(entries: Tensor) -> Tensor:
    """L2 norm of each row of values of variables, float64 `[variables]`."""
    return grad_norm(entries, 0)


def count_nonfinite(tensors: Sequence[Tensor]) -> Tensor:
    """Number of NaN and Inf entries in all float tensors together, as a float64 scalar."""
    floats = [tensor for tensor in tensors if tensor.dtype.is_floating]
    counts = [tf.cast(tf.math.count_nonzero(~tf.math.is_finite(tensor)), tf.float64) for tensor in floats]
    return tf.add_n(counts) if counts else tf.zeros((), tf.float64)


def _count(mask: Tensor) -> Tensor:
    return tf.cast(tf.math.count_nonzero(mask, axis=1), tf.float64)


def _largest_finite(entries: Tensor) -> Tensor:
    """Largest finite absolute entry of each row, 0 where there is none.  # [variables]."""
    finite = tf.where(tf.math.is_finite(entries), tf.abs(entries), tf.zeros_like(entries))
    # The largest of no entries is the smallest number there is.
    return tf.maximum(tf.reduce_max(finite, axis=1), tf.zeros((), entries.dtype))
