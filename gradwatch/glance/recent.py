"""The last steps of a run that is still going on, for rules that look back."""

from __future__ import annotations

from collections.abc import Sequence

from gradwatch import records
from gradwatch.diagnosis import RECENT_STEPS
from gradwatch.log import Log
from gradwatch.records import RunInfo, Segment, VariableInfo


class Recent:
    """Keeps of what a sink is given the steps that rules look back on, and no more than these."""

    def __init__(self) -> None:
        self._variables: tuple[VariableInfo, ...] = ()
        self._info = RunInfo()
        self._kinds: dict[tuple, list[Segment]] = {}

    def add(self, segments: Sequence[Segment], variables: Sequence[VariableInfo], info: RunInfo) -> None:
        """Takes what `Sink.write` takes."""
        if [v.path for v in variables] != [v.path for v in self._variables]:
            self._renumber(variables)
        self._variables, self._info = tuple(variables), info
        for segment in segments:
            if segment.num_steps:
                self._kinds.setdefault(segment.key, []).append(segment)
        for kind in self._kinds.values():
            while sum(segment.num_steps for segment in kind[1:]) >= RECENT_STEPS:
                del kind[0]

    def log(self) -> Log:
        """The last steps as a log."""
        segments = [segment for kind in self._kinds.values() for segment in kind]
        return Log(self._variables, segments, self._info).tail(RECENT_STEPS)

    def _renumber(self, variables: Sequence[VariableInfo]) -> None:
        """Lets what is kept point into a longer list of variables."""
        kept = [segment for kind in self._kinds.values() for segment in kind]
        self._kinds = {}
        for segment in records.repoint(kept, self._variables, variables):
            self._kinds.setdefault(segment.key, []).append(segment)
