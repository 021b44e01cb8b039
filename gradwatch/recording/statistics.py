"""Statistics of a gradient as pure functions of tensors, computed inside the traced step.

Norms are taken in two ways. The ordinary way is one fused pass, the sum of squares in the gradient's own precision. It
is exact while that sum neither overflows nor underflows. When any sum of the step is not a normal positive number, a
branch computes every statistic anew, scaled by the largest entry, and counts NaN and Inf: so a finite gradient of 1e30
has its true norm and is never taken for an Inf, and a gradient of 1e-25 is never taken for zero.

Under XLA there is no branch: a conditional that takes gradients as operands changes what XLA fuses around them, and
with it the last bits of the weights. There the exact way is taken always; XLA makes one or two fused loops of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

Tensor = Any  # tf.Tensor; TensorFlow ships no types

GRADIENT_STATISTICS = ("grad_norm", "grad_max", "nan_count", "inf_count", "zero_fraction")


def grad_norm(entries: Tensor, size: int) -> Tensor:
    """L2 norm of the gradient, scaled by its largest entry so that no square overflows; NaN or Inf if it has one.

    Args:
        entries: Entries of the gradient `[entries]`, float32 or float64.
        size: Number of entries of the variable, which for a sparse gradient is more.

    Returns:
        A float64 scalar.
    """
    del size
    largest = _largest_finite(entries)
    scale = tf.where(largest > 0, largest, tf.ones_like(largest))
    squares = tf.reduce_sum(tf.square(tf.cast(entries / scale, tf.float64)))
    return tf.cast(scale, tf.float64) * tf.sqrt(squares)


def grad_max(entries: Tensor, size: int) -> Tensor:
    """Largest finite absolute entry, as a float64 scalar; NaN where no entry is finite."""
    del size
    none = tf.logical_not(tf.reduce_any(tf.math.is_finite(entries)))
    largest = tf.cast(_largest_finite(entries), tf.float64)
    return tf.where(none, tf.constant(float("nan"), tf.float64), largest)


def nan_count(entries: Tensor, size: int) -> Tensor:
    """Number of NaN entries, as a float64 scalar."""
    del size
    return _count(tf.math.is_nan(entries))


def inf_count(entries: Tensor, size: int) -> Tensor:
    """Number of infinite entries of either sign, as a float64 scalar."""
    del size
    return _count(tf.math.is_inf(entries))


def zero_fraction(entries: Tensor, size: int) -> Tensor:
    """Share of the entries whose gradient is exactly zero, as a float64 scalar; NaN for an empty variable."""
    nonzero = _count(tf.not_equal(entries, tf.zeros((), entries.dtype)))
    return 1.0 - nonzero / tf.cast(size, tf.float64)


EXACT: dict[str, Callable[[Tensor, int | Tensor], Tensor]] = {
    "grad_norm": grad_norm,
    "grad_max": grad_max,
    "nan_count": nan_count,
    "inf_count": inf_count,
    "zero_fraction": zero_fraction,
}


def entries_of(grad: Tensor) -> Tensor:
    """The entries of a gradient that may differ from zero, each once.

    A sparse gradient may repeat an index; what is applied is the sum of its slices, so repeated slices are summed. That
    is done by sorting, since the number of different indices is unknown when XLA compiles; the embedding table itself
    is never made dense.

    Args:
        grad: A dense tensor or `tf.IndexedSlices`, of any float dtype.

    Returns:
        A flat tensor `[entries]`, float64 for a float64 gradient, else float32.
    """
    if isinstance(grad, tf.IndexedSlices):
        grad = _summed_slices(grad)
    if grad.dtype not in (tf.float32, tf.float64):
        grad = tf.cast(grad, tf.float32)
    return tf.reshape(grad, [-1])


def sums_of_squares(entries: Sequence[Tensor]) -> Tensor:
    """The plain sum of squares of each gradient, one pass each: float64 `[variables]`; not finite on overflow."""
    return 2.0 * _stacked([tf.nn.l2_loss(flat) for flat in entries])


def all_finite(entries: Sequence[Tensor], sums: Tensor | None) -> Tensor:
    """Whether no gradient holds a NaN or an Inf, as a bool scalar.

    Args:
        entries: Flat gradients.
        sums: Their `sums_of_squares`, to look closer only when one overflowed; `None` to look closer at once.
    """

    def look_closer() -> Tensor:
        return tf.reduce_all(tf.stack([tf.reduce_all(tf.math.is_finite(flat)) for flat in entries]))

    if sums is None:
        return look_closer()
    return tf.cond(tf.reduce_all(tf.math.is_finite(sums)), lambda: tf.constant(True), look_closer)


def measure(
    entries: Sequence[Tensor],
    sizes: Sequence[int],
    sums: Tensor | None,
    names: Sequence[str],
) -> Tensor:
    """The named statistics of each gradient.

    Args:
        entries: Flat gradients, one a variable.
        sizes: Sizes of the variables.
        sums: `sums_of_squares(entries)`, or `None` to take the exact way without a branch.
        names: Names out of `GRADIENT_STATISTICS`.

    Returns:
        float64 `[variables, statistics]`.
    """
    if sums is None:
        return tf.stack([_exact_row(flat, size, names) for flat, size in zip(entries, sizes, strict=True)])
    largest = _stacked([_largest(flat) for flat in entries])  # [variables]

    def quickly() -> Tensor:
        quick = {
            "grad_norm": tf.sqrt(sums),
            "grad_max": largest,
            "nan_count": tf.zeros_like(sums),
            "inf_count": tf.zeros_like(sums),
        }
        if "zero_fraction" in names:
            nonzero = tf.stack([tf.math.count_nonzero(flat) for flat in entries])
            quick["zero_fraction"] = 1.0 - tf.cast(nonzero, tf.float64) / tf.constant(sizes, tf.float64)
        return tf.stack([quick[name] for name in names], axis=1)

    def exactly() -> Tensor:
        # A function of its own, traced once: the branch is seldom taken, and must not cost a model of 300 variables
        # thousands of operations to trace.
        rows = {dtype: _exact_function(dtype, tuple(names)) for dtype in {flat.dtype for flat in entries}}
        sized = zip(entries, sizes, strict=True)
        return tf.stack([rows[flat.dtype](flat, tf.constant(size, tf.float64)) for flat, size in sized])

    smallest = tf.where(largest > 0, tf.constant(_SMALLEST_EXACT_SUM, tf.float64), tf.zeros_like(sums))
    return tf.cond(tf.reduce_all(tf.math.is_finite(sums) & (sums >= smallest)), quickly, exactly)


def _exact_row(flat: Tensor, size: int | Tensor, names: Sequence[str]) -> Tensor:
    return tf.stack([EXACT[name](flat, size) for name in names])


@functools.cache
def _exact_function(dtype: Any, names: tuple[str, ...]) -> Any:
    return tf.function(
        lambda flat, size: _exact_row(flat, size, names),
        input_signature=[tf.TensorSpec([None], dtype), tf.TensorSpec([], tf.float64)],
        autograph=False,
    )


# Entries whose squares are below float32's smallest normal number (1.2e-38) are lost from a sum. If the sum is above
# this, what was lost is below its rounding, for up to 1e9 entries.
_SMALLEST_EXACT_SUM = 1e-22


def norm(value: Tensor) -> Tensor:
    """L2 norm of a variable, as a float64 scalar."""
    return grad_norm(entries_of(value), 0)


def norm_of_change(before: Tensor, after: Tensor) -> Tensor:
    """L2 norm of the difference of two values of a variable, as a float64 scalar.

    The difference is taken in float32 at least: that of two numbers of bfloat16 seldom is one.
    """
    return grad_norm(entries_of(tf.convert_to_tensor(after)) - entries_of(tf.convert_to_tensor(before)), 0)


def count_nonfinite(tensors: Sequence[Tensor]) -> Tensor:
    """Number of NaN and Inf entries in all float tensors together, as a float64 scalar."""
    floats = [tensor for tensor in tensors if tensor.dtype.is_floating]
    counts = [_count(tf.logical_not(tf.math.is_finite(tensor))) for tensor in floats]
    return tf.add_n(counts) if counts else tf.zeros((), tf.float64)


def _stacked(scalars: Sequence[Tensor]) -> Tensor:
    """Scalars of float32 and float64 as one float64 vector."""
    if len({scalar.dtype for scalar in scalars}) == 1:
        return tf.cast(tf.stack(scalars), tf.float64)
    return tf.stack([tf.cast(scalar, tf.float64) for scalar in scalars])


def _count(mask: Tensor) -> Tensor:
    return tf.cast(tf.math.count_nonzero(mask), tf.float64)


def _largest(flat: Tensor) -> Tensor:
    """Largest absolute entry of a gradient without NaN, as a scalar; NaN for an empty one."""
    if flat.shape.num_elements() == 0:
        return tf.constant(float("nan"), flat.dtype)
    return tf.reduce_max(tf.abs(flat))


def _largest_finite(flat: Tensor) -> Tensor:
    finite = tf.where(tf.math.is_finite(flat), tf.abs(flat), tf.zeros_like(flat))
    return tf.reduce_max(tf.concat([finite, tf.zeros([1], flat.dtype)], axis=0))


def _summed_slices(grad: Tensor) -> Tensor:
    """The slices of a sparse gradient with those of equal index summed, `[slices, ...]`, the rest filled with zeros."""
    order = tf.argsort(grad.indices)
    indices = tf.gather(grad.indices, order)
    starts = tf.concat([tf.ones_like(indices[:1]), tf.cast(indices[1:] != indices[:-1], indices.dtype)], axis=0)
    values = tf.gather(grad.values, order)
    return tf.math.unsorted_segment_sum(values, tf.cumsum(starts) - 1, tf.shape(indices)[0])
