"""What is said of findings while training runs: the words of a warning, and the error that stops it."""

from __future__ import annotations

from gradwatch.diagnosis import Diagnosis
from gradwatch.errors import DetachedVariableError, GradientError, NonFiniteGradientError
from gradwatch.rules import Finding

NONFINITE = ("NonFiniteInput", "NonFiniteLoss", "NonFiniteGradient")
"""Rules whose findings are a `NonFiniteGradientError`."""


def error_for(stopping: list[Finding], diagnosis: Diagnosis) -> GradientError:
    """The error that stops training for some findings, the root suspect first; it holds all others too."""
    root = stopping[0]
    kind = GradientError
    if root.rule in NONFINITE:
        kind = NonFiniteGradientError
    elif root.rule == "DetachedVariable":
        kind = DetachedVariableError
    others = [finding for finding in diagnosis.findings if finding is not root]
    more = [f"[{finding.code} {finding.rule}] {finding.message}" for finding in stopping[1:]]
    message = " ".join([words_of(root), *(["At the same time:", *more] if more else [])])
    return kind(message, findings=(root, *others), step=root.first_step)


def words_of(finding: Finding) -> str:
    """A finding in one paragraph: what happened, and what to do."""
    return f"[{finding.code} {finding.rule}] {finding.message} What to do: {finding.remedy}"
