"""What sits at `Optimizer.apply` while a step runs: it sees the gradients, and lets them pass or holds them back.

A probe is an attribute on the optimizer *instance* and stands there only while the watched step runs; Keras' classes
are never touched, and every call reaches the optimizer's own `apply` with the arguments it was given.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from gradwatch.recording import keras_seam, statistics
from gradwatch.recording.groups import Group, group, places_of
from gradwatch.recording.weights import WeightNorms

Tensor = Any


@dataclasses.dataclass
class Call:
    """One call of `optimizer.apply`, with what is known of it before the update.

    Args:
        optimizer: Name of the optimizer.
        given: Gradients given to the optimizer, `None` where a variable is detached.
        tap: Makes the twin of a gradient of the step, see `taps`.
        variables: The variables, as many as gradients.
        learning_rate: Scalar in force at this call.
        loss_scale: Float64 scalar that the gradients are still multiplied by, or `None`.
        adapts_scale: Whether the optimizer adapts that scale, and by itself holds back an update that overflows.
        nested: Whether the call is inside of a `cond`, a loop or a function within the step.
        compiled: Whether XLA compiles it, so that nothing may branch on a gradient.
        loss: The loss this call comes from, or `None`; of the step, not to be read without a tap.
        updated: Whether the update was made before the gradients are looked at.
        applied: Bool scalar: the update reaches the weights; `None` for always.
        finite_here: With replicas, bool scalar: the gradient of this one holds no NaN and no Inf.
        nonfinite_inputs: With replicas, number of NaN and Inf in all their batches.
        replica: With replicas, number of the first with a bad gradient, -1 for none.
        bad: Number of the call and 1 if it is a bad one, else 0, an int64 scalar; known once it is recorded.
        weights: Norms of the weights and of the update, where they are wanted.
        uses: How the forward pass uses each variable; `None` where that is not looked at.
        targets: What the predictions are compared with, or `None`.
    """

    optimizer: str
    given: list[Any]
    tap: Callable[..., Tensor]
    variables: list[Any]
    learning_rate: Tensor
    loss_scale: Tensor | None
    adapts_scale: bool
    nested: bool
    compiled: bool
    loss: Tensor | None = None
    updated: bool = False
    applied: Tensor | None = None
    finite_here: Tensor | None = None
    nonfinite_inputs: Tensor | None = None
    replica: Tensor | None = None
    bad: Tensor | None = None
    weights: WeightNorms | None = None
    uses: list[Any] | None = None
    targets: Tensor | None = None

    @property
    def key(self) -> tuple[str, tuple[int, ...]]:
        """What calls share that are recorded in one buffer: the optimizer and the variables with a gradient."""
        return self.optimizer, tuple(id(self.variables[position]) for position in self.attached)

    @functools.cached_property
    def grads(self) -> list[Any]:
        """The gradients to look at: taps on those given, made when first asked for."""
        pairs = zip(self.given, self.variables, strict=True)
        return [None if grad is None else self._look_at(grad, variable) for grad, variable in pairs]

    @functools.cached_property
    def places(self) -> list[list[int]]:
        """Positions of the variables that have a gradient, by group."""
        return places_of(self.given)

    @functools.cached_property
    def groups(self) -> list[Group]:
        """The gradients that are there, in groups."""
        return group(self.grads)

    @functools.cached_property
    def attached(self) -> list[int]:
        """Positions of the variables that have a gradient, in the order of the groups."""
        return [position for places in self.places for position in places]

    @functools.cached_property
    def norms(self) -> Tensor:
        """L2 norms of the gradients as the first pass tells them, float64 `[attached]`."""
        return statistics.first_norms(self.groups)

    @functools.cached_property
    def finite(self) -> Tensor:
        """Bool scalar: no gradient holds NaN or Inf."""
        return statistics.all_finite(self.groups, None if self.compiled else self.norms)

    def finish(self, variables: list[Any]) -> None:
        """To be called before another call changes these variables: takes what is measured by their values now."""
        if self.weights is not None and self.weights.shares(variables):
            _ = self.weights.taken  # kept from then on

    def _look_at(self, grad: Any, variable: Any) -> Any:
        # To read a variable of sparse updates may copy all of it.
        reads = self.updated and not isinstance(grad, tf.IndexedSlices)
        return self.tap(grad, late=raw(variable).read_value if reads else None)

    def replace_grads(self, attached: list[Tensor]) -> None:
        """Puts other gradients in place of those that are there."""
        for position, grad in zip(self.attached, attached, strict=True):
            self.grads[position] = grad
        for name in ("groups", "norms", "finite"):
            vars(self).pop(name, None)


def read_call(
    name: str,
    optimizer: Any,
    grads: list[Any],
    variables: list[Any],
    *,
    tap: Callable[..., Tensor],
    nested: bool,
    compiled: bool,
) -> Call:
    """Reads what has to be read before the update, and notes the rest; tensors of the step are read through `tap`."""
    return Call(
        optimizer=name,
        given=grads,
        tap=tap,
        variables=variables,
        learning_rate=tap(tf.convert_to_tensor(optimizer.learning_rate)),
        loss_scale=_loss_scale(optimizer),
        adapts_scale=scales_itself(optimizer),
        nested=nested,
        compiled=compiled,
    )


def variables_of(optimizer: Any, grads: list[Any], variables: list[Any] | None) -> list[Any] | None:
    """The variables that gradients belong to; `None` if the optimizer is about to refuse the call."""
    if variables is None and optimizer.built:
        variables = keras_seam.optimizer_variables(optimizer)
    return variables if variables is not None and len(variables) == len(grads) else None


def scales_itself(optimizer: Any) -> bool:
    """Whether the optimizer scales the loss, and by itself holds back updates that are not finite."""
    return isinstance(optimizer, keras.optimizers.LossScaleOptimizer)


def raw(variable: Any) -> Any:
    """The `tf.Variable` of a variable of Keras, or of TensorFlow."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def current_graph() -> Any:
    """The graph that is being traced into, or `None` where operations run at once."""
    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()


