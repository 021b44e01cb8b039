"""Watches the steps of a run: puts probes on the optimizers, turns every call into a row, and drains the rows.

All state that must survive between steps is on the device (the clock, and one row buffer for each set of variables);
the host only says which epoch it is, and copies rows now and then.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from gradwatch.errors import own_failures
from gradwatch.recording import keras_seam, replicas, taps
from gradwatch.recording import probe as probes
from gradwatch.recording.asking import CutSearch, Finder
from gradwatch.recording.buffer import ALARMS, BATCH, EPOCH, LATCHED, STEP, TICK
from gradwatch.recording.guard import Guard
from gradwatch.recording.ledger import Ledger
from gradwatch.recording.probe import Call
from gradwatch.recording.stash import BadStep, Stash
from gradwatch.recording.step import Step, current_graph, loss_in, tensors_in
from gradwatch.recording.tapes import Tapes, listen
from gradwatch.recording.variables import VariableTable
from gradwatch.records import Segment

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
        self._ledger = Ledger(statistics, every_steps, detailed_every, counts_alarms, self.table)
        self._clock = self._ledger.clock
        self._guard = Guard(self._clock, active=guards, latches=latches, max_streak=max_streak)
        self._latches = latches
        self._applies = applies
        self._on_call = on_call
        self._cuts = None if find_cuts is None else CutSearch(find_cuts, self.table, self._inside)
        self._on_all_detached = on_all_detached
        self._stash = Stash(self._clock) if keeps_bad_step else None
        self._local = threading.local()
        self._outer: Step | None = None
        self._lock = threading.Lock()
        self._probes: contextlib.ExitStack | None = None
        self._num_inside = 0

    @property
    def _step(self) -> Step | None:
        """The step of this thread, for the replicas of a strategy run side by side, or else the one they run in."""
        return getattr(self._local, "step", None) or self._outer

    def start(self, steps_at_once: int = 1, *, looks_at_each: bool = False) -> None:
        """Begins a run, or another one after everything is drained; what was latched is let go.

        Args:
            steps_at_once: Most steps that run between two looks of the host, apart from those between drains.
            looks_at_each: Whether the host looks after each group of that many steps, and asks for a bad one.
        """
        if self._stash is not None:
            self._stash.copies_weights = not (self._latches or (looks_at_each and steps_at_once == 1))
        self._ledger.reserve(steps_at_once)
        self._clock.put({ALARMS: 0})
        self._guard.start()

    def start_epoch(self, epoch: int) -> None:
        """Tells the device which epoch begins."""
        self._clock.put({EPOCH: epoch, BATCH: 0})

    def alarms(self) -> tuple[int, bool]:
        """Number of bad calls since `start`, and whether updates are latched off; reads a few numbers."""
        counters = self._clock.variable.numpy()
        return int(counters[ALARMS]), bool(counters[LATCHED])

    def bad_step(self) -> BadStep | None:
        """What the first bad step was given, once; to be asked when a bad step was drained."""
        return None if self._stash is None else self._stash.take()

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
        compiled: bool,
    ) -> Callable[..., Any]:
        """The step with recording built in.

        Args:
            step: The step as the user wrote it.
            model: The model it trains, or `None`.
            optimizers: Gives the optimizers by name; asked each time the step is traced.
            active: Whether to record; asked each time the step is traced, or run eagerly.
            compiled: Whether XLA compiles the step.

        Returns:
            A function to be used, traced or not, in place of `step`. It is so simple that AutoGraph goes through it
            into the user's step as it does without a watch.
        """

        @tf.autograph.experimental.do_not_convert
        def begin(arguments: Any) -> None:
            self._local.step = self._begin(model, optimizers(), step, arguments, compiled) if active() else None
            if not replicas.is_distributed():
                self._outer = self._local.step

        @tf.autograph.experimental.do_not_convert
        def end() -> None:
            if self._step is not None:
                self._take_probes_off()

        @tf.autograph.experimental.do_not_convert
        def finish(result: Any) -> None:
            step, self._local.step = self._step, None
            self._outer = None if step is self._outer else self._outer
            if step is not None:
                self._finish(step, result)

        def watched_step(*args: Any, **kwargs: Any) -> Any:
            begin((args, kwargs))
            try:
                result = step(*args, **kwargs)
            finally:
                end()
            finish(result)
            return result

        # Not functools.wraps: through `__wrapped__` AutoGraph would find the source of the user's step and skip ours.
        watched_step.__name__ = getattr(step, "__name__", "step")
        watched_step.__doc__ = step.__doc__
        with contextlib.suppress(ValueError, TypeError):
            watched_step.__signature__ = inspect.signature(step)  # type: ignore[attr-defined]
        return watched_step

    def _begin(
        self, model: Any, optimizers: dict[str, Any], function: Callable[..., Any], arguments: Any, compiled: bool
    ) -> Step:
        self._put_probes_on(model, optimizers)
        batch: list[Tensor] = []
        with own_failures("reading the batch"):
            batch = tensors_in(arguments)
        step = Step(model, current_graph(), batch, compiled, function, arguments, optimizers)
        with own_failures("keeping the weights"):
            step.untrained = self._guard.remember(model)
            if self._stash is not None and not compiled and not replicas.is_distributed():
                self._stash.remember(step)
        return step

    def _put_probes_on(self, model: Any, optimizers: dict[str, Any]) -> None:
        """Puts them on for the first replica that comes."""
        with self._lock:
            if self._num_inside == 0:
                with contextlib.ExitStack() as stack:
                    for name, optimizer in optimizers.items():
                        stack.enter_context(probes.probe(name, optimizer, self._on_apply))
                    if model is not None:
                        stack.enter_context(probes.listen(model, "compute_loss", self._saw_loss))
                    if not tf.executing_eagerly():
                        stack.enter_context(listen(self._tapes))
                    self._probes = stack.pop_all()
            self._num_inside += 1

    def _take_probes_off(self) -> None:
        """Takes them off with the last replica that goes."""
        with self._lock:
            self._num_inside -= 1
            if self._num_inside == 0 and self._probes is not None:
                self._probes.close()
                self._probes = None

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
        for call in step.calls:
            if not replicas.is_distributed():
                loss = loss_in(result) if call.loss is None else call.loss
                call.loss = None if loss is None else self._tap(step)(loss, late=step.read_metrics)
            alike = sum(call.key == other.key for other in step.calls)
            added = self._ledger.record(call, step.batch, alike, before=passed.get(STEP, 0))
            passed |= {counter: passed.get(counter, 0) + amount for counter, amount in added.items()}
        self._clock.add(passed)

    def _saw_loss(self, loss: Any) -> None:
        if self._step is not None and self._step.is_current and tf.is_tensor(loss) and loss.shape.rank == 0:
            self._step.loss = loss

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
            self._keep_if_bad(step, call)
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
            self.has_nested_calls = True
            with own_failures("recording"):
                self._take_inventory(step)
                # Tensors of an eager step must not be baked into a function that is traced inside of it.
                batch = step.batch if step.graph is not None else []
                self._clock.add(self._ledger.record(call, batch, NESTED_CAPACITY))
        elif replicas.is_lead():
            step.calls.append(call)
        return None

    def _keep_if_bad(self, step: Step, call: Call) -> None:
        """Not where nothing may branch on a gradient, nor where a bad gradient is how a loss scale is found."""
        special = call.compiled or call.nested or call.adapts_scale or replicas.is_distributed()
        if self._stash is not None and call.attached and not special:
            self._stash.keep(step, call)

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
        if step.model is not None and step.graph is not None and not step.has_replicas:
            tracked = {id(variable.value) for variable in step.model.variables} | step.of_optimizers
            used = [v for v in keras_seam.variables_used(step.graph) if v.trainable and id(v) not in tracked]
            self.table.add(used, tracked=False)
        self.num_trainable = len(self.table)
