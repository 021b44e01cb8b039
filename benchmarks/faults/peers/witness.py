"""Sees of a training what the published tools see: gradients and outputs on a sample, weights, loss and accuracy.

It changes nothing: weights, state and random draws of the training are those of a run without it.
"""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.faults.peers.evidence import Epoch, LayerLook, Look, Recording, VariableLook

MAX_ROWS = 64
"""Rows of the sample."""

EVERY_BATCHES = 10
"""Batches from look to look at first."""

LOOKS_AT_ONE_PACE = 30
"""After so many looks the next ones are twice as far apart, and so on."""

_ACTIVATION_LAYERS = (
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ELU,
    keras.layers.Softmax,
    keras.layers.RNN,
)
_CLASSIFIES = ("crossentropy", "hinge")
_REASON = 200
"""Characters of an error that are kept."""


class Witness(keras.callbacks.Callback):
    """Looks at a model after some batches and at the ends of epochs; what it saw is its `recording`.

    A failure of its own is noted there, and costs the training nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.recording = Recording()
        self._sample: tuple[Any, Any] | None = None
        self._eye: _Eye | None = None
        self._key: Any = None
        self._batches = _Pace(EVERY_BATCHES)
        self._epochs = _Pace(1)
        self._step = 0
        self._due = False
        self._before_batch: list[np.ndarray] = []
        self._before_epoch: list[np.ndarray] = []

    def saw_data(self, model: Any, data: Sequence[Any]) -> None:
        """Takes the sample of the data that `fit` is about to be given."""
        with self._own_failures("data"):
            self._sample = None
            self._sample = _sample(data)
            _describe(self.recording, model, *self._sample)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Takes note of how long it is to train, and of the first weights."""
        self.recording.num_epochs += int(self.params.get("epochs") or 0)
        self._before_epoch = _weights(self.model)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Takes note of the weights, if there will be a look after the batch."""
        self._due = self._sample is not None and self._batches.is_due(self._step)
        if self._due:
            self._before_batch = _weights(self.model)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks, if it is time."""
        self._step += 1
        if self._due:
            self._look(self._before_batch, at_epoch_end=False)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Takes note of what `fit` says, and looks, if it is time; at the last epoch in any case."""
        logs = logs or {}
        seen = Epoch(loss=logs.get("loss"), learning_rate=_learning_rate(self.model))
        self.recording.epochs.append(seen)
        named = [value for name, value in logs.items() if "acc" in name and not name.startswith("val_")]
        seen.accuracy = float(named[0]) if named else None
        last = epoch + 1 == self.params.get("epochs")
        if self._sample is None or not (self._epochs.is_due(len(self.recording.epochs) - 1) or last):
            return
        accuracy = self._look(self._before_epoch, at_epoch_end=True)
        self._before_epoch = _weights(self.model)
        if not named:
            seen.accuracy = accuracy

    def _look(self, before: list[np.ndarray], at_epoch_end: bool) -> float | None:
        """Adds a look to the recording; returns the accuracy on the sample."""
        with self._own_failures("gradients and layers"):
            assert self._sample is not None
            trainable = self.model.trainable_variables
            key = (id(self.model), id(self.model.optimizer), id(self._sample), tuple(map(id, trainable)))
            if key != self._key:
                self._key, self._eye = key, None
                self._eye = _Eye(self.model, *self._sample)
            if self._eye is None:
                return None
            look, outputs = self._eye.look()
            look.step, look.at_epoch_end = self._step, at_epoch_end
            look.epoch = len(self.recording.epochs) - at_epoch_end
            _add_weights(look, trainable, before)
            self.recording.looks.append(look)
            self.recording.last_layer = next(reversed(look.layers), "")
            if look.layers:
                self.recording.last_activation = look.layers[self.recording.last_layer].activation
            return _accuracy(self.recording, self._sample[1], outputs)
        return None

    @contextlib.contextmanager
    def _own_failures(self, of: str) -> Iterator[None]:
        numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002 - what a program may draw of
        try:
            yield
        except Exception as error:
            reason = f"{of}: {type(error).__name__}: {' '.join(str(error).split())[:_REASON]}"
            if reason not in self.recording.not_seen:
                self.recording.not_seen.append(reason)
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)


class _Pace:
    """Says when it is time, at a pace that halves after some looks."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._count = 0

    def is_due(self, number: int) -> bool:
        if number % self._every:
            return False
        self._count += 1
        if self._count % LOOKS_AT_ONE_PACE == 0:
            self._every *= 2
        return True


