"""Watches the steps of a run: puts probes on the optimizers, turns every call into a row, and drains the rows.

All state that must survive between steps is on the device (the clock, and one row buffer for each set of variables);
the host only says which epoch it is, and copies rows now and then.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from gradwatch.errors import own_failures
from gradwatch.recording import keras_seam, replicas, taps
from gradwatch.recording import probe as probes
from gradwatch.recording.around import AroundStep
from gradwatch.recording.asking import CutSearch, Finder
from gradwatch.recording.attachment import Attachment
from gradwatch.recording.buffer import ALARMS, BATCH, EPOCH, LATCHED, STEP, TICK
from gradwatch.recording.ending import compared_in, look_forward
from gradwatch.recording.guard import Guard
from gradwatch.recording.held import Caught
from gradwatch.recording.ledger import Ledger
from gradwatch.recording.probe import Call
from gradwatch.recording.stash import Stash, first_of
from gradwatch.recording.step import Step, loss_in, tensors_in
from gradwatch.recording.tapes import Tapes
from gradwatch.recording.variables import VariableTable
from gradwatch.recording.wrap import Compile, wrap
from gradwatch.records import Output, Segment

Tensor = Any
Optimizers = Callable[[], dict[str, Any]]

NESTED_CAPACITY = 1024
"""Rows kept for an optimizer that is called inside a loop, of which nobody knows how often it runs."""


class Recorder:
    """Records the optimizer calls of watched steps.

    Args:
        statistics: Names of the statistics to take.
        every_steps: Record each N-th call of an optimizer; calls with NaN or Inf are recorded all the same.
        detailed_every: Take the statistics that cost more than one pass at each N-th recorded call.
        sampled_every: Take what needs a copy of a weight, or is no gradient at all, at each N-th recorded call.
        samples_compiled: Copy weights under XLA too.
        counts_alarms: Count the bad calls for `alarms`.
        guards: Hold back updates with a NaN or Inf.
        latches: After the first such update hold back all that follow.
        max_streak: Latch also when more than so many updates of one optimizer in a row were held back.
        applies: Make the updates; otherwise the optimizers are never called.
        keeps_bad_step: Keep what the first bad step was given, for `bad_step`.
        on_call: Given each call of an optimizer while it is traced: the step, the gradients and the variables.
        find_cuts: Asked where the path to some variables is cut, while the graph is as it was when they were applied.
        on_all_detached: Given the optimizer's name and its variables, makes the error to raise in place of Keras' own
            when no variable has a gradient.
    """

    def __init__(
        self,
        *,
        statistics: tuple[str, ...],
        every_steps: int = 1,
        detailed_every: int = 1,
        sampled_every: int = 1,
        samples_compiled: bool = True,
        counts_alarms: bool = True,
        guards: bool = False,
        latches: bool = False,
        max_streak: int = 10,
        applies: bool = True,
        keeps_bad_step: bool = False,
        on_call: Callable[[Step, list[Any], list[Any]], None] | None = None,
        find_cuts: Finder | None = None,
        on_all_detached: Callable[[str, list[Any]], Exception] | None = None,
    ) -> None:
        self.table = VariableTable()
        self.num_trainable: int | None = None
        self.num_calls_traced = 0
        self.has_nested_calls = False
        self._ending: Output | None = None
        self._ledger = Ledger(
            statistics, every_steps, detailed_every, sampled_every, samples_compiled, counts_alarms, self.table
        )
        self._clock = self._ledger.clock
        self._guard = Guard(self._clock, active=guards, latches=latches, max_streak=max_streak)
        self._applies = applies
        self._on_call = on_call
        self._cuts = None if find_cuts is None else CutSearch(find_cuts, self.table, self._inside)
        self._on_all_detached = on_all_detached
        self._stash = Stash() if keeps_bad_step else None
        self._local = threading.local()
        self._outer: Step | None = None
        self._attachment = Attachment(self._on_apply, self._saw_loss, self._tapes)

    @property
    def _step(self) -> Step | None:
        """The step of this thread, for the replicas of a strategy run side by side, or else the one they run in."""
        return getattr(self._local, "step", None) or self._outer

    def start(self, steps_at_once: int = 1) -> None:
        """Begins a run, or another one after everything is drained; what was latched is let go.

        Args:
            steps_at_once: Most steps that run between two looks of the host, apart from those between drains.
        """
        self._ledger.reserve(steps_at_once)
        self._clock.put({ALARMS: 0})
        self._guard.start()

    def start_at(self, step: int) -> None:
        """Has the device count on from a step, before the first one is run."""
        self._clock.put({STEP: step})

    def start_epoch(self, epoch: int) -> None:
        """Tells the device which epoch begins."""
        self._clock.put({EPOCH: epoch, BATCH: 0})

    def alarms(self) -> tuple[int, bool]:
        """Number of bad calls since `start`, and whether updates are latched off; reads a few numbers."""
        counters = self._clock.variable.numpy()
        return int(counters[ALARMS]), bool(counters[LATCHED])

    @property
    def output(self) -> Output | None:
        """How the model ends, with the range of what was drained of the targets; `None` where it is not known."""
        if self._ending is None:
            return None
        lowest, highest = (None if math.isnan(bound) else bound for bound in self._ledger.targets)
        return dataclasses.replace(self._ending, target_min=lowest, target_max=highest)

    def bad_step(self) -> Caught | None:
        """What the first bad step was given, once; to be asked when a bad step was drained."""
        return None if self._stash is None else self._stash.take()

    def ask_for_another(self) -> None:
        """Keeps the next bad step too."""
        if self._stash is not None:
            self._stash.ask_for_another()

    def drain(self) -> list[Segment]:
        """Copies what was recorded since the last time to the host, in one copy."""
        return self._ledger.drain()

    def watched(
        self,
        step: Callable[..., Any],
        *,
        model: Any,
        optimizers: Optimizers,
        active: Callable[[], bool],
        compile_it: Compile | None = None,
    ) -> Callable[..., Any]:
        """The step with recording built in.

        Args:
            step: The step as the user wrote it.
            model: The model it trains, or `None`.
            optimizers: Gives the optimizers by name; asked each time the step is traced.
            active: Whether to record; asked each time the step is traced, or run eagerly.
            compile_it: Has the watched step compiled by XLA, within the function that is returned.

        Returns:
            A function to be used, traced or not, in place of `step`.
        """
        around = AroundStep(self, self._stash, step, model, optimizers, active, compile_it is not None)
        return wrap(step, around, compile_it)

    def begin(self, step: Step | None, optimizers: dict[str, Any]) -> None:
        """Begins a step; from here on its optimizers are watched. `None` is for one that is not recorded."""
        self._local.step = step
        if not replicas.is_distributed():
            self._outer = step
        if step is None:
            return
        self._attachment.put_on(step.model, optimizers)
        with own_failures("reading the batch"):
            step.batch = tensors_in(step.arguments)
        with own_failures("keeping the weights"):
            step.untrained = self._guard.remember(step.model)

    def end(self) -> None:
        """Takes the watch off the optimizers, after the step or when it raised."""
        if self._step is not None:
            self._attachment.take_off()

    def finish(self, result: Any) -> Tensor:
        """Writes the rows of a step that returned.

        Returns:
            Number of its first bad optimizer call and 1, or 0 if none is, an int64 scalar.
        """
        step, self._local.step = self._step, None
        self._outer = None if step is self._outer else self._outer
        if step is not None:
            self._finish(step, result)
            if step.bad is not None:
                return step.bad
        return tf.zeros((), tf.int64)

    def _tapes(self) -> Tapes | None:
        return None if self._step is None else self._step.tapes

    def _finish(self, step: Step, result: Any) -> None:
        if replicas.is_lead():  # of several replicas one writes
            with own_failures("recording"):
                self._write(step, result)
        if step.untrained is not None:
            with own_failures("putting weights back"):
                self._guard.put_back(step.untrained, compiled=step.compiled)

    def _write(self, step: Step, result: Any) -> None:
        self._take_inventory(step)
        passed: dict[int, Any] = {BATCH: 1, TICK: 1}
        with own_failures("looking at the forward pass"):
            self._ending = look_forward(step, self.table) or self._ending
        for call in step.calls:
            if not replicas.is_distributed():
                loss = loss_in(result) if call.loss is None else call.loss
                call.loss = None if loss is None else self._tap(step)(loss, late=step.read_metrics)
            alike = sum(call.key == other.key for other in step.calls)
            added = self._ledger.record(call, step.batch, alike, before=passed.get(STEP, 0))
            if self._stash is not None and call.bad is not None:
                step.bad = call.bad if step.bad is None else first_of(step.bad, call.bad)
            passed |= {counter: passed.get(counter, 0) + amount for counter, amount in added.items()}
        self._clock.add(passed)

    def _saw_loss(self, loss: Any, *args: Any, **kwargs: Any) -> None:
        if self._step is not None and self._step.is_current and tf.is_tensor(loss) and loss.shape.rank == 0:
            self._step.loss = loss
            with own_failures("reading what the loss compares"):
                self._step.compared = compared_in(args, kwargs)

    def _on_apply(self, name: str, optimizer: Any, apply: Callable[..., Any], grads: list, given: list | None) -> Any:
        step = self._step
        variables = probes.variables_of(optimizer, grads, given)
        if step is None or variables is None or not grads:
            return apply(grads, given)
        missing = [variable for grad, variable in zip(grads, variables, strict=True) if grad is None]
        if missing and self._cuts is not None and replicas.is_lead():
            with own_failures("looking for the cut"):
                self._cuts.look(step, missing)
        if step.only_asks:
            return None
        self.num_calls_traced += 1
        if self._on_call is not None:
            self._on_call(step, grads, variables)
        call = self._look_before(step, name, optimizer, grads, variables)
        if call is None:
            return apply(grads, given)
        if not self._applies:
            call.applied = tf.constant(False)
            if not call.attached and self._on_all_detached is not None:
                self._on_all_detached(name, variables)
        update = (lambda grads: apply(grads, given)) if self._applies else (lambda grads: None)
        quiet = contextlib.nullcontext() if replicas.is_distributed() else probes.without_keras_warning()
        with quiet, self._explaining(call):
            self._guard.update(call, optimizer, grads, update)
        step.of_optimizers |= {id(variable.value) for variable in optimizer.variables}
        if call.nested:
            self._write_nested(step, call)
        elif replicas.is_lead():
            step.calls.append(call)
        return None

    def _look_before(self, step: Step, name: str, optimizer: Any, grads: list, variables: list) -> Call | None:
        """Reads a call before its update, and what else the update would change; `None` if that failed."""
        call = None
        with own_failures("reading the gradients"):
            for earlier in step.calls if step.is_current else ():
                earlier.finish(variables)
            call = self._read(step, name, optimizer, grads, variables)
            if call.attached and replicas.is_distributed():
                step.has_replicas = True
                replicas.gather(call, step.batch if step is not self._outer or replicas.is_lead() else [])
            if replicas.is_lead():
                self._ledger.prepare(call)
            if step.held is not None:
                step.held.before_update(grads, variables)
        return call

    def _write_nested(self, step: Step, call: Call) -> None:
        """Writes a call at once, in the branch, the loop or the function in which it was made."""
        self.has_nested_calls = True
        with own_failures("recording"):
            self._take_inventory(step)
            in_function = keras_seam.is_in_function(probes.current_graph(), step.graph)
            self._clock.add(self._ledger.record(call, [] if in_function else step.batch, NESTED_CAPACITY))
            if self._stash is not None and call.bad is not None:
                self._stash.note(call.bad, in_function)

    @contextlib.contextmanager
    def _inside(self, step: Step) -> Iterator[None]:
        """For as long as another step runs inside of the one of this thread."""
        outer, self._local.step = self._step, step
        try:
            yield
        finally:
            self._local.step = outer

    def _read(self, step: Step, name: str, optimizer: Any, grads: list, variables: list) -> Call:
        tap = self._tap(step)
        call = probes.read_call(
            name,
            optimizer,
            grads,
            variables,
            tap=tap,
            nested=not step.is_current,
            compiled=step.compiled,
        )
        if step.is_current and step.loss is not None:
            call.loss = tap(step.loss) if replicas.is_distributed() else step.loss
        return call

    def _tap(self, step: Step) -> Callable[..., Tensor]:
        if step.compiled or tf.executing_eagerly():
            return lambda tensor, late=None: tensor
        return functools.partial(taps.tap, anchor=self._clock.variable.read_value())

    @contextlib.contextmanager
    def _explaining(self, call: Call) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            if call.attached or self._on_all_detached is None:
                raise
            raise self._on_all_detached(call.optimizer, call.variables) from error

    def _take_inventory(self, step: Step) -> None:
        """Takes in the model's trainable variables, in order, and those that the step uses but no model tracks."""
        if step.model is not None:
            self.table.set_order(step.model.variables)
            self.table.set_submodels(step.model)
            self.table.add(step.model.trainable_variables)
        for call in step.calls:
            self.table.add(call.variables)
        self.table.add(step.untracked(), tracked=False)
        self.num_trainable = len(self.table)
