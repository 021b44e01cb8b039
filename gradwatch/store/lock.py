"""One process at a time writes to a run directory.

The lock is the kind that belongs to a process (POSIX record locks): it goes with the process however that dies, and a
child that was forked, such as a worker that loads data and outlives a killed parent, does not hold on to it. For the
same reason it says nothing inside of one process; there the latest holder takes over from the one before, since a
notebook whose cell is run again has both.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
from typing import IO

from gradwatch.store import names

try:
    import fcntl
except ImportError:  # Windows has no such locks; nothing is refused there
    fcntl = None  # type: ignore[assignment]


class Lock:
    """Holds a run directory.

    `taken_over` says whether a later lock of the same process has it now.

    Args:
        directory: The directory; it is there.

    Raises:
        BlockingIOError: If another process holds it.
        OSError: If the lock cannot be written.
    """

    _holders: dict[str, Lock] = {}  # noqa: RUF012

    def __init__(self, directory: pathlib.Path) -> None:
        self._key = os.path.realpath(directory)
        self._pid = os.getpid()
        before = Lock._holders.get(self._key)
        self.taken_over = False
        if before is not None and before._pid == self._pid:
            self._file: IO[str] | None = before._file
            before._file, before.taken_over = None, True
        else:
            self._file = _locked(directory)
        Lock._holders[self._key] = self

    @property
    def held(self) -> bool:
        """Whether it holds the directory."""
        return self._file is not None and self._pid == os.getpid()

    def release(self) -> None:
        """Lets the directory go, if it is still held."""
        if not self.held:
            return
        assert self._file is not None
        self._file.close()
        self._file = None
        Lock._holders.pop(self._key, None)


def is_locked(directory: pathlib.Path) -> bool:
    """Whether a process writes to a run directory at the moment; true where that cannot be known."""
    if os.path.realpath(directory) in Lock._holders:
        return True
    path = directory / names.LOCK
    if not path.exists():
        return False
    try:
        with path.open("r+", encoding="utf-8") as file:
            return not _take(file)
    except OSError:
        return True


def _locked(directory: pathlib.Path) -> IO[str]:
    path = directory / names.LOCK
    file = path.open("a+", encoding="utf-8")
    try:
        _take(file)
    except BlockingIOError as error:
        file.close()
        raise BlockingIOError(
            error.errno,
            f"Another process writes to this run directory. Received: {str(directory)!r}, held by process "
            f"{_holder(path)}. Give each process a directory of its own, or stop the other one.",
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}")
    file.flush()
    return file


def _take(file: IO[str]) -> bool:
    """Locks a file, where that can be done; says whether it is certain that nobody else has it."""
    if fcntl is None:
        return False
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise BlockingIOError(error.errno, str(error)) from error
        return False  # a file system without locks, as some network ones are
    return True


def _holder(path: pathlib.Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8").strip() or "unknown"
    return "unknown"
