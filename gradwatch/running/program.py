"""A script or a module, run as `python script.py ...` and `python -m module ...` run it."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import pathlib
import runpy
import sys
from collections.abc import Iterator

from gradwatch.errors import GradientError
from gradwatch.running import traces

STOPPED = 3
"""Exit status: a `GradientError` ended the program."""

INTERRUPTED = 130
"""Exit status by which shells show a Ctrl-C."""


class UnusableRunDirError(SystemExit):
    """The run directory cannot be written.

    It is found out in the middle of the program, at its import of Keras, and ends it there. As a `SystemExit` it passes
    a program's `except Exception`.

    Args:
        message: What is wrong, and how to mend it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(2)
        self.message = message


@dataclasses.dataclass(frozen=True)
class Ending:
    """How a program ended.

    Args:
        status: Its exit status.
        message: What the shell shall say of it; "" where the program, or its traceback, said all.
        interrupted: Whether Ctrl-C ended it.
        has_run: Whether it began, and was not refused.
    """

    status: int
    message: str = ""
    interrupted: bool = False
    has_run: bool = True


@dataclasses.dataclass(frozen=True)
class Program:
    """What to run.

    Args:
        target: Path of a script (or of a directory or zip file with a `__main__.py`), or name of a module.
        arguments: What it finds in `sys.argv[1:]`.
        is_module: Whether `target` is a module.
    """

    target: str
    arguments: tuple[str, ...] = ()
    is_module: bool = False

    def run(self) -> Ending:
        """Runs it to its end, in this process.

        An exception that it does not catch is shown as Python shows it, by `sys.excepthook`, without the frames of what
        runs it. A `GradientError` is not shown: its message says where and why.
        """
        try:
            with self._surroundings():
                if not self._is_there():
                    what = "module" if self.is_module else "script"
                    return Ending(2, f"There is no such {what}. Received: {self.target!r}.", has_run=False)
                if self.is_module:
                    runpy.run_module(self.target, run_name="__main__", alter_sys=True)
                else:
                    # As `python /path/to/script.py`: `__file__` is absolute in Python too.
                    runpy.run_path(os.path.abspath(self.target), run_name="__main__")  # noqa: PTH100
        except SystemExit as end:
            return _of_exit(end)
        except GradientError as error:
            at = "" if error.step is None else f" at step {error.step}"
            return Ending(STOPPED, f"Training was stopped{at}: {error}")
        except BaseException as error:
            traces.show(error)
            interrupted = isinstance(error, KeyboardInterrupt)
            return Ending(INTERRUPTED if interrupted else 1, interrupted=interrupted)
        return Ending(0)

    def _is_there(self) -> bool:
        if not self.is_module:
            return pathlib.Path(self.target).exists()
        try:
            return importlib.util.find_spec(self.target) is not None
        except ModuleNotFoundError as error:
            if error.name is not None and f"{self.target}.".startswith(f"{error.name}."):
                return False
            raise  # a package on the way misses something else

    @contextlib.contextmanager
    def _surroundings(self) -> Iterator[None]:
        """`sys.argv` and `sys.path` as the program expects them."""
        argv, path = sys.argv, list(sys.path)
        sys.argv = [self.target, *self.arguments]
        if not getattr(sys.flags, "safe_path", False):  # since Python 3.11
            here = str(pathlib.Path.cwd()) if self.is_module else self._directory()
            sys.path[:1] = [here]
        try:
            yield
        finally:
            sys.argv, sys.path[:] = argv, path

    def _directory(self) -> str:
        """The directory that Python puts on the path for a script: the one of the file that a link points to."""
        real = pathlib.Path(self.target).resolve()
        return str(real if real.is_dir() else real.parent)


def _of_exit(end: SystemExit) -> Ending:
    if isinstance(end, UnusableRunDirError):
        return Ending(2, end.message, has_run=False)
    if end.code is None or isinstance(end.code, int):
        return Ending(end.code or 0)
    return Ending(1, str(end.code))
