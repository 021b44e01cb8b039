"""Looks at a run again and again, and remembers what was found in it."""

from __future__ import annotations

import os
import pathlib

from gradwatch import log as logs
from gradwatch.cli import snapshot
from gradwatch.cli.snapshot import Snapshot
from gradwatch.diagnosis import Diagnosis, diagnose
from gradwatch.rules import Finding, Severity
from gradwatch.store import is_url
from gradwatch.store.following import Follower


class Watching:
    """A run that is looked at now and then.

    Args:
        run: The run directory, or a `.parquet` file.
        num_steps: How many of its last steps to look at.
    """

    def __init__(self, run: str | os.PathLike[str], num_steps: int) -> None:
        self.follower = Follower(run, num_steps)
        self._run = run
        self._num_steps = num_steps
        self._found: dict[tuple[str, str, tuple[str, ...]], Finding] = {}
        self._judged_step: int | None = None

    @property
    def is_file(self) -> bool:
        """Whether it is a file, which nothing is added to."""
        return not is_url(self._run) and pathlib.Path(self._run).is_file()

    @property
    def is_written(self) -> bool:
        """Whether a process writes to it; true where that cannot be known."""
        return self.follower.is_written

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found so far, most severe and earliest first."""
        return tuple(
            sorted(self._found.values(), key=lambda found: (-Severity(found.severity).rank, found.first_step or 0))
        )

    @property
    def has_errors(self) -> bool:
        """Whether a finding has severity "error"."""
        return any(finding.severity == Severity.ERROR for finding in self._found.values())

    def look(self) -> Snapshot:
        """How the run stands; its last steps are judged if there are new ones.

        Raises:
            FileNotFoundError: If there is no run.
            LogFormatError: If it is damaged.
        """
        if self.is_file:
            log, written = logs.load(self._run).tail(self._num_steps), pathlib.Path(self._run).stat().st_mtime
        else:
            end = self.follower.read()
            log, written = logs.Log(end.variables, end.segments, end.info), end.written
        shown = snapshot.take(log, (), written)
        if shown.step != self._judged_step:
            self._remember(diagnose(log))
            self._judged_step = shown.step
        return snapshot.take(log, self.findings, written)

    def judge_all(self) -> Diagnosis:
        """What is found in the whole log, which takes the place of what was found so far."""
        diagnosis = diagnose(logs.load(self._run))
        self._found.clear()
        self._remember(diagnosis)
        return diagnosis

    def _remember(self, diagnosis: Diagnosis) -> None:
        """A finding of before stays, with the steps that it was first and is last seen at."""
        for finding in diagnosis.findings:
            self._found[finding.code, str(finding.severity), finding.variables] = finding
