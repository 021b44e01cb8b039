"""Keeps what the first bad step was given: the batch, and the weights and random state from before it.

The copies are made in a branch that only a bad step takes, so a good one pays for a condition and no copy. The branch
has to stand before the update, which therefore waits until all gradients are known: it is worth its price only where
the update waits for them anyway, because a bad one is held back. Weights are copied only if they may have changed again
by the time the host looks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from gradwatch.recording.buffer import STEP, Counters, outside
from gradwatch.recording.probe import Call, apply_if, raw
from gradwatch.recording.step import Step

Tensor = Any


@dataclasses.dataclass(frozen=True)
class BadStep:
    """A step with a NaN or Inf.

    Args:
        step: Number of the optimizer call.
        function: The step as the user wrote it.
        model: The model it trains, or `None`.
        optimizers: Its optimizers by name.
        arguments: What it was given: positional and keyword arguments.
        variables: Variables that the step changed, or that may have changed since.
        values: Their values from before the step.
    """

    step: int
    function: Any
    model: Any
    optimizers: dict[str, Any]
    arguments: tuple[tuple, dict[str, Any]]
    variables: list[Any]
    values: list[Tensor]


@dataclasses.dataclass(frozen=True)
class _Place:
    """Room on the device for what one traced step was given.

    Args:
        template: The bad step with types in place of tensors, and without values.
        batch: A variable for each tensor among its arguments.
        values: A variable for each value.
        number: Number of the optimizer call and 1, or 0 as long as it is empty.
    """

    template: BadStep
    batch: list[tf.Variable]
    values: list[tf.Variable]
    number: Counters

    def take(self) -> BadStep | None:
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
        return dataclasses.replace(self.template, step=number - 1, arguments=arguments, values=values)


class Stash:
    """The first bad step of a run.

    Args:
        clock: Counters of the run.
    """

    def __init__(self, clock: Counters) -> None:
        self.copies_weights = True
        self._clock = clock
        self._filled = Counters(1)
        self._places: list[_Place] = []
        self._eager: BadStep | None = None
        self._is_taken = False

    def remember(self, step: Step) -> None:
        """Notes, before a step, the state that it changes without an optimizer: moving statistics, random state."""
        pairs = [] if step.untrained is None else zip(step.untrained.variables, step.untrained.values, strict=True)
        known = {id(raw(variable)): value for variable, value in pairs}  # what the guard has read already
        state = [] if step.model is None else [raw(variable) for variable in step.model.non_trainable_variables]
        step.state_before = [(v, known[id(v)] if id(v) in known else tf.identity(v)) for v in state]

    def keep(self, step: Step, call: Call) -> None:
        """To be called before the update of a call: keeps what its step was given, if it is the first bad one."""
        trained = [] if step.model is None else step.model.trainable_variables
        trained = [*trained, *call.variables] if self.copies_weights else []
        state = {id(variable): variable for variable, _ in step.state_before}
        own = {id(v): v for v in map(raw, trained) if id(v) not in state}
        variables = [*state.values(), *own.values()]
        num_before = len(step.calls)

        def values() -> list[Tensor]:
            return [*(value for _, value in step.state_before), *(tf.identity(variable) for variable in own.values())]

        if tf.executing_eagerly():
            if not self._is_taken and self._eager is None and not bool(call.finite):
                number = int(self._clock[STEP]) + num_before
                self._eager = _bad_step(step, number, step.arguments, variables, values())
            return
        tensors, structure = _parts_of(step.arguments)
        place = _Place(
            _bad_step(step, -1, structure, variables, []),
            [_room(tensor.dtype) for tensor in tensors],
            [_room(variable.dtype) for variable in variables],
            Counters(1),
        )
        self._places.append(place)

        def save() -> None:
            for room, value in zip((*place.batch, *place.values), (*tensors, *values()), strict=True):
                room.assign(value)
            place.number.put({0: self._clock[STEP] + num_before + 1})
            self._filled.put({0: 1})

        apply_if(tf.logical_and(tf.logical_not(call.finite), tf.equal(self._filled[0], 0)), save)

    def take(self) -> BadStep | None:
        """The first bad step, once; what comes after it is not kept."""
        if self._is_taken:
            return None
        kept = (place.take() for place in self._places)
        found = self._eager or next((bad for bad in kept if bad is not None), None)
        if found is not None:
            self._is_taken = True
            self._eager = None
            self._places.clear()
        return found


def _bad_step(step: Step, number: int, arguments: Any, variables: list[Any], values: list[Tensor]) -> BadStep:
    return BadStep(number, step.function, step.model, step.optimizers, arguments, variables, values)


def _parts_of(arguments: Any) -> tuple[list[Tensor], Any]:
    """The tensors among the arguments, and the arguments with the type of a tensor in its place."""
    flat = tf.nest.flatten(arguments, expand_composites=True)
    types = tf.nest.map_structure(lambda leaf: tf.type_spec_from_value(leaf) if _is_tensor(leaf) else leaf, arguments)
    return [leaf for leaf in flat if tf.is_tensor(leaf)], types


def _is_tensor(leaf: Any) -> bool:
    return tf.is_tensor(leaf) or isinstance(leaf, tf.IndexedSlices | tf.RaggedTensor | tf.SparseTensor)


def _leaves(structure: Any, tensors: Sequence[Tensor]) -> list[Any]:
    """The leaves of a structure, tensors where it has types."""
    left = list(tensors)
    flat = tf.nest.flatten(structure, expand_composites=True)
    return [left.pop(0) if isinstance(leaf, tf.TypeSpec) else leaf for leaf in flat]


def _room(dtype: Any) -> tf.Variable:
    """A variable that takes values of any shape, and is empty."""
    return outside(
        lambda: tf.Variable(tf.zeros([0], dtype), shape=tf.TensorShape(None), trainable=False, name="gradwatch_stash")
    )
