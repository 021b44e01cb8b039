"""Holds back updates with NaN or Inf: before the optimizer makes them, and inside of the traced step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from gradwatch.recording import probe, replicas, taps
from gradwatch.recording.buffer import HELD, LATCHED, Counters
from gradwatch.recording.probe import Call

Tensor = Any


@dataclasses.dataclass(frozen=True)
class Untrained:
    """Weights that are not trained, as they were before a step.

    Args:
        variables: The variables.
        values: Their values.
        num_held: Number of updates held back before the step.
    """

    variables: list[Any]
    values: list[Tensor]
    num_held: Tensor


class Guard:
    """Lets updates through, or holds them back.

    Args:
        clock: Counters of the run; it latches there, and counts the updates it held back.
        active: Hold back updates with a NaN or Inf; otherwise everything passes.
        latches: After the first such update hold back all that follow.
        max_streak: Latch also when more than so many updates of one optimizer in a row were held back.
    """

    def __init__(self, clock: Counters, *, active: bool, latches: bool, max_streak: int) -> None:
        self.active = active
        self._clock = clock
        self._longest = 0 if latches else max_streak
        self._streaks: dict[str, Counters] = {}

    def start(self) -> None:
        """Begins a run, or another one; what was latched is let go."""
        self._clock.put({LATCHED: 0})
        for streak in self._streaks.values():
            streak.put({0: 0})

    @property
    def num_held(self) -> Tensor:
        """Number of updates held back so far, an int64 scalar."""
        return self._clock[HELD]

    def update(self, call: Call, optimizer: Any, grads: list, apply: Callable[[list], Any]) -> None:
        """Makes the update of a call where it may be made, and notes in the call whether it was.

        Args:
            call: The call, read before the update.
            optimizer: Its optimizer.
            grads: The gradients as the optimizer was given them.
            apply: The optimizer's own `apply`.
        """
        if not call.attached:
            apply(grads)
            return
        own_check = probe.scales_itself(optimizer)
        if not self.active:
            apply(grads)
            call.updated = True
            if own_check:  # with replicas it looks at the gradient of the first one only
                call.applied = call.finite if call.finite_here is None else call.finite_here
            return
        if replicas.is_distributed():
            self._update_replicas(call, own_check, grads, apply)
            return
        # The check has to come before the update here; elsewhere nothing is computed before it that is not needed.
        free = tf.equal(self._clock[LATCHED], 0)
        call.applied = tf.logical_and(free, call.finite)
        if own_check:
            probe.apply_if(free, lambda: apply(grads))
            self._clock.add({HELD: tf.logical_not(free)})
            return
        if call.compiled:
            probe.apply_or_undo(call.applied, optimizer, call.variables, lambda: apply(grads))
        else:  # inside the branch the update must meet the tail of the gradient that it meets without a watch
            probe.apply_if(call.applied, lambda: apply([taps.transplant(grad) for grad in grads]))
        self._clock.add({HELD: tf.logical_not(call.applied)})
        self._latch(call)

    def _update_replicas(self, call: Call, own_check: bool, grads: list, apply: Callable[[list], Any]) -> None:
        if not replicas.is_lead():
            replicas.apply_if(tf.constant(True), apply, grads)  # the first replica decides
            return
        free = tf.equal(self._clock[LATCHED], 0)
        allowed = tf.logical_and(free, call.finite)
        if own_check:  # it has to see a bad gradient of its own, in order to lower its scale
            unseen = tf.logical_and(call.finite_here, tf.logical_not(call.finite))
            replicas.apply_if(tf.logical_and(free, tf.logical_not(unseen)), apply, grads)
        else:
            replicas.apply_if(allowed, apply, grads)
            self._latch(call)
        call.applied = allowed
        self._clock.add({HELD: tf.logical_not(free if own_check else allowed)})

    def remember(self, model: Any) -> Untrained | None:
        """Keeps the weights that a step changes without an optimizer, for `put_back`; `None` where there are none."""
        variables = [] if model is None or not self.active else list(model.non_trainable_weights)
        if not variables:
            return None
        return Untrained(variables, [tf.identity(variable) for variable in variables], self.num_held)

    def put_back(self, untrained: Untrained, *, compiled: bool) -> None:
        """Where an update of the step was held back, undoes what the forward pass did to weights that are not trained.

        Otherwise the moving statistics of a batch normalization would keep the NaN of the batch. With several replicas
        each has to come here.

        Args:
            untrained: What `remember` kept before the step.
            compiled: Whether XLA compiles the step.
        """
        variables, old = untrained.variables, untrained.values

        def was_held() -> Tensor:
            return self.num_held > untrained.num_held

        if replicas.is_distributed():
            replicas.assign_if(was_held, variables, old)
        elif compiled:
            new = [tf.identity(variable) for variable in variables]
            for variable, value in zip(variables, tf.cond(was_held(), lambda: old, lambda: new), strict=True):
                variable.assign(value)
        else:
            pairs = list(zip(variables, old, strict=True))
            probe.apply_if(was_held(), lambda: [variable.assign(value) for variable, value in pairs])

    def _latch(self, call: Call) -> None:
        """Counts the updates held back in a row, and latches at once where that was asked for."""
        if call.optimizer not in self._streaks:
            self._streaks[call.optimizer] = Counters(1)
        streak = self._streaks[call.optimizer]
        length = tf.where(call.finite, tf.zeros((), tf.int64), streak[0] + 1)
        streak.put({0: length})
        too_long = length > self._longest
        self._clock.put({LATCHED: tf.maximum(self._clock[LATCHED], tf.cast(too_long, tf.int64))})
