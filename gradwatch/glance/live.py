"""`LiveView`, a sink that shows a run in a notebook while it trains."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence

from gradwatch.diagnosis import Diagnosis, checked_rules, diagnose
from gradwatch.glance.card import drawn
from gradwatch.glance.history import History
from gradwatch.glance.recent import Recent
from gradwatch.glance.screen import NotebookScreen, Screen
from gradwatch.log import Log
from gradwatch.records import RunInfo, Segment, VariableInfo
from gradwatch.rules import RULES, Finding, Rule, Severity

REST = 30
"""How many times as long as drawing took it rests afterwards, so that drawing never takes more than 3 % of the time."""


class LiveView:
    """Shows a run in a notebook while it trains: one display, changed in place.

    It has the step and the epoch, the verdict so far with the findings, loss and gradient norm over the steps, and the
    layers, worst first. What it shows is as new as the watch's last look at the device: the first step, then each 50
    steps and the end of an epoch. Errors stay on it; a warning goes when its reason goes.

    Outside of a notebook, in a terminal or a job, it does nothing and keeps nothing, and leaves the terminal to the
    progress bar of Keras. In a notebook `fit(..., verbose=0)` or `verbose=2` goes well with it.

    Args:
        every_seconds: Shortest time between two changes; a large model, for which drawing takes long, is drawn less
            often.
        rules: The rules to judge by; give it those of the watch, where the watch has others than usual.
        clock: Gives the time in seconds.
        screen: Where to show; the notebook if there is one.

    Raises:
        ValueError: If `every_seconds` is not a positive number.
        TypeError: If `rules` holds something else than rules.

    Example:
    ```python
    watch = gradwatch.GradientWatch(sinks=[gradwatch.LiveView()])
    model.fit(x, y, epochs=20, verbose=0, callbacks=[watch])
    ```
    """

    def __init__(
        self,
        *,
        every_seconds: float = 1.0,
        rules: Iterable[Rule] = RULES,
        clock: Callable[[], float] = time.monotonic,
        screen: Screen | None = None,
    ) -> None:
        if isinstance(every_seconds, str | bool) or not every_seconds > 0:
            raise ValueError(f"`every_seconds` must be positive. Received: every_seconds={every_seconds!r}.")
        self._every_seconds = float(every_seconds)
        self._rules = checked_rules(rules)
        self._clock = clock
        self._screen: Screen = NotebookScreen() if screen is None else screen
        self._recent = Recent()
        self._history = History()
        self._errors: tuple[Finding, ...] = ()
        self._has_news = False
        self._rests_until: float | None = None
        self._shown_in: int | None = None
        self._seen_in: int | None = None

    def write(self, segments: Sequence[Segment], variables: Sequence[VariableInfo], info: RunInfo) -> None:
        """Takes new steps, and shows them when it is time.

        What had to wait is shown once nothing new comes: a watch looks once more where training ends.

        Args:
            segments: The steps recorded since the last call.
            variables: All variables known by now, in model order.
            info: Facts about the run.
        """
        if not self._screen.is_there():
            return
        self._recent.add(segments, variables, info)
        self._history.add(Log(variables, segments, info))
        is_new = any(segment.num_steps for segment in segments)
        self._has_news |= is_new
        moved = is_new and self._has_moved()
        if moved or not is_new or self._rests_until is None or self._clock() >= self._rests_until:
            self._show(anew=moved)

    def flush(self) -> None:
        """Does nothing: a view keeps nothing that could be lost."""

    def close(self) -> None:
        """Shows what had to wait."""
        self._show()

    def _has_moved(self) -> bool:
        """Whether another cell trains now than that in which the view is, which may be gone if it was run again.

        The first steps that come in another cell may be the rest of what was trained before, so it takes two times.
        """
        before, self._seen_in = self._seen_in, self._screen.cell
        return self._rests_until is not None and self._shown_in != self._seen_in == before

    def _show(self, *, anew: bool = False) -> None:
        if not self._has_news:
            return
        begun = self._clock()
        self._has_news = False
        log = self._recent.log()
        diagnosis = self._judged(log)
        title = f"Training {log.info.model}" if log.info.model else "Training"
        html = drawn(log, self._history, diagnosis, title=title)
        self._screen.show(html, f"{title}, step {self._history.step}: {diagnosis.verdict}", anew=anew)
        if anew or self._rests_until is None:
            self._shown_in = self._screen.cell
        ended = self._clock()
        is_first = self._rests_until is None  # loads templates and IPython, which the next ones need not
        self._rests_until = ended + max(self._every_seconds, 0 if is_first else REST * (ended - begun))

    def _judged(self, log: Log) -> Diagnosis:
        """What is wrong now, and the errors of before that the last steps do not show any more."""
        now = diagnose(log, self._rules)
        errors = [finding for finding in now.findings if finding.severity == Severity.ERROR]
        gone = [old for old in self._errors if not any(_is_same(old, new) for new in errors)]
        self._errors = (*gone, *(self._from_its_start(new) for new in errors))
        others = [finding for finding in now.findings if finding.severity != Severity.ERROR]
        passed = [name for name in now.passed if name not in {finding.rule for finding in gone}]
        return Diagnosis((*self._errors, *others), now.skipped, tuple(passed))

    def _from_its_start(self, new: Finding) -> Finding:
        """A finding as it was when it was first made, up to now; the last steps may not reach back to its start."""
        old = next((old for old in self._errors if _is_same(old, new)), new)
        if old.first_step is None or new.first_step is None or new.first_step <= old.first_step:
            return new
        return dataclasses.replace(old, last_step=new.last_step, cause=new.cause)


def _is_same(old: Finding, new: Finding) -> bool:
    """Whether the second is the first, seen again later, when its cause may be known."""
    return (old.rule, old.layers[:1]) == (new.rule, new.layers[:1]) and old.cause in (None, new.cause)
