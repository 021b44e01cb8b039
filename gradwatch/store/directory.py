"""A run directory: parts and a manifest.

The manifest counts the runs that were written to the directory, and the names of the parts carry that number. A new run
takes the place of an old one at the moment its manifest does; parts of the old run that a crash left behind are not
read, and the next run removes them. The manifest's name starts with an underscore because readers of Parquet
directories (Arrow and with it pandas, Spark) skip such files.
"""

from __future__ import annotations

import os
import pathlib
import tempfile
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from gradwatch.errors import LogFormatError
from gradwatch.records import RunInfo, Segment, VariableInfo
from gradwatch.store import atomic, bad_step, header, names, part

MANIFEST = "_manifest.json"
StrPath = str | os.PathLike[str]


def write(path: StrPath, variables: Sequence[VariableInfo], segments: Sequence[Segment], info: RunInfo) -> None:
    """Writes a log; one that is there already is replaced as a whole.

    Args:
        path: A `.parquet` file, or else a run directory, which is made if need be.
        variables: The variables in model order.
        segments: The recorded steps; their indices point into `variables`.
        info: Facts about the run.

    Raises:
        OSError: If it cannot be written, or is a directory that holds anything but a gradwatch run.
        ValueError: If a segment has arrays that the store does not keep.
    """
    path = pathlib.Path(path)
    if path.suffix == names.SUFFIX:
        try:
            part.write(path, variables, segments, info)
        except OSError as error:
            raise _unwritable(path, error) from error
        return
    number = _claim(path)
    try:
        if segments:
            part.write(names.part_path(path, number, 0), variables, segments, info)
        _write_manifest(path, number, min(1, len(segments)), variables, info)
        names.remove_others(path, number)
    except OSError as error:
        raise _unwritable(path, error) from error


