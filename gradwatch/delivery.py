"""Hands what was recorded on to sinks; one that fails is dropped with a warning, and training goes on."""

from __future__ import annotations

import collections
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from gradwatch.errors import own_failures, warn
from gradwatch.records import RunInfo, Segment, VariableInfo
from gradwatch.reporting import Report
from gradwatch.sinks import ParquetSink, Sink
from gradwatch.store import Earlier, StoredArray

AnySink = TypeVar("AnySink", bound=Sink)

MOST_SECONDS = 10.0
"""Seconds after which what was written is made safe."""

FLUSH_SHARE = 0.01
"""Share of the time that flushes may take, as long as none is put off for longer than `MOST_SECONDS`."""


class Delivery:
    """The sinks of a watch.

    What is written is made safe at once, which is each 50 steps, or less often on a model whose steps are so short that
    this would take more than `FLUSH_SHARE` of the time.

    Args:
        sinks: The sinks.
        run_dir: The sink to the run directory, if there is one.
        clock: Gives the time in seconds.
    """

    def __init__(
        self, sinks: Sequence[Sink], run_dir: ParquetSink | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sinks = [*([run_dir] if run_dir is not None else []), *sinks]
        self._run_dir = run_dir
        self._clock = clock
        self._flushed = clock()
        self._flushes_took = collections.deque([0.0], maxlen=2)  # the quicker one counts: the first is always slow
        self._findings = ""
        self._is_reported = True

    @property
    def is_due(self) -> bool:
        """Whether what was recorded should be taken and made safe, because a while has passed."""
        return bool(self._sinks) and self._clock() - self._flushed >= MOST_SECONDS

    @property
    def has_run_dir(self) -> bool:
        """Whether records go to a run directory."""
        return self._run_dir is not None and self._run_dir in self._sinks

    def earlier(self) -> Earlier | None:
        """The run that the run directory holds from before, if there is one."""
        found: list[Earlier | None] = [None]
        self._try_run_dir(lambda sink: found.append(sink.earlier()))
        return found[-1]

    def go_on(self) -> None:
        """Has the run directory go on with that run."""
        self._try_run_dir(lambda sink: sink.go_on())

    def write(
        self, segments: Sequence[Segment], variables: Sequence[VariableInfo], info: RunInfo, *, urgent: bool
    ) -> None:
        """Hands records on.

        Args:
            segments: The new steps.
            variables: All variables known by now, in model order.
            info: Facts about the run.
            urgent: Make them safe at once.
        """
        self._is_reported &= not segments
        begun = self._clock()
        flushes = urgent or begun - self._flushed >= min(MOST_SECONDS, min(self._flushes_took) / FLUSH_SHARE)

        def deliver(sink: Sink) -> None:
            sink.write(segments, variables, info)
            if flushes:
                sink.flush()

        for sink in list(self._sinks):
            self._try(sink, deliver)
        if flushes:
            self._flushed = self._clock()
            self._flushes_took.append(self._flushed - begun)

    def add_bad_step(self, about: dict, arrays: Sequence[StoredArray]) -> None:
        """Has the run directory keep a bad step."""
        self._try_run_dir(lambda sink: sink.add_bad_step(about, arrays))

    def write_findings(self, text: str) -> None:
        """Has the run directory keep the findings so far."""
        if text != self._findings:
            self._findings = text
            self._try_run_dir(lambda sink: sink.write_findings(text))

    def finish(self, make: Callable[[], Report]) -> None:
        """Gives the report on everything to the sinks that take one, unless they have it already.

        Args:
            make: Makes it.
        """
        takers = [(sink, sink.finish) for sink in self._sinks if callable(getattr(sink, "finish", None))]  # type: ignore[attr-defined]
        if self._is_reported or not takers:
            return
        self._is_reported = True
        with own_failures("making the report for the sinks"):
            page = make()
            for sink, finish in takers:
                with own_failures(f"giving the report to {type(sink).__name__}"):
                    finish(page)

    def pause(self) -> None:
        """To be called where a run ends that may be gone on with."""
        for sink in list(self._sinks):
            self._try(sink, lambda sink: sink.flush())
        self._try_run_dir(lambda sink: sink.pause())

    def close(self) -> None:
        """Closes the sinks."""
        for sink in self._sinks:
            with own_failures(f"closing {type(sink).__name__}"):
                sink.close()
        self._sinks = []

    def _try(self, sink: AnySink, what: Callable[[AnySink], None]) -> None:
        try:
            what(sink)
        except Exception as error:
            self._sinks.remove(sink)
            with contextlib.suppress(Exception):  # it has failed, and that is what is said
                sink.close()
            warn(
                f"gradwatch stops writing to {type(sink).__name__}, training goes on and the log stays in memory: "
                f"{type(error).__name__}: {error}"
            )

    def _try_run_dir(self, what: Callable[[ParquetSink], None]) -> None:
        if self._run_dir is not None and self.has_run_dir:
            self._try(self._run_dir, what)
