"""Rules about which variables can be trained at all."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Iterable, Iterator
from typing import ClassVar

from gradwatch.causes import Cause
from gradwatch.log import Log
from gradwatch.records import Segment, VariableInfo
from gradwatch.rules.base import Finding, Rule, Severity, Skip, listed, plural
from gradwatch.rules.compared import span_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetachedVariable(Rule):
    """The gradient of a trainable variable is `None`: no differentiable path leads from it to the loss.

    A variable counts as detached when it had no gradient in any recorded call. It is an error when an optimizer has not
    a single variable with a gradient, a warning when it has some, and an info where `allow_detached` names it.
    """

    code: ClassVar[str] = "GW401"
    severity: ClassVar[Severity] = Severity.ERROR
    title: ClassVar[str] = "a gradient is None, so the variable is never trained"
    remedy: ClassVar[str] = (
        "Look between these layers and the loss for the place where the path breaks: predictions taken out as NumPy "
        "(`.numpy()`, `model.predict`, `np.` functions), `argmax`, `round` or a cast to integers, `stop_gradient`, or "
        "a layer whose output the loss does not use. Do that computation with `keras.ops` or TensorFlow operations "
        "inside the model, for example in a layer of its own. If it is meant to be so, set `trainable = False` on the "
        "layer or name the variables in `allow_detached`."
    )

    def check(self, log: Log) -> Iterator[Finding]:
        """Yields one finding per optimizer, and one more for what is allowed; its value is the number of variables."""
        if not log.segments:
            raise Skip("No optimizer was called yet.")
        attached = {index for segment in log.segments for index in segment.variables}
        for optimizer, segments in _by_optimizer(log).items():
            missing = sorted({index for segment in segments for index in segment.detached} - attached)
            detached = [log.variable_infos[index] for index in missing]
            allowed = [variable for variable in detached if _is_allowed(variable, log.info.allow_detached)]
            faults = [variable for variable in detached if variable not in allowed]
            total = len({index for segment in segments for index in (*segment.variables, *segment.detached)})
            steps = span_of(segments)
            for cuts, group in _by_cuts(faults).items():
                yield self._fault(group, cuts, optimizer, steps, total=total, every=len(detached) == total)
            if allowed:
                yield self._allowed(allowed, steps)

    def _fault(
        self,
        variables: list[VariableInfo],
        cuts: tuple[Cause, ...],
        optimizer: str,
        steps: tuple[int, int] | None,
        *,
        total: int,
        every: bool,
    ) -> Finding:
        of = "any" if len(variables) == total else f"{len(variables)}"
        what = f"No gradient reaches {of} of the {plural(total, 'variable')} of optimizer {optimizer!r}"
        so = "so nothing is trained" if every else "so they are never trained"
        why = f": {listed([cut.explanation for cut in cuts])}" if cuts else ""
        return self.finding(
            f"{what} (their gradient is None), {so}{why}. They are: {by_layer(variables)}.",
            variables=[variable.path for variable in variables],
            layers=[variable.layer for variable in variables],
            steps=steps,
            value=len(variables),
            threshold=0,
            severity=Severity.ERROR if every else Severity.WARNING,
            remedy=" ".join(dict.fromkeys(cut.mend for cut in cuts)) or None,
            cause=cuts[0] if cuts else None,
        )

    def _allowed(self, variables: list[VariableInfo], steps: tuple[int, int] | None) -> Finding:
        count = plural(len(variables), "variable")
        return self.finding(
            f"No gradient reaches {count}, as `allow_detached` allows: {by_layer(variables)}.",
            variables=[variable.path for variable in variables],
            layers=[variable.layer for variable in variables],
            steps=steps,
            value=len(variables),
            severity=Severity.INFO,
            remedy="Nothing to do, if this is still what you want.",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnoptimizedVariable(Rule):
    """A trainable variable was never given to an optimizer, so it keeps its first value.

    Variables that the step used but that their model never tracked are reported apart: they need another mend. So is a
    whole model inside of the model of which no variable was given, as the teacher in a distillation: it is used as it
    is, which is an info.
    """

    code: ClassVar[str] = "GW402"
    severity: ClassVar[Severity] = Severity.WARNING
    title: ClassVar[str] = "a trainable variable that no optimizer was given"
    remedy: ClassVar[str] = (
        "Give it to an optimizer: use `model.trainable_variables` after every layer is built. If it is not meant to be "
        "trained, set `trainable = False` on its layer."
    )

    def check(self, log: Log) -> Iterator[Finding]:
        """Yields at most one finding each for tracked, whole models' and untracked variables; its value is a count."""
        if not log.num_steps:
            raise Skip("No step was recorded, so it is not known yet what the optimizers are given.")
        given = {index for segment in log.segments for index in (*segment.variables, *segment.detached)}
        unused = [variable for index, variable in enumerate(log.variable_infos) if index not in given]
        trained = {log.variable_infos[index].submodel for index in given} | {""}
        whole = [variable for variable in unused if variable.tracked and variable.submodel not in trained]
        tracked = [variable for variable in unused if variable.tracked and variable.submodel in trained]
        untracked = [variable for variable in unused if not variable.tracked]
        if tracked:
            yield self._finding(
                tracked, log, f"No optimizer was ever given {by_layer(tracked)}: trainable, but never trained."
            )
        if whole:
            names = listed([repr(name) for name in dict.fromkeys(variable.submodel for variable in whole)])
            yield self._finding(
                whole,
                log,
                f"No optimizer was ever given a variable of {names}: a model that is used as it is, not trained.",
                severity=Severity.INFO,
                remedy="Nothing to do for a teacher or a fixed encoder; `trainable = False` tells Keras so too.",
            )
        if untracked:
            yield self._finding(
                untracked,
                log,
                f"The step uses {by_layer(untracked)}, but the model does not know it: it is never trained or saved.",
                remedy="Create it in the layer's `build` with `self.add_weight(...)`, or assign it (or the layer that "
                "owns it) to an attribute of the layer or model, before the model is first called.",
            )

    def _finding(
        self,
        variables: list[VariableInfo],
        log: Log,
        message: str,
        *,
        severity: Severity | None = None,
        remedy: str | None = None,
    ) -> Finding:
        return self.finding(
            message,
            variables=[variable.path for variable in variables],
            layers=[variable.layer for variable in variables],
            steps=span_of(log.segments),
            value=len(variables),
            threshold=0,
            severity=severity,
            remedy=remedy,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoTrainableVariables(Rule):
    """The model has nothing to train."""

    code: ClassVar[str] = "GW403"
    severity: ClassVar[Severity] = Severity.ERROR
    title: ClassVar[str] = "nothing to train"
    remedy: ClassVar[str] = (
        "Set `trainable = True` on the layers to train, before `compile`. A model made of layers without weights needs "
        "a layer that has some; weights of a custom layer are made with `self.add_weight(...)`."
    )

    def check(self, log: Log) -> Iterator[Finding]:
        """Yields one finding if the model has no trainable variable."""
        if log.info.num_trainable is None:
            raise Skip("The model was not seen in training yet.")
        if log.info.num_trainable == 0:
            model = f" {log.info.model}" if log.info.model else ""
            yield self.finding(
                f"The model{model} has no trainable variable, so training changes nothing: every layer is frozen or "
                "has no weights.",
                value=0,
                threshold=1,
            )


def by_layer(variables: Iterable[VariableInfo], *, limit: int = 6) -> str:
    """Variables grouped by their layers, cut short where there are many.

    >>> from gradwatch.records import VariableInfo
    >>> names = ["dense/kernel", "dense/bias", "head/kernel"]
    >>> by_layer([VariableInfo(name, name.split("/")[0], (3,), "float32") for name in names])
    'dense (kernel, bias) and head (kernel)'
    """
    groups: dict[str, list[str]] = {}
    for variable in variables:
        name = variable.path.removeprefix(f"{variable.layer}/")
        groups.setdefault(variable.layer, []).append(name)
    texts = [f"{layer} ({listed_names(names)})" if layer else listed_names(names) for layer, names in groups.items()]
    return listed(texts, limit=limit) + (" layers" if len(texts) > limit + 1 else "")


def listed_names(names: list[str], *, limit: int = 8) -> str:
    """Names of variables of one layer with commas, cut short where there are many."""
    return ", ".join(names if len(names) <= limit else [*names[:limit], f"{len(names) - limit} more"])


def _by_cuts(variables: Iterable[VariableInfo]) -> dict[tuple[Cause, ...], list[VariableInfo]]:
    groups: dict[tuple[Cause, ...], list[VariableInfo]] = {}
    for variable in variables:
        groups.setdefault(variable.cuts, []).append(variable)
    return groups


def _is_allowed(variable: VariableInfo, patterns: tuple[str, ...]) -> bool:
    """Whether a pattern fits the path, or the path less the names of the models around it ("model/pooler/kernel")."""
    names = variable.path.split("/")
    tails = ["/".join(names[start:]) for start in range(len(names))]
    return any(fnmatch.fnmatchcase(tail, pattern) for tail in tails for pattern in patterns)


def _by_optimizer(log: Log) -> dict[str, list[Segment]]:
    groups: dict[str, list[Segment]] = {}
    for segment in log.segments:
        groups.setdefault(segment.optimizer, []).append(segment)
    return groups
