"""Keeps what a bad step was given where the host finds it: the batch, and weights and random state from before it.

A bad step hands what it holds to variables; that is done by one operation, which a good step passes by. Small weights
of one shape are copied together: to hold each would cost more than the copy.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from gradwatch.recording import keras_seam
from gradwatch.recording.branch import only_if
from gradwatch.recording.buffer import Counters, outside
from gradwatch.recording.held import Caught, Held
from gradwatch.recording.probe import current_graph, raw

Tensor = Any

SMALL = 2**14
"""Entries of a weight up to which it is rather copied, together with others of its shape."""


@dataclasses.dataclass(frozen=True)
class _Place:
    """Room on the device for what one traced step was given.

    Args:
        template: The bad step with types in place of tensors, and without values.
        unpack: Makes the values of what is in the rooms for them.
        batch: A variable for each tensor among its arguments.
        values: A variable for each tensor that is kept of the weights.
        number: Number of the optimizer call and 1, or 0 as long as it is empty.
        branch: The function that fills it, which lives as long as the graph that calls it.
    """

    template: Caught
    unpack: Callable[[list[Tensor]], list[Any]]
    batch: list[tf.Variable]
    values: list[tf.Variable]
    number: Counters
    branch: list[Any]

    def take(self) -> Caught | None:
        """The bad step, if it is here; then the room is free again."""
        number = int(self.number.variable.numpy()[0])
        if not number:
            return None
        batch, values = ([tf.identity(room) for room in rooms] for rooms in (self.batch, self.values))
        for room in (*self.batch, *self.values):
            room.assign(tf.zeros([0], room.dtype))
        self.number.put({0: 0})
        structure = self.template.arguments
        arguments = tf.nest.pack_sequence_as(structure, _leaves(structure, batch), expand_composites=True)
        return dataclasses.replace(self.template, step=number - 1, arguments=arguments, values=self.unpack(values))


class Stash:
    """A bad step of a run: the first one, and then the first one after each time the host asks for another."""

    def __init__(self) -> None:
        self._filled = Counters(1)
        self._inside: Counters | None = None
        self._runs_again = True
        self._places: list[_Place] = []
        self._eager: Caught | None = None
        self._is_filled = False

    def hold(self, function: Any, model: Any, optimizers: dict[str, Any], arguments: Any) -> Held | None:
        """To be called before a step, outside of what XLA compiles; `None` if its variables are on several replicas."""
        own = [] if model is None else model.variables
        trained = [v for o in optimizers.values() if o.built for v in keras_seam.optimizer_variables(o)]
        scalars = [v for o in optimizers.values() for v in o.variables if len(v.shape) == 0]
        variables = {id(variable): variable for variable in map(raw, (*own, *trained, *scalars))}
        if any(isinstance(variable, tf.distribute.DistributedValues) for variable in variables.values()):
            return None
        reads = [(v, tf.raw_ops.ReadVariableOp(resource=v.handle, dtype=v.dtype)) for v in variables.values()]
        return Held(function, model, optimizers, arguments, current_graph(), reads)

    def note(self, number: Tensor, in_function: bool) -> None:
        """To be called for an optimizer call inside of a loop or function within the step, which the step cannot see.

        Args:
            number: Number of the call and 1 if it is bad, else 0, an int64 scalar.
            in_function: Whether it is in a `tf.function` of the user's own.
        """
        self._runs_again &= not in_function
        self._inside = self._inside or Counters(1)
        self._inside.put({0: first_of(self._inside[0], number)})

    def keep(self, held: Held, number: Tensor) -> None:
        """To be called after the step, in the same graph.

        Args:
            held: What `hold` returned.
            number: Number of its first bad optimizer call and 1, or 0 if there was none, an int64 scalar.
        """
        if self._inside is not None:
            number = first_of(number, self._inside[0])
            self._inside.put({0: 0})
        if held.graph is None:
            if not self._is_filled and int(number):
                variables, values = map(list, zip(*held.state(), strict=True))
                self._eager = held.caught(int(number) - 1, held.arguments, variables, values)
                self._is_filled = True
            return
        state = held.state()
        flat = tf.nest.flatten(held.arguments, expand_composites=True)
        tensors, structure = [leaf for leaf in flat if tf.is_tensor(leaf)], kinds_of(held.arguments)
        packed, unpack = _packed([value for _, value in state])
        place = _Place(
            held.caught(-1, structure, [variable for variable, _ in state], []),
            unpack,
            _rooms(tensors),
            _rooms(packed),
            Counters(1),
            [],
        )
        self._places.append(place)

        def save(number: Tensor, *tensors: Tensor) -> Tensor:
            def fill() -> Tensor:
                for room, value in zip((*place.batch, *place.values), tensors, strict=True):
                    room.assign(value)
                place.number.put({0: number})
                self._filled.put({0: 1})
                return tf.constant(True)

            return tf.cond(tf.equal(self._filled[0], 0), fill, lambda: tf.constant(False))

        leave = lambda *given: [tf.constant(False)]  # noqa: E731
        _, kept = only_if(number > 0, lambda *given: [save(*given)], leave, [number, *tensors, *packed])
        place.branch.extend(kept)

    def take(self) -> Caught | None:
        """The bad step that is kept, once."""
        kept = (place.take() for place in self._places)
        found, self._eager = self._eager or next((bad for bad in kept if bad is not None), None), None
        return None if found is None else dataclasses.replace(found, runs_again=self._runs_again)

    def ask_for_another(self) -> None:
        """From now on the next bad step is kept."""
        self._is_filled = False
        self._filled.put({0: 0})


def first_of(number: Tensor, other: Tensor) -> Tensor:
    """The first of two numbers that is not 0."""
    return tf.where(tf.equal(number, 0), other, number)


def kinds_of(arguments: Any) -> Any:
    """The arguments with the type of a tensor in its place."""
    return tf.nest.map_structure(lambda leaf: tf.type_spec_from_value(leaf) if _is_tensor(leaf) else leaf, arguments)


def _is_tensor(leaf: Any) -> bool:
    return tf.is_tensor(leaf) or isinstance(leaf, tf.IndexedSlices | tf.RaggedTensor | tf.SparseTensor)


def _packed(values: list[Any]) -> tuple[list[Tensor], Callable[[list[Tensor]], list[Any]]]:
    """Values as few tensors, small ones of a shape as one; and what makes values of these tensors again."""
    groups: dict[Any, list[int]] = {}
    for position, value in enumerate(values):
        is_small = not isinstance(value, tf.IndexedSlices) and math.prod(value.shape) <= SMALL
        groups.setdefault((value.dtype, *value.shape) if is_small else position, []).append(position)
    packed: list[Tensor] = []
    for members in groups.values():
        first = values[members[0]]
        if isinstance(first, tf.IndexedSlices):
            packed += [first.values, first.indices]
        else:
            packed.append(first if len(members) == 1 else tf.stack([values[position] for position in members]))
    is_sparse = [isinstance(value, tf.IndexedSlices) for value in values]

    def unpack(tensors: list[Tensor]) -> list[Any]:
        left, unpacked = list(tensors), list(is_sparse)
        for members in groups.values():
            tensor = left.pop(0)
            if is_sparse[members[0]]:
                tensor = tf.IndexedSlices(tensor, left.pop(0))
            for position, value in zip(members, [tensor] if len(members) == 1 else tf.unstack(tensor), strict=True):
                unpacked[position] = value
        return unpacked

    return packed, unpack


def _leaves(structure: Any, tensors: Sequence[Tensor]) -> list[Any]:
    """The leaves of a structure, tensors where it has types."""
    left = list(tensors)
    flat = tf.nest.flatten(structure, expand_composites=True)
    return [left.pop(0) if isinstance(leaf, tf.TypeSpec) else leaf for leaf in flat]


def _rooms(tensors: Sequence[Tensor]) -> list[tf.Variable]:
    """For each tensor a variable that takes values of any shape, and is empty."""
    shape, name = tf.TensorShape(None), "gradwatch_stash"
    dtypes = [tensor.dtype for tensor in tensors]
    return outside(lambda: [tf.Variable(tf.zeros([0], d), shape=shape, trainable=False, name=name) for d in dtypes])
