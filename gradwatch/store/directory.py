"""Logs at a path: reading them, and writing one as a whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeVar

from gradwatch.errors import LogFormatError
from gradwatch.records import RunInfo, Segment, VariableInfo
from gradwatch.store import bad_step, folders, header, manifest, names, part
from gradwatch.store.bad_step import StoredArray
from gradwatch.store.folders import Folder, StrPath
from gradwatch.store.manifest import Manifest
from gradwatch.store.names import Span
from gradwatch.store.part import Part

T = TypeVar("T")

NUM_TRIES = 5
"""How often a directory is read in which parts go away because they are put together meanwhile."""


@dataclasses.dataclass(frozen=True)
class Earlier:
    """A run that a directory holds already.

    Args:
        variables: Its variables in model order.
        info: Facts about it.
        num_steps: Number of the last recorded optimizer call and 1: how many there were.
    """

    variables: tuple[VariableInfo, ...]
    info: RunInfo
    num_steps: int


def write(path: StrPath, variables: Sequence[VariableInfo], segments: Sequence[Segment], info: RunInfo) -> None:
    """Writes a log; one that is there already is replaced as a whole.

    Args:
        path: A `.parquet` file, or else a run directory, which is made if need be; local, or an address of fsspec.
        variables: The variables in model order.
        segments: The recorded steps; their indices point into `variables`.
        info: Facts about the run.

    Raises:
        OSError: If it cannot be written, or is a directory that holds anything but a gradwatch run.
        ValueError: If a segment has arrays that the store does not keep.
    """
    folder, name = folders.folder_and_name(path)
    try:
        if name.endswith(names.SUFFIX):
            part.write(folder, name, variables, segments, info)
            return
        folder = folders.folder(path)
        number = manifest.claim(folder)
        if segments:
            part.write(folder, Span(number, 0, 0).name, variables, segments, RunInfo())
        manifest.write(folder, Manifest(number, min(1, len(segments)), tuple(variables), info))
        names.remove_others(folder, number)
    except FileExistsError:
        raise
    except OSError as error:
        raise manifest.unwritable(str(path), error) from error


def read(path: StrPath) -> tuple[tuple[VariableInfo, ...], tuple[Segment, ...], RunInfo]:
    """Reads a log that `write` or a `RunDirectory` has written, also while it is being written.

    Args:
        path: A `.parquet` file or a run directory; local, or an address of fsspec.

    Returns:
        The variables in model order, the segments, and facts about the run. Segments that differ in nothing but their
        steps are joined.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        LogFormatError: If what is there is not a log, is damaged, or was written by a newer version.
        OSError: If it cannot be read.
    """
    folder = folders.folder(path)
    if folder.is_there():
        return _read_directory(folder)
    try:
        only = part.open_part(*folders.folder_and_name(path))
        return only.variables, part.load([only], only.variables), only.info
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"There is no log. Received: {str(path)!r}. "
            "Expected a run directory or a .parquet file that gradwatch wrote."
        ) from error


def bad_steps(path: StrPath) -> list[int]:
    """The numbers of the bad steps that a run directory has.

    Raises:
        FileNotFoundError: If there is no run.
        LogFormatError: If it is not a run directory of gradwatch, is damaged, or was written by a newer version.
    """
    folder, run = _run(path)
    return sorted(step for number, step in names.bad_steps_in(folder) if number == run)


def read_bad_step(path: StrPath, step: int) -> tuple[dict, list[StoredArray]]:
    """A bad step of a run directory, as `RunDirectory.add_bad_step` was given it.

    Raises:
        FileNotFoundError: If it is not there.
        LogFormatError: If it is no bad step of gradwatch, is damaged, or was written by a newer version.
    """
    folder, run = _run(path)
    return bad_step.read(folder, names.bad_step_name(run, step))


def earlier(folder: Folder) -> Earlier | None:
    """The run that a folder holds, or `None` if there is none that has a step.

    Raises:
        LogFormatError: If it is damaged, or was written by a newer version.
    """
    found = manifest.read(folder)
    parts = [] if found is None else parts_of(folder, found)
    if found is None or not parts:
        return None
    segments = part.load(parts[-1:], parts[-1].variables)
    return Earlier(found.variables, found.info, max(int(segment.steps["step"][-1]) for segment in segments) + 1)


def parts_of(folder: Folder, found: Manifest) -> list[Part]:
    """The parts of the run of a manifest, without their rows.

    Raises:
        LogFormatError: If one is missing or damaged.
    """
    return [part.open_part(folder, span.name) for span in spans_of(folder, found)]


def spans_of(folder: Folder, found: Manifest) -> list[Span]:
    """Which parts the run of a manifest has, in order.

    Raises:
        LogFormatError: If one is missing.
    """
    spans, missing = names.tiled([span for span in names.parts_in(folder) if span.run == found.run], found.num_parts)
    if missing is not None:
        name = missing._replace(run=found.run).name
        raise header.unreadable(f"{folder.path}/{name}", f"{name} is missing")
    return spans


def _run(path: StrPath) -> tuple[Folder, int]:
    folder = folders.folder(path)
    found = manifest.read(folder)
    if found is None:
        raise FileNotFoundError(f"There is no run. Received: {str(path)!r}. Expected a run directory of gradwatch.")
    return folder, found.run


def _read_directory(folder: Folder) -> tuple[tuple[VariableInfo, ...], tuple[Segment, ...], RunInfo]:
    def whole(found: Manifest) -> tuple[tuple[VariableInfo, ...], tuple[Segment, ...], RunInfo]:
        return found.variables, part.load(parts_of(folder, found), found.variables), found.info

    return steadily(folder, whole)


def steadily(folder: Folder, read: Callable[[Manifest], T]) -> T:
    """Reads a run directory, and again where it fails because the directory has changed meanwhile.

    A run that goes on may put parts together, or meet a new variable, after the manifest was read.

    Args:
        folder: The directory.
        read: Given the manifest, reads.

    Returns:
        What `read` returns.

    Raises:
        LogFormatError: If the directory is no run, or is damaged.
    """
    state = _state(folder)
    for _ in range(NUM_TRIES):
        try:
            return read(state[0])
        except (FileNotFoundError, LogFormatError):
            before, state = state, _state(folder)
            if state == before:
                raise
    raise header.unreadable(folder.path, "it changes faster than it can be read")


def _state(folder: Folder) -> tuple[Manifest, list[Span]]:
    return manifest.require(folder), sorted(names.parts_in(folder))
