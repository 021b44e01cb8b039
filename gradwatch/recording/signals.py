"""What rules need beside the gradients of a call: units, activations, inputs of layers, and how the model ends.

It is taken on a schedule, all in one branch, which a step that is not looked at passes by. What the forward pass made
is read in a traced step that XLA does not compile: under XLA the readers would change how the step is compiled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from gradwatch.recording.branch import only_if
from gradwatch.recording.probe import Call, raw
from gradwatch.recording.units import Units, layers_of
from gradwatch.recording.variables import describe
from gradwatch.schema import SIGNAL_NAMES
from gradwatch.tracing import forward

Tensor = Any

FLAT = 0.01
"""Share of its largest slope below which an activation counts as flat."""


class Signals:
    """The signals of one kind of call.

    Args:
        call: A call of that kind.
        names: Those of `SIGNAL_NAMES` that are wanted.
    """

    def __init__(self, call: Call, names: Sequence[str]) -> None:
        self.names = [name for name in SIGNAL_NAMES if name in names]
        self._positions = list(call.attached)
        paths = [describe(call.variables[position]).path for position in self._positions]
        shapes = [tuple(call.variables[position].shape) for position in self._positions]
        dense = [not isinstance(call.given[position], tf.IndexedSlices) for position in self._positions]
        self._units = Units(layers_of(paths, shapes, dense))
        self._kept: list[Any] = []

    def taken(self, call: Call, wanted: Tensor | None) -> Tensor:
        """The signals of a call and the range of its targets, float64 `[signals * variables + 2]`; NaN for none.

        Args:
            call: The call.
            wanted: Bool scalar: take them at this call; `None` for at every call.
        """
        num_numbers = len(self.names) * len(self._positions) + 2
        if call.nested:
            return tf.constant(np.full(num_numbers, np.nan))
        units = [call.grads[self._positions[layer.position]] for layer in self._units.layers]
        uses = [] if call.uses is None else [call.uses[position] for position in self._positions]
        activations = [(place, use.activation) for place, use in enumerate(uses) if use and use.activation is not None]
        inputs = [(place, use.given) for place, use in enumerate(uses) if use and use.given.dtype.is_floating]
        targets = [] if call.targets is None else [call.targets]
        first, second = len(units), len(units) + len(activations)
        third = second + len(inputs)

        def take(*given: Tensor) -> list[Tensor]:
            table = dict.fromkeys(SIGNAL_NAMES, self._missing())
            if units:
                dead, spread = self._units.look(given[:first])
                places = [layer.position for layer in self._units.layers]
                table["dead_fraction"], table["unit_spread"] = self._spread(places, dead), self._spread(places, spread)
            if activations:
                kinds = [tensor.op.type for _, tensor in activations]
                shares = [_flat_share(t, kind) for t, kind in zip(given[first:second], kinds, strict=True)]
                table["saturation"] = self._spread([place for place, _ in activations], tf.stack(shares))
            if inputs:
                sizes = tf.stack([_rms(tensor) for tensor in given[second:third]])
                table["input_rms"] = self._spread([place for place, _ in inputs], sizes)
            return [tf.concat([*(table[name] for name in self.names), _range(given[third:])], axis=0)]

        def leave(*given: Tensor) -> list[Tensor]:
            return [tf.constant(np.full(num_numbers, np.nan))]

        arguments = [*units, *(tensor for _, tensor in (*activations, *inputs)), *targets]
        (signals,), kept = only_if(wanted, take, leave, arguments)
        self._kept.extend(kept)
        signals.set_shape([num_numbers])
        return signals

    def _missing(self) -> Tensor:
        return tf.constant(np.full(len(self._positions), np.nan))

    def _spread(self, places: list[int], numbers: Tensor) -> Tensor:
        """Numbers at their places among the variables, NaN elsewhere."""
        order = np.full(len(self._positions), len(places))
        order[places] = np.arange(len(places))
        return tf.gather(tf.concat([numbers, tf.constant([np.nan], tf.float64)], axis=0), order)


def uses_of(call: Call, graph: Any) -> list[forward.Use | None]:
    """How the traced step uses the variables of a call."""
    return forward.uses_of(graph, [raw(variable) for variable in call.variables])


def _flat_share(activation: Tensor, kind: str) -> Tensor:
    """Share of the entries at which the slope is next to nothing, a float64 scalar."""
    values = tf.cast(activation, tf.float32)
    slope = 4.0 * values * (1.0 - values) if kind == "Sigmoid" else 1.0 - tf.square(values)
    return tf.reduce_mean(tf.cast(slope < FLAT, tf.float64))


def _range(tensors: Sequence[Tensor]) -> Tensor:
    """The smallest and the largest entry of at most one tensor, float64 `[2]`."""
    if not tensors:
        return tf.constant([np.nan, np.nan], tf.float64)
    numbers = tf.cast(tensors[0], tf.float64)
    return tf.stack([tf.reduce_min(numbers), tf.reduce_max(numbers)])


def _rms(tensor: Tensor) -> Tensor:
    return tf.cast(tf.sqrt(tf.reduce_mean(tf.square(tf.cast(tensor, tf.float32)))), tf.float64)