class _Eye:
    """One look at a model on its sample, traced once.

    Traced, because operations that run eagerly would move the counter that seeds unseeded draws; only where a model
    runs eagerly itself, and cannot be traced, it is looked at eagerly.
    """

    def __init__(self, model: Any, x: Any, y: Any) -> None:
        self._model, self._x, self._y = model, x, y
        self._taps: list[tuple[str, str]] = []
        self._variables = list(model.trainable_variables)
        try:
            traced = tf.function(self._numbers, autograph=False).get_concrete_function(x, y)
        except Exception:
            if not model.run_eagerly:
                raise
            self._run: Callable[[], dict[str, Any]] = lambda: self._numbers(x, y)
            state = [*model.variables, *model.metrics_variables]
        else:
            self._run = lambda: traced(x, y)
            state = traced.graph.variables
        own = {id(_raw(variable)) for variable in self._variables}
        self._state = [_raw(variable) for variable in state if id(_raw(variable)) not in own]

    def look(self) -> tuple[Look, np.ndarray | None]:
        """What it sees now, and the outputs, if they are a table."""
        kept = [(variable, tf.identity(variable)) for variable in self._state]
        try:
            seen = {name: np.asarray(value) for name, value in self._run().items()}
        finally:
            for variable, value in kept:
                variable.assign(value)
        look = Look(loss=float(seen["loss"]))
        for variable, row in zip(self._variables, seen["variables"], strict=True):
            has_grad, mean_abs, norm, zeros, finite = map(float, row)
            look.variables[variable.path] = VariableLook(
                layer=variable.path.rpartition("/")[0],
                is_kernel=len(variable.shape) > 1,
                has_grad=bool(has_grad),
                mean_abs=mean_abs,
                norm=norm,
                zeros=zeros,
                finite=bool(finite),
                size=int(np.prod(variable.shape)),
            )
        for (path, activation), row in zip(self._taps, seen["layers"], strict=True):
            *shares, finite = map(float, row)
            names = ("mean", "zeros", "negative_or_zero", "dead_units", "beyond_five", "saturated_units")
            numbers = dict(zip(names, shares, strict=True))
            look.layers[path] = LayerLook(activation=activation, finite=bool(finite), **numbers)
        look.output_min, look.output_max, look.row_sums_off = map(float, seen["output"])
        return look, seen.get("outputs")

    def _numbers(self, x: Any, y: Any) -> dict[str, Any]:
        with _tapped(self._model) as taps, tf.GradientTape() as tape:
            outputs = self._model(x, training=False)
            loss = self._model.compute_loss(x=x, y=y, y_pred=outputs, sample_weight=None)
            loss = tf.reduce_sum(tf.cast(loss, tf.float32))
        grads = tape.gradient(loss, self._variables)
        self._taps = [(path, activation) for path, activation, _, _ in taps]
        first = tf.convert_to_tensor(tf.nest.flatten(outputs)[0])
        numbers = {
            "loss": loss,
            "variables": tf.stack([_of_grad(grad) for grad in grads]) if grads else tf.zeros([0, 5]),
            "layers": tf.stack([_of_tap(*tap[1:]) for tap in taps]) if taps else tf.zeros([0, 7]),
            "output": _of_output(tf.cast(first, tf.float32)),
        }
        if first.shape.rank in (1, 2):
            numbers["outputs"] = first
        return numbers


@contextlib.contextmanager
def _tapped(model: Any) -> Iterator[list[tuple[str, str, Any, Any]]]:
    """Collects what goes into activations and what comes out, while the model is called.  # [(path, name, in, out)]."""
    taps: list[tuple[str, str, Any, Any]] = []
    undo: list[tuple[dict[str, Any], str, Any]] = []
    graph = tf.compat.v1.get_default_graph() if tf.inside_function() else None

    def tap(layer: Any, attribute: str, name: str, function: Callable[..., Any], shows_input: bool) -> None:
        def tapped(value: Any, *arguments: Any, **options: Any) -> Any:
            result = function(value, *arguments, **options)
            first = tf.nest.flatten(result)[0]
            here = tf.is_tensor(first) and (graph is None or getattr(first, "graph", None) is graph)
            if here and all(path != layer.path for path, *_ in taps):
                taps.append((layer.path, name, value if shows_input else None, first))
            return result

        undo.append((vars(layer), attribute, vars(layer).get(attribute)))
        vars(layer)[attribute] = tapped

    try:
        for layer in model._flatten_layers(include_self=False):
            activation = vars(layer).get("activation")
            if callable(activation):
                tap(layer, "activation", _name(activation), activation, True)
            elif isinstance(layer, _ACTIVATION_LAYERS):
                recurrent = isinstance(layer, keras.layers.RNN)
                name = _name(getattr(layer, "activation", None)) if recurrent else _name(layer)
                tap(layer, "call", name, layer.call, not recurrent)
        yield taps
    finally:
        for attributes, attribute, value in reversed(undo):
            if value is None:
                del attributes[attribute]
            else:
                attributes[attribute] = value


