"""Puts what is to be done around a step into a function that stands in its place, outside of what XLA compiles."""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from gradwatch.recording.around import AroundStep, written

Tensor = Any
Compile = Callable[[Callable[..., Any]], Callable[..., Any]]

_tracing = threading.local()


def wrap(step: Callable[..., Any], around: AroundStep, compile_it: Compile | None) -> Callable[..., Any]:
    """A function to be used, traced or not, in place of a step.

    It is so simple that AutoGraph goes through it into the user's step as it does without a watch.

    Args:
        step: The step as the user wrote it, or a function that this one made of it.
        around: What is done around it.
        compile_it: Has a function compiled by XLA; `None` if the step is not to be compiled.
    """
    plain = tf.autograph.experimental.do_not_convert
    hold, begin, end, finish, keep = map(plain, (around.hold, around.begin, around.end, around.finish, around.keep))

    @plain
    def enter() -> None:
        _tracing.compiled = getattr(_tracing, "compiled", 0) + (compile_it is not None)

    @plain
    def leave() -> None:
        _tracing.compiled -= compile_it is not None

    def inner(*args: Any, **kwargs: Any) -> Any:
        enter()
        try:
            begin((args, kwargs))
            try:
                result = step(*args, **kwargs)
            finally:
                end()
        finally:
            leave()
        return result, finish(result)

    _imitate(inner, step)
    compiled = inner if compile_it is None else compile_it(inner)

    def outer(*args: Any, **kwargs: Any) -> Any:
        if getattr(_tracing, "compiled", 0):  # another watch has it compiled already
            result, _ = inner(*args, **kwargs)
            return result
        hold((args, kwargs))
        result, number = compiled(*args, **kwargs)
        keep(number)
        return result

    _imitate(outer, step)
    outer.gradwatch_of = written(step)  # type: ignore[attr-defined]
    return outer


def _imitate(function: Any, step: Callable[..., Any]) -> None:
    # Not functools.wraps: through `__wrapped__` AutoGraph would find the source of the user's step and skip ours.
    function.__name__ = getattr(step, "__name__", "step")
    function.__doc__ = step.__doc__
    with contextlib.suppress(ValueError, TypeError):
        function.__signature__ = inspect.signature(step)
