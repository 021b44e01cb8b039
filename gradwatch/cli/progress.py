"""What is shown of work that takes long: a bar on stderr, where that is a terminal."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

DELAY = 1.0
"""Seconds before it is shown: most logs are read and judged in less."""


@contextlib.contextmanager
def bar(num_stages: int, *, delay: float = DELAY) -> Iterator[Callable[[str], None]]:
    """A bar of some stages of work, taken away at the end.

    Args:
        num_stages: How many there are.
        delay: Seconds before it is shown.

    Yields:
        A function to be called at the beginning of each stage, with its name.
    """
    if not sys.stderr.isatty():
        yield lambda stage: None
        return
    stages = _Stages(num_stages)
    timer = threading.Timer(delay, stages.show)
    timer.daemon = True
    timer.start()
    try:
        yield stages.begin
    finally:
        timer.cancel()
        stages.hide()


class _Stages:
    """Which stage it is, and the bar once it is shown."""

    def __init__(self, num_stages: int) -> None:
        self._num_stages = num_stages
        self._num_begun = 0
        self._name = ""
        self._lock = threading.Lock()
        self._progress: Progress | None = None
        self._hidden = False

    def begin(self, name: str) -> None:
        """The next stage begins."""
        with self._lock:
            self._name, self._num_begun = name, self._num_begun + 1
            self._update()

    def show(self) -> None:
        """Called by a timer; rich is loaded here, for a quick command does without."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        with self._lock:
            if self._hidden:
                return
            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
            self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
            self._progress.add_task(self._name, total=self._num_stages)
            self._update()
            self._progress.start()

    def hide(self) -> None:
        """Takes the bar away, or sees to it that it does not come."""
        with self._lock:
            self._hidden = True
            if self._progress is not None:
                self._progress.stop()

    def _update(self) -> None:
        if self._progress is not None:
            (task,) = self._progress.task_ids
            self._progress.update(task, description=self._name, completed=self._num_begun - 1)
