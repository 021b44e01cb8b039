"""One process at a time writes to a run directory.

The lock is the kind that belongs to a process (POSIX record locks): it goes with the process however that dies, and a
child that was forked, such as a worker that loads data and outlives a killed parent, does not hold on to it. For the
same reason it says nothing inside of one process; there the latest holder takes over from the one before, since a
notebook whose cell is run again has both.
"""

from __future__ import annotations

import contextlib
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
    """Whether a process writes to a run directory at the moment."""
    if os.path.realpath(directory) in Lock._holders:
        return True
    path = directory / names.LOCK
    if fcntl is None or not path.exists():
        return False
    try:
        file = _try(path, "r+")
    except BlockingIOError:
        return True
    except OSError:
        return False
    file.close()
    return False


def _locked(directory: pathlib.Path) -> IO[str]:
    path = directory / names.LOCK
    try:
        file = _try(path, "a+")
    except BlockingIOError as error:
        raise BlockingIOError(
            error.errno,
            f"Another process writes to this run directory. Received: {str(directory)!r}, held by process "
            f"{_holder(path)}. Give each process a directory of its own, or stop the other one.",
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}")
    file.flush()
    return file


def _try(path: pathlib.Path, mode: str) -> IO[str]:
    file = path.open(mode, encoding="utf-8")
    try:
        if fcntl is not None:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except PermissionError as error:  # what some systems say in place of EAGAIN
        file.close()
        raise BlockingIOError(error.errno, str(error)) from error
    except OSError as error:
        if isinstance(error, BlockingIOError):
            file.close()
            raise
        # a file system without locks (some network ones): nothing can be refused there
    return file


def _holder(path: pathlib.Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8").strip() or "unknown"
    return "unknown"
