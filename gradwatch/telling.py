"""What is said of findings while training runs: the words of a warning, and the error that stops it."""

from __future__ import annotations

from gradwatch.causes import Cause
from gradwatch.diagnosis import Diagnosis
from gradwatch.errors import DetachedVariableError, GradientError, NonFiniteGradientError
from gradwatch.rules import Finding, Severity

NONFINITE = ("NonFiniteInput", "NonFiniteLoss", "NonFiniteGradient")
"""Rules whose findings are a `NonFiniteGradientError`."""


NUM_TIMES = 3
"""Successive judgements in which a warning has to be found before it is told while training runs."""


class Telling:
    """Says of each finding whether it should be told now: once, and as long as training runs when it is sure.

    An error, and a gradient that is `None`, is sure when it is found; a warning when it was found `NUM_TIMES` in a row.
    """

    def __init__(self) -> None:
        self._told: set[tuple[str, str, Cause | None]] = set()
        self._times: dict[tuple[str, str, Cause | None], int] = {}

    def fresh(self, diagnosis: Diagnosis, *, final: bool) -> list[Finding]:
        """The findings to tell now, which are told with that.

        Args:
            diagnosis: All that is found.
            final: Whether the run has ended.
        """
        fresh = []
        keyed = [((each.rule, str(each.severity), each.cause), each) for each in diagnosis.findings]
        self._times = {key: self._times.get(key, 0) + 1 for key in {key for key, _ in keyed}}
        for key, finding in keyed:
            urgent = finding.severity == Severity.ERROR or finding.rule == "DetachedVariable"
            sure = final or urgent or self._times[key] >= NUM_TIMES
            if finding.severity != Severity.INFO and sure and key not in self._told:
                self._told.add(key)
                fresh.append(finding)
        return fresh


def error_for(stopping: list[Finding], diagnosis: Diagnosis) -> GradientError:
    """The error that stops training for some findings, the root suspect first; it holds all others too."""
    root = stopping[0]
    kind = GradientError
    if any(finding.rule in NONFINITE for finding in stopping):
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
