"""What a sink is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from gradwatch.records import RunInfo, Segment, VariableInfo


@runtime_checkable
class Sink(Protocol):
    """Takes records while training runs.

    A watch calls `write` with what it has drained, `flush` when what was written must be safe (at the end of an epoch,
    before an error is raised), and `close` once at the end. Any object with these three methods is a sink; it decides
    by itself how much it gathers before it passes something on.

    If a sink has a method `finish(report)` too, it is given the `gradwatch.Report` on everything recorded so far when a
    run ends: after each `fit`, and before it is closed if more was recorded since, as where an error ends the run.
    """

    def write(self, segments: Sequence[Segment], variables: Sequence[VariableInfo], info: RunInfo) -> None:
        """Takes the steps that were recorded since the last call.

        Args:
            segments: The new steps, in order; never one that was given before. May be empty when only `variables` or
                `info` have changed. The arrays belong to the sink.
            variables: All variables known by now, in model order; the segments' indices point into it. A later call may
                bring more of them.
            info: Facts about the run as they are known by now.
        """

    def flush(self) -> None:
        """Makes safe what was written: after it returns, a crash of the process loses none of it."""

    def close(self) -> None:
        """Flushes and lets go of files and connections; a second call does nothing."""
