"""Holds back updates with NaN or Inf: before the optimizer makes them, and inside of the traced step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from gradwatch.recording import probe, replicas, taps
from gradwatch.recording.buffer import LATCHED, Counters
from gradwatch.recording.probe import Call

Tensor = Any


class Guard:
    """Lets updates through, or holds them back.

    Args:
        clock: Counters of the run; it latches there.
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
        if own_check:
            # With replicas it looks at the gradient of the first one only.
            call.applied = call.finite if call.finite_here is None else call.finite_here
        if not self.active:
            apply(grads)
            return
        if replicas.is_distributed():
            self._update_replicas(call, own_check, grads, apply)
            return
        # The check has to come before the update here; elsewhere nothing is computed before it that is not needed.
        free = tf.equal(self._clock[LATCHED], 0)
        call.applied = tf.logical_and(free, call.finite)
        call.held = tf.logical_not(free if own_check else call.applied)
        if own_check:
            probe.apply_if(free, lambda: apply(grads))
            return
        if call.compiled:
            probe.apply_or_undo(call.applied, optimizer, call.variables, lambda: apply(grads))
        else:  # inside the branch the update must meet the tail of the gradient that it meets without a watch
            probe.apply_if(call.applied, lambda: apply([taps.transplant(grad) for grad in grads]))
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

    def _latch(self, call: Call) -> None:
        """Counts the updates held back in a row, and latches at once where that was asked for."""
        if call.optimizer not in self._streaks:
            self._streaks[call.optimizer] = Counters(1)
        streak = self._streaks[call.optimizer]
        length = tf.where(call.finite, tf.zeros((), tf.int64), streak[0] + 1)
        streak.put({0: length})
        too_long = length > self._longest
        self._clock.put({LATCHED: tf.maximum(self._clock[LATCHED], tf.cast(too_long, tf.int64))})


def put_back(calls: list[Call], before: list[tuple[Any, Tensor]], *, compiled: bool) -> None:
    """Where an update was held back, undoes what the forward pass did to weights that are not trained.

    Otherwise the moving statistics of a batch normalization would keep the NaN of the batch.

    Args:
        calls: The calls of the step.
        before: Weights that are not trained, with their values from before the step.
        compiled: Whether XLA compiles the step.
    """
    held = [call.held for call in calls if call.held is not None]
    if not held or not before:
        return
    any_held = tf.reduce_any(tf.stack(held))
    if not compiled:
        probe.apply_if(any_held, lambda: [variable.assign(value) for variable, value in before])
        return
    old = [value for _, value in before]
    new = [tf.identity(variable) for variable, _ in before]
    for (variable, _), value in zip(before, tf.cond(any_held, lambda: old, lambda: new), strict=True):
        variable.assign(value)