def read(path: StrPath) -> tuple[tuple[VariableInfo, ...], tuple[Segment, ...], RunInfo]:
    """Reads a log that `write` or a `RunDirectory` has written, also while it is being written.

    Args:
        path: A `.parquet` file or a run directory.

    Returns:
        The variables in model order, the segments, and facts about the run. Segments that differ in nothing but their
        steps are joined.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        LogFormatError: If what is there is not a log, is damaged, or was written by a newer version.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        return _read_directory(path)
    if not path.exists():
        raise FileNotFoundError(
            f"There is no log. Received: {str(path)!r}. "
            "Expected a run directory or a .parquet file that gradwatch wrote."
        )
    only = part.open_part(path)
    return only.variables, part.load([only], only.variables), only.info


def bad_steps(path: StrPath) -> dict[int, pathlib.Path]:
    """The bad steps of a run directory: their numbers, and where they are.

    Raises:
        FileNotFoundError: If there is no run.
        LogFormatError: If it is not a run directory of gradwatch, is damaged, or was written by a newer version.
    """
    directory = pathlib.Path(path)
    manifest = _read_manifest(directory)
    if manifest is None:
        raise FileNotFoundError(f"There is no run. Received: {str(path)!r}. Expected a run directory of gradwatch.")
    run = int(manifest["run"])
    return {step: names.bad_step_path(directory, run, step) for n, step in names.bad_steps_in(directory) if n == run}


class RunDirectory:
    """A run directory that is open for writing while training goes on.

    Opening it starts a new run: the log of an earlier run in the same directory is replaced, other files in it stay. It
    can be read at any time, from this process or another one; what `append` has returned from is not lost in a crash.

    Args:
        path: The directory; made if need be. It must be empty or hold a gradwatch run.

    Raises:
        OSError: If it cannot be written, or holds anything but a gradwatch run.
    """

    def __init__(self, path: StrPath) -> None:
        self._path = pathlib.Path(path)
        self._number = _claim(self._path)
        self._num_parts = 0
        self._closed = False
        self._variables: tuple[VariableInfo, ...] = ()
        self._info = RunInfo()
        self._segment_numbers: dict[tuple[str, frozenset[str], frozenset[str]], int] = {}
        try:
            self._write_manifest()
            names.remove_others(self._path, self._number)
        except OSError as error:
            raise _unwritable(self._path, error) from error

    @property
    def path(self) -> pathlib.Path:
        """The directory."""
        return self._path

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def variables(self) -> tuple[VariableInfo, ...]:
        """The variables of the last `update`."""
        return self._variables

    def update(self, variables: Sequence[VariableInfo], info: RunInfo) -> None:
        """Makes the variables and the facts about the run known; writes only what has changed.

        Args:
            variables: All variables known by now, in model order. Later calls may add some anywhere, none may go.
            info: Facts about the run.

        Raises:
            ValueError: If it is closed, or a variable of before is missing.
            OSError: If the manifest cannot be written; the old one stays.
        """
        self._check_open()
        variables = tuple(variables)
        gone = {variable.path for variable in self._variables} - {variable.path for variable in variables}
        if gone:
            raise ValueError(
                f"Variables of the run are gone. Received: {len(variables)} variables without {sorted(gone)}."
            )
        if (variables, info) != (self._variables, self._info):
            _write_manifest(self._path, self._number, self._num_parts, variables, info)
            self._variables, self._info = variables, info

    def append(self, segments: Sequence[Segment]) -> None:
        """Writes segments as the next part, whole or not at all; nothing if they have no steps.

        Args:
            segments: Recorded steps that follow those before; their indices point into the variables of `update`.

        Raises:
            ValueError: If it is closed, or a segment points past the variables.
            OSError: If the part cannot be written; those before stay, and the call can be repeated.
        """
        self._check_open()
        segments = [segment for segment in segments if segment.num_steps]
        if segments:
            numbers = [self._segment_number(segment) for segment in segments]
            path = names.part_path(self._path, self._number, self._num_parts)
            part.write(path, self._variables, segments, self._info, numbers=numbers)
            self._num_parts += 1

    def add_bad_step(self, about: dict[str, Any], arrays: Sequence[bad_step.StoredArray]) -> None:
        """Writes a bad step, whole or not at all.

        Args:
            about: What JSON can hold of it; `step` is its number.
            arrays: The rest.

        Raises:
            ValueError: If it is closed.
            OSError: If it cannot be written.
        """
        self._check_open()
        bad_step.write(names.bad_step_path(self._path, self._number, about["step"]), about, arrays)

    def close(self) -> None:
        """Writes the last manifest. The second call does nothing."""
        if not self._closed:
            self._write_manifest()
            self._closed = True

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _write_manifest(self) -> None:
        _write_manifest(self._path, self._number, self._num_parts, self._variables, self._info)

    def _segment_number(self, segment: Segment) -> int:
        try:
            paths = [self._variables[index].path for index in (*segment.variables, *segment.detached)]
        except IndexError:
            return 0  # the part refuses it, and says so
        num_attached = len(segment.variables)
        key = (segment.optimizer, frozenset(paths[:num_attached]), frozenset(paths[num_attached:]))
        return self._segment_numbers.setdefault(key, len(self._segment_numbers))

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"The run directory is closed. Received: {str(self._path)!r}. Open a new one to write.")


def _read_directory(path: pathlib.Path) -> tuple[tuple[VariableInfo, ...], tuple[Segment, ...], RunInfo]:
    manifest = _read_manifest(path)
    if manifest is None:
        raise header.unreadable(path, f"it has no {MANIFEST}")
    try:
        variables, info = header.from_json(manifest)
        number, num_parts = int(manifest["run"]), int(manifest["num_parts"])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise header.unreadable(path / MANIFEST, "a field is missing") from error
    found = sorted(count for run, count in names.parts_in(path) if run == number)
    expected = range(max([num_parts, *(count + 1 for count in found)]))
    if found != list(expected):
        missing = names.part_path(path, number, min(set(expected) - set(found)))
        raise header.unreadable(path, f"{missing.name} is missing")
    parts = [part.open_part(names.part_path(path, number, count)) for count in found]
    return variables, part.load(parts, variables), info


def _read_manifest(path: pathlib.Path) -> dict[str, Any] | None:
    try:
        return header.unseal((path / MANIFEST).read_bytes(), path / MANIFEST)
    except FileNotFoundError:
        return None


def _write_manifest(
    path: pathlib.Path, number: int, num_parts: int, variables: Sequence[VariableInfo], info: RunInfo
) -> None:
    content = {"run": number, "num_parts": num_parts, **header.to_json(variables, info)}
    with atomic.replacing(path / MANIFEST) as temporary:
        temporary.write_text(header.seal(content, indent=1), encoding="utf-8")


def check_writable(path: StrPath) -> None:
    """Looks that a run may be written to a directory, which is made if need be; a run that is there stays.

    Raises:
        OSError: If it cannot be written, or holds anything but a gradwatch run.
    """
    path = pathlib.Path(path)
    _claim(path)
    try:
        with tempfile.NamedTemporaryFile(dir=path, prefix="."):
            pass
    except OSError as error:
        raise _unwritable(path, error) from error


def _claim(path: pathlib.Path) -> int:
    """Makes the directory, or looks that it holds a run; returns the number of the next run in it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        entries = [entry.name for entry in path.iterdir() if not entry.name.startswith(".")]
        numbers = [run for run, _ in names.parts_in(path)]
        manifest = _read_manifest(path)
    except LogFormatError as error:
        raise FileExistsError(f"Cannot replace the run in {str(path)!r}. {error}") from error
    except OSError as error:
        raise _unwritable(path, error) from error
    if manifest is None and len(numbers) < len(entries):
        raise FileExistsError(
            f"The directory holds something other than a gradwatch run. Received: {str(path)!r} with "
            f"{', '.join(sorted(entries)[:3])}. Give an empty or a new directory, or a path that ends in "
            f"{names.SUFFIX}."
        )
    return max([0, *numbers, *([int(manifest["run"])] if manifest else [])]) + 1


def _unwritable(path: pathlib.Path, error: OSError) -> OSError:
    """The same error in words that say what to do."""
    message = (
        f"Cannot write the log. Received: {str(path)!r} ({error.strerror or error}). "
        "Give a path that can be written, on a disk with space left."
    )
    return OSError(error.errno, message) if error.errno is not None else OSError(message)
