"""Which variables there are: path, layer, order, size; and which optimizers a model has."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras

from gradwatch.causes import Cause
from gradwatch.recording import keras_seam
from gradwatch.records import VariableInfo

Variable = Any  # keras.Variable or tf.Variable
Optimizer = Any  # keras.optimizers.Optimizer


class VariableTable:
    """Numbers the variables of a run in the order they are first seen, and names each once.

    A number is what a record on the device means by a variable; it never changes. The order of the model, in which
    people want to see them, is kept beside it, since a model may be built, or a layer unfrozen, after recording began.
    """

    def __init__(self) -> None:
        self._variables: list[Variable] = []  # kept alive, so that an identity is never used twice
        self._numbers: dict[int, int] = {}
        self._infos: list[VariableInfo] = []
        self._positions: dict[int, int] = {}
        self._submodels: dict[int, str] = {}
        self._activations: dict[int, str] = {}
        self._cuts: dict[int, tuple[Variable, tuple[Cause, ...]]] = {}  # with the variable, to keep it alive

    def __len__(self) -> int:
        return len(self._infos)

    def add(self, variables: Iterable[Variable], *, tracked: bool = True) -> tuple[int, ...]:
        """The numbers of the variables, which are taken in if they are new."""
        return tuple(self._add(variable, tracked) for variable in variables)

    def set_order(self, variables: Iterable[Variable]) -> None:
        """Takes the order of a model's variables, trainable or not."""
        self._positions = {_identity(variable): position for position, variable in enumerate(variables)}

    def set_submodels(self, model: Any) -> None:
        """Takes which variables belong to a model inside of the model, before they are added."""
        self._submodels = submodels_of(model)

    def set_cuts(self, variables: Sequence[Variable], cuts: Sequence[tuple[Cause, ...]]) -> None:
        """Takes where the path from each variable to the loss is cut; they need not have been added yet."""
        for variable, causes in zip(variables, cuts, strict=True):
            self._cuts[_identity(variable)] = (variable, causes)

    def set_activations(self, variables: Sequence[Variable], names: Sequence[str]) -> None:
        """Takes the name of the activation after each variable's layer; the variables need to have been added."""
        for variable, name in zip(variables, names, strict=True):
            self._activations[self._numbers[_identity(variable)]] = name

    def ordered(self) -> tuple[tuple[VariableInfo, ...], dict[int, int]]:
        """The variables in model order, and for each number its place in that order."""
        last = len(self._positions)
        order = sorted(
            range(len(self._infos)),
            key=lambda number: self._positions.get(_identity(self._variables[number]), last),
        )
        return tuple(self._info(number) for number in order), {number: place for place, number in enumerate(order)}

    def path(self, number: int) -> str:
        """The path of the variable with this number."""
        return self._infos[number].path

    def _info(self, number: int) -> VariableInfo:
        _, cuts = self._cuts.get(_identity(self._variables[number]), (None, ()))
        return dataclasses.replace(self._infos[number], cuts=cuts, activation=self._activations.get(number, ""))

    def _add(self, variable: Variable, tracked: bool) -> int:
        identity = _identity(variable)
        if identity not in self._numbers:
            self._numbers[identity] = len(self._infos)
            self._variables.append(variable)
            self._infos.append(self._describe(variable, tracked))
        return self._numbers[identity]

    def _describe(self, variable: Variable, tracked: bool) -> VariableInfo:
        info = describe(variable)
        taken = {known.path for known in self._infos}
        path, count = info.path, 1
        while path in taken:
            count += 1
            path = f"{info.path}#{count}"
        submodel = self._submodels.get(_identity(variable), "")
        return dataclasses.replace(info, path=path, tracked=tracked, submodel=submodel)


def trained_variables(model: Any, optimizers: Mapping[str, Optimizer]) -> tuple[VariableInfo, ...]:
    """The trainable variables of a model, or where there is no model those that optimizers were built with.

    Args:
        model: The model, or `None`.
        optimizers: The optimizers by name.
    """
    table = VariableTable()
    if model is not None:
        table.add(model.trainable_variables)
    else:
        for optimizer in optimizers.values():
            table.add(keras_seam.optimizer_variables(optimizer))
    return table.ordered()[0]


def describe(variable: Variable) -> VariableInfo:
    """What a variable says of itself: its Keras path ("dense/kernel"), layer, shape and dtype."""
    path = getattr(variable, "path", None) or variable.name.split(":")[0]
    layer = path.rpartition("/")[0] or path
    dtype = variable.dtype if isinstance(variable.dtype, str) else variable.dtype.name
    return VariableInfo(path=path, layer=layer, shape=tuple(variable.shape), dtype=dtype)


def submodels_of(model: Any) -> dict[int, str]:
    """The name of the submodel of each variable that belongs to one, by the variable's identity.

    A model is a submodel when it is a layer of the model, as an attribute or in a functional graph. One that holds
    others counts as a whole. Names that occur twice are numbered.
    """
    found: dict[int, str] = {}
    names: list[str] = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            names.append(layer.name)
            count = names.count(layer.name)
            name = layer.name if count == 1 else f"{layer.name}#{count}"
            for variable in layer.variables:
                found.setdefault(_identity(variable), name)
    return found


def find_optimizers(model: Any) -> dict[str, Optimizer]:
    """Every Keras optimizer that is an attribute of the model, or stands in a list or dict that is one.

    Args:
        model: A Keras model.

    Returns:
        The optimizers by the name of their attribute ("optimizer", "d_optimizer", "optimizers/0"), in order of the
        attributes, each optimizer once.
    """
    found: dict[str, Optimizer] = {}
    if getattr(model, "optimizer", None) is not None:
        found["optimizer"] = model.optimizer
    for name, value in vars(model).items():
        if name.startswith("_"):
            continue  # Keras' own bookkeeping
        for label, optimizer in _optimizers_in(name, value):
            if not any(optimizer is known for known in found.values()):
                found[label] = optimizer
    return found


def _optimizers_in(name: str, value: Any) -> Iterator[tuple[str, Optimizer]]:
    if isinstance(value, keras.optimizers.Optimizer):
        yield name, value
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            if isinstance(item, keras.optimizers.Optimizer):
                yield f"{name}/{index}", item
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, keras.optimizers.Optimizer):
                yield f"{name}/{key}", item


def _identity(variable: Variable) -> int:
    return id(variable.value) if isinstance(variable, keras.Variable) else id(variable)
