"""How a model ends: the last activation, the loss, what it compares; and how the forward pass uses the variables."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from gradwatch.recording import replicas, signals
from gradwatch.recording.step import Step
from gradwatch.recording.variables import VariableTable, describe
from gradwatch.records import Output
from gradwatch.tracing import forward

Tensor = Any


def compared_in(args: tuple, kwargs: dict[str, Any]) -> tuple[Tensor, Tensor] | None:
    """Targets and predictions among the arguments of `compute_loss`, if there is one tensor of each."""
    named = {**dict(zip(("x", "y", "y_pred"), args, strict=False)), **kwargs}
    found = [tf.nest.flatten(named.get(name)) for name in ("y", "y_pred")]
    if any(len(each) != 1 or not tf.is_tensor(each[0]) for each in found):
        return None
    return found[0][0], found[1][0]


def look_forward(step: Step, table: VariableTable) -> Output | None:
    """Notes in the calls of a step how it uses their variables, and the targets; says how its model ends."""
    if replicas.is_distributed():
        return None
    for call in step.calls:
        if step.compared is not None and not call.nested and step.compared[0].dtype not in (tf.string, tf.variant):
            call.targets = step.compared[0]
        if step.graph is not None and not call.nested:
            uses = signals.uses_of(call, step.graph)
            table.set_activations(call.variables, ["" if use is None else use.activation_name for use in uses])
            call.uses = None if step.compiled else uses
    return None if step.compared is None or step.model is None else _ending(step, step.compared[1])


def _ending(step: Step, prediction: Tensor) -> Output | None:
    num_units = prediction.shape[-1] if prediction.shape.rank else 1
    loss, from_logits = _loss_of(step.model)
    if step.graph is None:
        layer = step.model.layers[-1] if step.model.layers else None
        activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
        return Output(getattr(layer, "path", ""), activation, num_units or 0, loss, from_logits)
    variables = step.model.trainable_variables
    end = forward.end_of(prediction, forward.uses_of(step.graph, [variable.value for variable in variables]))
    layer = "" if end.position is None else describe(variables[end.position]).layer
    return Output(layer, end.activation, num_units or 0, loss, from_logits)


def _loss_of(model: Any) -> tuple[str, bool]:
    """Name of the loss that a model was compiled with, and whether it takes logits; "" for none or several."""
    loss = getattr(model, "loss", None)
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    if isinstance(loss, keras.losses.Loss):
        return type(loss).__name__, bool(loss.get_config().get("from_logits", False))
    return getattr(loss, "__name__", ""), False
