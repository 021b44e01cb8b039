"""What gradwatch raises and warns with."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradwatch.rules.base import Finding


class GradientWarning(UserWarning):
    """Something about the gradients, or about gradwatch itself, that the user should know; told once a cause."""


class GradientError(RuntimeError):
    """Training was stopped because of its gradients.

    Args:
        message: What happened, where, and what to do.
        findings: What was found, root suspect first.
        step: The optimizer call (0-based) at which it was found, or `None` if no update was made yet.
    """

    def __init__(self, message: str, *, findings: Sequence[Finding] = (), step: int | None = None) -> None:
        super().__init__(message)
        self.findings = tuple(findings)
        self.step = step


class NonFiniteGradientError(GradientError):
    """A gradient (or the loss, or the batch it came from) holds NaN or Inf."""


class DetachedVariableError(GradientError):
    """Trainable variables have no gradient: the path from them to the loss is cut."""


class LogFormatError(ValueError):
    """A file or directory is not a gradwatch log, is damaged, or was written by a newer version."""


def warn(message: str) -> None:
    """Warns with a `GradientWarning` that points at the user's line, not into gradwatch, Keras or TensorFlow."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _NOT_THE_USER:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, GradientWarning, stacklevel=level)


@contextlib.contextmanager
def own_failures(doing: str) -> Iterator[None]:
    """Turns a failure of gradwatch itself into a warning: it must never cost a training run."""
    try:
        yield
    except Exception as error:
        warn(f"gradwatch failed at {doing}, training goes on: {type(error).__name__}: {error}")


_NOT_THE_USER = ("gradwatch", "keras", "tensorflow", "contextlib")