def _of_grad(grad: Any) -> tf.Tensor:
    """Whether it is there, mean absolute entry, norm, share of zeros, whether it is finite.  # [5] float32."""
    if grad is None:
        return tf.constant([0.0, np.nan, np.nan, np.nan, 1.0], tf.float32)
    grad = tf.cast(tf.convert_to_tensor(grad), tf.float64)
    numbers = [1.0, tf.reduce_mean(tf.abs(grad)), tf.norm(grad), _share(grad == 0), _all_finite(grad)]
    return tf.stack([tf.cast(number, tf.float32) for number in numbers])


def _of_tap(activation: str, before: Any, after: Any) -> tf.Tensor:
    """The numbers of a `LayerLook`, in its order.  # [7] float32."""
    after = tf.cast(after, tf.float32)
    hidden = tf.constant(np.nan, tf.float32)
    beyond = saturated = hidden
    if before is not None:
        before = tf.cast(before, tf.float32)
        beyond = _share(tf.abs(before) > 5)
        if activation in ("tanh", "sigmoid"):
            low, high = (-9.5, 9.5) if activation == "tanh" else (-23.0, 17.0)
            saturated = _share(_by_unit((before < low) | (before > high)) >= 0.99)
    dead = _share(_by_unit(after != 0) <= 0.01)
    shares = [_share(after == 0), _share(after <= 0), dead, beyond, saturated]
    return tf.stack([tf.reduce_mean(after), *shares, _all_finite(after)])


def _of_output(output: tf.Tensor) -> tf.Tensor:
    off = tf.abs(tf.reduce_sum(output, -1) - 1) if output.shape.rank else tf.abs(output - 1)
    return tf.stack([tf.reduce_min(output), tf.reduce_max(output), tf.reduce_max(off)])


def _by_unit(flags: tf.Tensor) -> tf.Tensor:
    """For each unit, which the last axis counts, the share of the other positions at which a flag is set."""
    return tf.reduce_mean(tf.cast(tf.reshape(flags, [-1, tf.shape(flags)[-1]]), tf.float32), 0)


def _share(flags: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.cast(flags, tf.float32))


def _all_finite(tensor: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.reduce_all(tf.math.is_finite(tensor)), tf.float32)


def _add_weights(look: Look, variables: Sequence[Any], before: list[np.ndarray]) -> None:
    same = len(before) == len(variables)
    for index, variable in enumerate(variables):
        seen = look.variables[variable.path]
        now = np.asarray(keras.ops.convert_to_numpy(variable), "float64")
        seen.weight_mean, seen.weights_finite = float(np.mean(now)), bool(np.isfinite(now).all())
        if same and before[index].shape == now.shape:
            was = before[index].astype("float64")
            with np.errstate(all="ignore"):
                seen.weight_norm, seen.update_norm = float(np.linalg.norm(was)), float(np.linalg.norm(now - was))
            seen.unchanged = bool(np.allclose(now, was, rtol=1e-5, atol=1e-8))


def _weights(model: Any) -> list[np.ndarray]:
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in model.trainable_variables]


