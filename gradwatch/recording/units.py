"""Units of layers that get no gradient, or all the same one: what the gradient of a bias says of each of them.

The entry of a bias gradient is the sum of what a unit gets from the rows of a batch: it is exactly zero where the unit
gets nothing. A layer without a bias is followed by the columns of its kernel.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from gradwatch.recording.buffer import outside

Tensor = Any

MIN_LOOKS = 10
MAX_LOOKS = 50
"""Least and most successive looks without a gradient after which a unit counts as dead."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """The units of a layer.

    Args:
        position: Position of the variable that tells of them.
        num_units: How many there are.
        is_kernel: Whether it is a kernel, of which the last axis is that of the units.
    """

    position: int
    num_units: int
    is_kernel: bool


def layers_of(paths: Sequence[str], shapes: Sequence[tuple[int, ...]], dense: Sequence[bool]) -> list[Layer]:
    """The layers of which units can be told apart: those with a kernel.

    Args:
        paths: Paths of the variables of a call.
        shapes: Their shapes.
        dense: Whether each has a dense gradient.
    """
    groups: dict[str, list[int]] = {}
    for position, path in enumerate(paths):
        groups.setdefault(path.rpartition("/")[0], []).append(position)
    found = []
    for members in groups.values():
        names = {position: paths[position].rpartition("/")[2].partition("#")[0] for position in members}
        kernels = [p for p in members if "kernel" in names[p] and len(shapes[p]) >= 2 and dense[p]]
        biases = [p for p in members if "bias" in names[p] and dense[p] and len(shapes[p]) >= 1]
        if len(kernels) == 1 and biases:
            found.append(Layer(biases[0], math.prod(shapes[biases[0]]), is_kernel=False))
        elif len(kernels) == 1 and shapes[kernels[0]][-1] > 1:
            found.append(Layer(kernels[0], shapes[kernels[0]][-1], is_kernel=True))
    return [layer for layer in found if layer.num_units]


class Units:
    """Follows the units of the layers of one kind of call; on the device.

    Args:
        layers: The layers.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = list(layers)
        counts = [layer.num_units for layer in layers]
        self._segments = np.repeat(np.arange(len(counts)), counts)
        # The streak of each unit, and last the number of looks.
        self._streaks = outside(
            lambda: tf.Variable(tf.zeros([sum(counts) + 1], tf.int32), trainable=False, name="gradwatch_units")
        )

    def look(self, grads: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Takes the gradients of one call in.

        Args:
            grads: The gradient of the variable of each layer.

        Returns:
            The share of dead units, NaN before `MIN_LOOKS`, and the spread of the gradient between units, each float64
            `[layers]`.
        """
        signed = [_per_unit(grad, layer) for grad, layer in zip(grads, self.layers, strict=True)]
        flat = tf.concat(signed, axis=0)
        looks = self._streaks[-1:] + 1
        streaks = (self._streaks[:-1] + 1) * tf.cast(tf.equal(flat, 0), tf.int32)
        self._streaks.assign(tf.concat([streaks, looks], axis=0))
        needed = tf.clip_by_value(looks // 2, MIN_LOOKS, MAX_LOOKS)
        is_dead = tf.cast(streaks >= needed, tf.float64)
        dead = self._of_layers(tf.math.unsorted_segment_sum, is_dead) / np.array(
            [each.num_units for each in self.layers]
        )
        dead = tf.where(looks >= MIN_LOOKS, dead, tf.constant(np.nan, tf.float64))
        highest = self._of_layers(tf.math.unsorted_segment_max, flat)
        lowest = self._of_layers(tf.math.unsorted_segment_min, flat)
        return dead, (highest - lowest) / tf.maximum(tf.abs(highest), tf.abs(lowest))

    def _of_layers(self, combine: Callable[..., Tensor], numbers: Tensor) -> Tensor:
        """One number of each layer, of those of its units.  # [layers]."""
        return combine(numbers, self._segments, num_segments=len(self.layers))


def _per_unit(grad: Tensor, layer: Layer) -> Tensor:
    """A number for each unit that is zero where all that it gets is, float64 `[units]`."""
    if layer.is_kernel:
        grad = tf.reduce_max(tf.abs(tf.reshape(grad, [-1, layer.num_units])), axis=0)
    return tf.reshape(tf.cast(grad, tf.float64), [-1])