@contextlib.contextmanager
def shadowing(owner: Any, name: str, replacement: Any) -> Iterator[None]:
    """Puts an attribute on an instance, over one of its class, and afterwards leaves the instance as it was."""
    there_before = name in vars(owner)
    before = vars(owner).get(name)
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        if there_before:
            setattr(owner, name, before)
        else:
            delattr(owner, name)


def probe(name: str, optimizer: Any, on_apply: Callable[..., Any]) -> contextlib.AbstractContextManager[None]:
    """A context in which calls of `optimizer.apply` go to `on_apply` instead.

    Args:
        name: Name of the optimizer.
        optimizer: The optimizer.
        on_apply: Called with the name, the optimizer, its own `apply`, the gradients and the variables or `None`.
    """
    original = optimizer.apply

    @tf.autograph.experimental.do_not_convert
    def apply(grads: Any, trainable_variables: Any = None) -> Any:
        variables = None if trainable_variables is None else list(trainable_variables)
        return on_apply(name, optimizer, original, list(grads), variables)

    return shadowing(optimizer, "apply", apply)


def listen(owner: Any, name: str, on_result: Callable[..., None]) -> contextlib.AbstractContextManager[None]:
    """A context in which `on_result` hears what a method of this instance returns, and what it was given."""
    original = getattr(owner, name)

    @tf.autograph.experimental.do_not_convert
    def method(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        on_result(result, *args, **kwargs)
        return result

    return shadowing(owner, name, method)


def apply_if(allowed: Tensor, apply: Callable[[], Any]) -> None:
    """Makes the update only where `allowed`, a bool scalar, is true."""

    def update() -> Tensor:
        apply()
        return tf.constant(True)

    tf.cond(allowed, update, lambda: tf.constant(False))


def apply_or_undo(allowed: Tensor, optimizer: Any, variables: list[Any], apply: Callable[[], Any]) -> None:
    """Makes the update, and takes it back where `allowed`, a bool scalar, is false.

    For XLA: a branch around the update changes how XLA computes what leads to it (`global_clipnorm`), and with it the
    last bits of the weights; a branch that chooses between the values from before and after does not.
    """
    if not optimizer.built:
        with tf.init_scope():
            optimizer.build(variables)
    changed = [raw(variable) for variable in variables]
    changed += [variable.value for variable in optimizer.variables]
    before = [variable.read_value() for variable in changed]
    apply()
    after = [variable.read_value() for variable in changed]
    for variable, value in zip(changed, tf.cond(allowed, lambda: after, lambda: before), strict=True):
        variable.assign(value)


@contextlib.contextmanager
def without_keras_warning() -> Iterator[None]:
    """Keeps Keras from naming detached variables: gradwatch does, by layer, with the remedy, and not those allowed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Gradients do not exist for variables")
        yield


def _loss_scale(optimizer: Any) -> Tensor | None:
    if scales_itself(optimizer):
        scale = optimizer.dynamic_scale if optimizer.built else optimizer.initial_scale
    else:
        scale = optimizer.loss_scale_factor
    return None if scale is None else tf.cast(tf.convert_to_tensor(scale), tf.float64)