def _raw(variable: Any) -> Any:
    """The TensorFlow variable in a Keras variable."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def _name(activation: Any) -> str:
    """The name of an activation in snake case."""
    if isinstance(activation, keras.layers.Layer):
        return {"ReLU": "relu"}.get(type(activation).__name__, _snake(type(activation).__name__))
    return getattr(activation, "__name__", _snake(type(activation).__name__))


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _sample(data: Sequence[Any]) -> tuple[Any, Any]:
    """At most 64 rows of inputs and targets as tensors."""
    x, y = (*data, None)[:2]
    if isinstance(x, tf.data.Dataset):
        batch = next(iter(_in_order(x)))
        x, y = (*batch, None)[:2] if isinstance(batch, tuple) else (batch, None)
    elif isinstance(x, keras.utils.PyDataset):
        x, y = (*x[0], None)[:2]
    elif hasattr(x, "__next__"):
        raise TypeError("a generator, of which a batch would be missing from the training")
    rows = {len(leaf) for leaf in tf.nest.flatten((x, y)) if leaf is not None}
    taken = np.unique(np.linspace(0, min(rows) - 1, min(MAX_ROWS, min(rows))).astype(int))
    return tuple(tf.nest.map_structure(lambda leaf: None if leaf is None else _tensor(leaf, taken), (x, y)))


def _tensor(leaf: Any, rows: np.ndarray) -> tf.Tensor:
    array = np.asarray(leaf)[rows]
    return tf.convert_to_tensor(array.astype(keras.config.floatx()) if array.dtype.kind == "f" else array)


def _in_order(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """A copy of a dataset that does not shuffle.

    To iterate over the dataset itself, or over a plain copy, would move on what its shuffling draws from, and with it
    the order of the training. A dataset that draws otherwise, or calls Python, is refused.
    """
    variant = tf.data.experimental.to_variant(dataset)
    text = tf.raw_ops.DatasetToGraphV2(input_dataset=variant, external_state_policy=2).numpy()
    graph = tf.compat.v1.GraphDef.FromString(text)
    left_out = {node.name: node.input[0] for node in graph.node if re.match("ShuffleDataset|CacheDataset", node.op)}
    for node in graph.node:
        for index, name in enumerate(node.input):
            while name in left_out:
                name = left_out[name]
            node.input[index] = name
    copy = tf.raw_ops.DatasetFromGraph(graph_def=graph.SerializeToString())
    return tf.data.experimental.from_variant(copy, dataset.element_spec)


def _describe(recording: Recording, model: Any, x: Any, y: Any) -> None:
    """Adds what does not change while a model trains."""
    inputs = [np.asarray(leaf, "float64").ravel() for leaf in tf.nest.flatten(x) if leaf.dtype != tf.string]
    if inputs:
        values = np.concatenate(inputs)
        recording.input_min, recording.input_max = float(values.min()), float(values.max())
    loss = next(iter(tf.nest.flatten(model.loss)), None)
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", None) or _snake(type(loss).__name__)
    recording.loss = "" if loss is None else _snake(name).replace("cross_entropy", "crossentropy")
    recording.from_logits = bool(getattr(loss, "from_logits", False) or _option(loss, "from_logits"))
    if y is None:
        return
    targets = np.asarray(tf.nest.flatten(y)[0])
    if targets.dtype.kind not in "biuf":
        return
    recording.target_min, recording.target_max = float(targets.min()), float(targets.max())
    outputs = tf.nest.flatten(getattr(model, "output_shape", None) or ())
    num_units = int(outputs[-1] or 1) if outputs else 1
    recording.num_classes = _num_classes(recording.loss, targets, num_units)


def _option(loss: Any, name: str) -> Any:
    try:
        return loss.get_config().get(name)
    except Exception:  # a loss of one's own need not have a configuration
        return None


def _num_classes(loss: str, targets: np.ndarray, num_units: int) -> int | None:
    """The number of classes, where targets are classes: by the loss, or because they are whole and fit the outputs."""
    whole = bool((targets == np.round(targets)).all())
    zero_or_one = whole and targets.min() >= 0 and targets.max() <= 1
    if not any(word in loss for word in _CLASSIFIES) and not zero_or_one:
        return None
    one_hot = targets.ndim > 1 and targets.shape[-1] > 1
    if one_hot:
        return int(targets.shape[-1])
    return max(2, num_units, int(targets.max()) + 1) if whole else None


def _accuracy(recording: Recording, y: Any, outputs: np.ndarray | None) -> float | None:
    """The share of rows of the sample that are classified rightly; `None` where that means nothing."""
    if recording.num_classes is None or outputs is None or y is None:
        return None
    targets = np.asarray(tf.nest.flatten(y)[0])
    outputs = outputs.reshape(len(outputs), -1)
    if targets.ndim > 1 and targets.shape[-1] > 1:
        targets = targets.reshape(len(targets), -1)
        return float(np.mean(targets.argmax(-1) == outputs.argmax(-1))) if targets.shape == outputs.shape else None
    if targets.size != len(outputs):
        return None
    classes = outputs.argmax(-1) if outputs.shape[-1] > 1 else outputs[:, 0] > (0 if recording.from_logits else 0.5)
    return float(np.mean(targets.ravel() == classes))


def _learning_rate(model: Any) -> float:
    try:
        return float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
    except (AttributeError, TypeError, ValueError):  # a model of one's own may have several optimizers, or none
        return float("nan")
