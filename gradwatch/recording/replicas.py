"""Training on several replicas: sums what each replica has, as the optimizer will, and asks which one is bad.

Every replica runs the step side by side, in a thread of its own, on its share of the batch. What is applied is the sum
of their gradients, which the optimizer makes inside of `apply`, where nobody can look. So it is made a second time
here, with public calls; between machines that is one more all-reduce a step, the price of the true gradient. A
conditional around the update has to stand outside of the replicas, because the optimizer meets the other replicas
inside of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from gradwatch.recording import statistics
from gradwatch.recording.probe import Call

Tensor = Any


def is_distributed() -> bool:
    """Whether the step runs in a replica of a strategy."""
    return tf.distribute.has_strategy() and not tf.distribute.in_cross_replica_context()


def is_lead() -> bool:
    """Whether this is the first replica of its process, the one that writes; true without a strategy."""
    if not is_distributed():
        return True
    context = tf.distribute.get_replica_context()
    number = tf.get_static_value(tf.convert_to_tensor(context.replica_id_in_sync_group))
    return int(number) % len(context.strategy.extended.worker_devices) == 0


def gather(call: Call, batch: list[Tensor]) -> None:
    """Puts into the call what all replicas have together; every replica has to come here.

    Args:
        call: The call of this replica. Its gradients and its loss become the sums over the replicas, and it learns
            how many bad entries all batches hold and which replica has a bad gradient.
        batch: Tensors of this replica's batch.
    """
    context = tf.distribute.get_replica_context()
    number = tf.cast(context.replica_id_in_sync_group, tf.int32)
    bad = tf.cast(tf.logical_not(call.finite), tf.float64)
    facts = {
        "loss": tf.zeros((), tf.float64) if call.loss is None else tf.cast(call.loss, tf.float64),
        "nonfinite_inputs": statistics.count_nonfinite(batch),
        "bad": bad * tf.one_hot(number, context.num_replicas_in_sync, dtype=tf.float64),
    }
    *grads, loss, nonfinite_inputs, bad = _summed([call.grads[p] for p in call.attached] + list(facts.values()))
    call.finite_here = call.finite
    call.replace_grads(grads)
    call.loss = None if call.loss is None else loss
    call.nonfinite_inputs = nonfinite_inputs
    first = tf.argmax(bad, output_type=tf.int64)
    call.replica = tf.where(tf.reduce_any(bad > 0), first, tf.constant(-1, tf.int64))


def _summed(values: list[Any]) -> list[Any]:
    """The sums over all replicas, of the devices of this machine first, and then over the machines."""
    context = tf.distribute.get_replica_context()
    if isinstance(context.strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return _summed_over_machines(values)
    return context.merge_call(_summed_on_this_machine, args=(values,))


def _summed_on_this_machine(strategy: Any, values: list[Any]) -> list[Any]:
    # Not all_reduce: it numbers what it sends, and the optimizer's own would get other numbers than without a watch.
    return [_add(strategy.experimental_local_results(value)) for value in values]


def _summed_over_machines(values: list[Any]) -> list[Any]:
    """One all-reduce for each kind of tensor, since only equal kinds may travel together."""
    kinds: dict[tuple, list[int]] = {}
    for position, value in enumerate(values):
        kinds.setdefault((value.dtype, isinstance(value, tf.IndexedSlices)), []).append(position)
    summed = list(values)
    for positions in kinds.values():
        parts = [values[position] for position in positions]
        together = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, parts)
        for position, value in zip(positions, together, strict=True):
            summed[position] = value
    return summed


def _add(parts: Sequence[Any]) -> Any:
    if not isinstance(parts[0], tf.IndexedSlices):
        return tf.add_n(parts)
    values = tf.concat([part.values for part in parts], axis=0)
    indices = tf.concat([part.indices for part in parts], axis=0)
    return tf.IndexedSlices(values, indices, parts[0].dense_shape)


def apply_if(allowed: Tensor, apply: Callable[[list], Any], grads: list) -> None:
    """Makes the update in all replicas only where `allowed`, a bool scalar, is true in the first.

    Args:
        allowed: Whether to make it.
        apply: Makes it, given the gradients of its replica.
        grads: The gradients of this replica.
    """

    def across(strategy: Any, allowed: Any, grads: list) -> None:
        def update() -> Tensor:
            strategy.extended.call_for_each_replica(apply, args=(grads,))
            return tf.constant(True)

        first = strategy.experimental_local_results(allowed)[0]
        tf.cond(first, update, lambda: tf.constant(False))

    tf.distribute.get_replica_context().merge_call(across, args=(allowed, grads))


def assign_if(wanted: Callable[[], Tensor], variables: list[Any], values: list[Tensor]) -> None:
    """Gives variables values where `wanted` says so; to be called by every replica.

    Args:
        wanted: Makes a bool scalar, once for all replicas.
        variables: Variables that every replica has a copy of.
        values: The values of this replica.
    """

    def across(strategy: Any, values: list) -> None:
        def assign() -> Tensor:
            for variable, value in zip(variables, values, strict=True):
                copies = variable.value if isinstance(variable, keras.Variable) else variable
                strategy.extended.update(copies, lambda copy, value: copy.assign(value), args=(value,))
            return tf.constant(True)

        tf.cond(wanted(), assign, lambda: tf.constant(False))

    tf.distribute.get_replica_context().merge_call(across, args=(values,))
