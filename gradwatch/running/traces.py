"""Tracebacks without what runs the program."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator

_AROUND = ("gradwatch", "runpy", "importlib", "_frozen_importlib", "_frozen_importlib_external", "pkgutil")
"""What stands above the first line of the program: top levels of module names."""

HIDDEN = "gradwatch.running"
"""What stands between its lines: the package around `fit`."""


def show(error: BaseException) -> None:
    """Shows an exception by `sys.excepthook`, as Python does at the end of a program."""
    for each in _chain(error):
        each.__traceback__ = _joined([entry for entry in _entries(each.__traceback__) if not _is_hidden(entry)])
    error.__traceback__ = _joined(_below(_entries(error.__traceback__)))
    sys.excepthook(type(error), error, error.__traceback__)


def _below(entries: list[types.TracebackType]) -> list[types.TracebackType]:
    """The entries from the program's first one on."""
    for number, entry in enumerate(entries):
        if _name(entry).partition(".")[0] not in _AROUND:
            return entries[number:]
    return []


def _is_hidden(entry: types.TracebackType) -> bool:
    return _name(entry).startswith(HIDDEN)


def _name(entry: types.TracebackType) -> str:
    return str(entry.tb_frame.f_globals.get("__name__", ""))


def _entries(traceback: types.TracebackType | None) -> list[types.TracebackType]:
    entries = []
    while traceback is not None:
        entries.append(traceback)
        traceback = traceback.tb_next
    return entries


def _joined(entries: list[types.TracebackType]) -> types.TracebackType | None:
    following = None
    for entry in reversed(entries):
        entry.tb_next = following
        following = entry
    return following


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, and those it came from."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if not any(each is other for other in seen):
            seen.append(each)
            yield each
            waiting += [other for other in (each.__cause__, each.__context__) if other is not None]
