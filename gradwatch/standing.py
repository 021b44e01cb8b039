"""How a run stands: when it began and ended, how it ended, and what it goes on with."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable

from gradwatch.records import RunInfo
from gradwatch.store import Earlier


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


class Standing:
    """Keeps those facts about a run that change with it.

    Args:
        now: Gives the time as text.
    """

    def __init__(self, now: Callable[[], str] = _now) -> None:
        self.outcome = ""
        self._now = now
        self._started = ""
        self._ended = ""
        self._earlier: Earlier | None = None

    def begin(self) -> None:
        """The run begins, or goes on after an end."""
        self._started = self._started or self._now()
        self.outcome, self._ended = "running", ""

    def end(self, outcome: str) -> None:
        """The run ends.

        Args:
            outcome: One of `records.OUTCOMES`.
        """
        self.outcome, self._ended = outcome, self._now()

    def go_on(self, earlier: Earlier) -> None:
        """The run goes on with an earlier one."""
        self._earlier = earlier

    def put_into(self, info: RunInfo) -> RunInfo:
        """Facts about the run with these, and with those of the earlier run."""
        info = dataclasses.replace(info, started=self._started, ended=self._ended, outcome=self.outcome)
        if self._earlier is None:
            return info
        before = self._earlier.info
        return dataclasses.replace(
            info,
            started=before.started,
            resumed_at=(*before.resumed_at, self._earlier.num_steps),
            origins=(*before.origins, *info.origins),
            nonfinite_metrics=tuple(dict.fromkeys((*before.nonfinite_metrics, *info.nonfinite_metrics))),
        )
