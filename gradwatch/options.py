"""The options that a callback and a step wrapper share, checked before anything is trained."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from gradwatch import schema
from gradwatch.diagnosis import checked_rules, resolve_rules
from gradwatch.environment import FAIL_FAST_VARIABLE, RUN_DIR_VARIABLE
from gradwatch.rules import Finding, Rule, Severity
from gradwatch.sinks import Sink

ON_NONFINITE = ("record", "skip")
DETAILED_EVERY = 10
"""At each how many recorded steps a set of statistics is taken whole; between them only what one pass tells."""
SAMPLED_EVERY = 47
"""The same for what needs a copy of a weight or is no gradient; a prime, so as not to always meet one batch."""

_LATCHING_RULE = "NonFiniteGradient"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Checked options of a watch; `GradientWatch` documents them."""

    run_dir: str | None
    every_steps: int
    statistics: tuple[str, ...]
    detailed_every: int
    sampled_every: int
    samples_compiled: bool
    fail_fast: bool | frozenset[str]
    on_nonfinite: str
    max_consecutive_skips: int
    allow_detached: tuple[str, ...]
    save_bad_step: bool
    find_origin: bool
    rules: tuple[Rule, ...]
    sinks: tuple[Sink, ...]

    def stops(self, finding: Finding) -> bool:
        """Whether training is stopped for this finding."""
        if isinstance(self.fail_fast, bool):
            return self.fail_fast and finding.severity == Severity.ERROR
        return finding.rule in self.fail_fast

    @property
    def latches(self) -> bool:
        """Whether the first bad gradient ends all updates."""
        judged = any(rule.name == _LATCHING_RULE for rule in self.rules)
        return judged and (self.fail_fast if isinstance(self.fail_fast, bool) else _LATCHING_RULE in self.fail_fast)

    @property
    def guards(self) -> bool:
        """Whether updates with a bad gradient are held back."""
        return self.latches or self.on_nonfinite == "skip"


def check_options(
    *,
    run_dir: str | os.PathLike[str] | None,
    every_steps: int,
    statistics: str | tuple[str, ...],
    fail_fast: bool | Collection[str] | None,
    on_nonfinite: str,
    max_consecutive_skips: int,
    allow_detached: Sequence[str],
    save_bad_step: bool,
    find_origin: bool,
    rules: Iterable[Rule],
    sinks: Iterable[Sink],
) -> Options:
    """Checks every option and fills in what the environment sets.

    Raises:
        ValueError: If a value is not one that is known.
        TypeError: If a value is of the wrong kind.
    """
    rules = checked_rules(rules)
    return Options(
        run_dir=_run_dir(run_dir),
        every_steps=_positive("every_steps", every_steps),
        statistics=schema.statistic_names(statistics),
        detailed_every=DETAILED_EVERY if isinstance(statistics, str) else 1,
        sampled_every={"default": SAMPLED_EVERY, "full": DETAILED_EVERY}.get(str(statistics), 1),
        samples_compiled=statistics != "default",
        fail_fast=_fail_fast(fail_fast, rules),
        on_nonfinite=_on_nonfinite(on_nonfinite),
        max_consecutive_skips=_positive("max_consecutive_skips", max_consecutive_skips),
        allow_detached=_patterns(allow_detached),
        save_bad_step=bool(save_bad_step),
        find_origin=bool(find_origin),
        rules=rules,
        sinks=_sinks(sinks),
    )


def plain(options: Options) -> dict[str, Any]:
    """The options as plain data."""
    named: dict[str, Any] = {
        "rules": [rule.name for rule in options.rules],
        "sinks": [type(sink).__name__ for sink in options.sinks],
        "statistics": list(options.statistics),
        "allow_detached": list(options.allow_detached),
        "fail_fast": options.fail_fast if isinstance(options.fail_fast, bool) else sorted(options.fail_fast),
    }
    return {field.name: named.get(field.name, getattr(options, field.name)) for field in dataclasses.fields(options)}


def _positive(name: str, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
        raise ValueError(f"`{name}` must be a whole number of at least 1. Received: {name}={value!r}.")
    return int(value)


def _on_nonfinite(value: Any) -> str:
    if value not in ON_NONFINITE:
        raise ValueError(f"Unknown `on_nonfinite`. Received: on_nonfinite={value!r}. Expected 'record' or 'skip'.")
    return str(value)


def _run_dir(value: Any) -> str | None:
    value = os.environ.get(RUN_DIR_VARIABLE) or None if value is None else value
    if value is not None and not isinstance(value, str | os.PathLike):
        raise TypeError(f"`run_dir` must be a path or None. Received: run_dir={value!r}.")
    return None if value is None else os.fspath(value)


def _fail_fast(value: Any, rules: tuple[Rule, ...]) -> bool | frozenset[str]:
    if value is None:
        value = _from_environment(os.environ.get(FAIL_FAST_VARIABLE, ""))
    if isinstance(value, bool):
        return value
    if not isinstance(value, Collection):
        raise TypeError(
            f"`fail_fast` must be True, False, or a collection of rule names or codes. Received: fail_fast={value!r}."
        )
    return resolve_rules(value, rules)


def _from_environment(text: str) -> bool | list[str]:
    """True for "1" and its like, false for "0" and its like, else names or codes of rules, with commas."""
    text = text.strip()
    if text.lower() in ("", "0", "false", "no", "off"):
        return False
    return True if text.lower() in ("1", "true", "yes", "on") else [name.strip() for name in text.split(",")]


def _patterns(value: Any) -> tuple[str, ...]:
    patterns = (value,) if isinstance(value, str | int | float) or value is None else tuple(value)
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise TypeError(
            "`allow_detached` must be glob patterns of variable paths, such as ('pooler/*',). "
            f"Received: allow_detached={value!r}."
        )
    return patterns


def _sinks(value: Iterable[Any]) -> tuple[Sink, ...]:
    sinks = tuple(value)
    for sink in sinks:
        missing = [name for name in ("write", "flush", "close") if not callable(getattr(sink, name, None))]
        if missing:
            raise TypeError(f"A sink needs the methods write, flush and close; {sink!r} lacks {', '.join(missing)}.")
    return sinks
