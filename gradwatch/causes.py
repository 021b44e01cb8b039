"""Where in a program a finding comes from, and the words for it: what the operation did, and how to mend it."""

from __future__ import annotations

import dataclasses

_FROM_NUMPY = (
    "Do the computation with `keras.ops` or TensorFlow operations on tensors, inside the loss or the model, for "
    "example in a layer of its own."
)

KINDS: dict[str, tuple[str, str]] = {
    "not differentiable": (
        "{op} has no gradient",
        "Use something that has one in its place: a soft version of it, or a straight-through estimator, "
        "`x + stop_gradient(f(x) - x)`.",
    ),
    "stopped": (
        "{op} stops the gradient on purpose",
        "Take the `stop_gradient` out if these variables are to be trained; if not, set `trainable = False` on their "
        "layer or name them in `allow_detached`.",
    ),
    "left TensorFlow": (
        "{op} leaves TensorFlow, where no gradient can follow",
        f"{_FROM_NUMPY} A function that must stay in Python can be called with `tf.py_function`, which is "
        "differentiable.",
    ),
    "assigned": (
        "{op} writes the value into a variable, and what is read from a variable has no gradient with respect to what "
        "was written",
        "Use the value itself, not the variable it was assigned to.",
    ),
    "unused output": (
        "the loss does not use what is computed from them, up to {op}",
        "Give the loss the output of this layer, or leave the layer out; if it is meant to be so, set "
        "`trainable = False` on it or name its variables in `allow_detached`.",
    ),
    "never used": (
        "the step never reads them, because their layer is not called or does not use them",
        "Call the layer, or use the weight in its `call`; if it is meant to be so, set `trainable = False` or name the "
        "variables in `allow_detached`.",
    ),
    "constant loss": (
        "the loss depends on no variable at all; it comes from {op}",
        f"Compute the loss from the outputs of the model. {_FROM_NUMPY}",
    ),
    "outside of the tape": (
        "{op} was computed where the tape does not record",
        "Move the computation into the `with tf.GradientTape() as tape:` block.",
    ),
    "not watched": (
        "the tape does not watch them although the loss depends on them",
        "Call `tape.watch(variable)`, or leave out `watch_accessed_variables=False`.",
    ),
    "forward": (
        "{op} made the first NaN or Inf",
        "Keep its argument where it is defined: add a small constant inside of a logarithm, square root or division, "
        "or clip the argument before it; a `where` after it does not help, because the gradient still goes through it.",
    ),
    "loss": (
        "{op} made the first NaN or Inf, in the loss",
        "Keep its argument where it is defined: add a small constant inside of a logarithm, square root or division, "
        "or clip the argument before it; give a loss that expects logits `from_logits=True`, and look at the targets.",
    ),
    "backward": (
        "the gradient of {op} is where the first NaN or Inf was made; the forward pass is finite",
        "Keep the argument away from the point where the derivative is infinite, such as 0 for a square root, a norm "
        "or a power: add a small constant inside of it, or choose a safe argument with a `where` before it.",
    ),
    "in the batch": (
        "the batch itself holds it",
        "Find it in the data (`np.isfinite(x).all()`), then drop or fill those samples.",
    ),
    "in the weights": (
        "the weights held NaN or Inf before the step, {op} reads them",
        "Go back to weights from before, and look for the step at which they became bad.",
    ),
    "optimizer": (
        "the update of the step before made it, of gradients that were finite: {op}",
        "Lower the learning rate or set `clipnorm` if the updates grew; with variables of 16 bits raise `epsilon` to "
        "1e-4 or more, or keep the variables in float32, as the policy `mixed_float16` does.",
    ),
    "own gradient": (
        "the gradient function that was registered for {op} gives None",
        "Return a gradient for each input from the function inside of `tf.custom_gradient`.",
    ),
}
"""For each kind of cause what happened, with `{op}` for the operation, and what to do."""

MENDS: dict[str, str] = {
    **dict.fromkeys(
        ("ArgMax", "ArgMin", "TopKV2", "OneHot"),
        "Work with the probabilities in place of the index: a softmax (with a low temperature, if it has to be sharp), "
        "and the product of the probabilities with what the index would pick.",
    ),
    **dict.fromkeys(
        ("Greater", "GreaterEqual", "Less", "LessEqual", "Equal", "NotEqual", "LogicalAnd", "LogicalOr"),
        "Use a smooth step in place of the comparison, such as `sigmoid(k * (x - threshold))`; for a choice between "
        "two tensors let the comparison be only the condition of a `where`.",
    ),
    "Cast": "Keep the numbers as floats: a cast to integers or booleans has no gradient.",
}
"""What to do about operations that are not differentiable, by their type, where there is something better to say."""


@dataclasses.dataclass(frozen=True)
class Cause:
    """Where in the program a finding comes from.

    Args:
        kind: What happened there, one of `KINDS`.
        op: Name of the operation.
        op_type: Type of the operation, "ArgMax".
        layer: Path of the layer it is in.
        source: The user's file and line, "train.py:83".
        code: That line, "y = tf.argmax(x)".
        detail: What is to be seen there: what the operation was given, rows of the batch.
    """

    kind: str
    op: str | None = None
    op_type: str | None = None
    layer: str | None = None
    source: str | None = None
    code: str | None = None
    detail: str | None = None

    def __str__(self) -> str:
        """One line for a person.

        >>> print(Cause("cut", op_type="ArgMax", layer="head", source="train.py:83", code="y = tf.argmax(x)"))
        ArgMax in layer head, train.py:83: y = tf.argmax(x)
        """
        where = [self.op_type or self.op or self.kind]
        if self.layer:
            where[0] += f" in layer {self.layer}"
        if self.source:
            where.append(self.source)
        return ", ".join(where) + (f": {self.code}" if self.code else "")

    @property
    def explanation(self) -> str:
        """What happened there, in plain words, without a full stop.

        >>> Cause("stopped", op_type="StopGradient", source="train.py:83").explanation
        '`StopGradient` (train.py:83) stops the gradient on purpose'
        """
        place = ", ".join(filter(None, [f"layer {self.layer}" if self.layer else "", self.source]))
        what = self.op_type or self.code or "an operation"
        name = f"`{what}` ({place})" if place else f"`{what}`"
        words, _ = KINDS.get(self.kind, (self.kind, ""))
        return words.format(op=name) + (f" ({self.detail})" if self.detail else "")

    @property
    def sentence(self) -> str:
        """The same as a sentence of its own."""
        return f"{self.explanation[0].upper()}{self.explanation[1:]}."

    @property
    def mend(self) -> str:
        """What to do about it."""
        if self.kind == "not differentiable" and self.op_type in MENDS:
            return MENDS[self.op_type]
        return KINDS.get(self.kind, ("", ""))[1]
