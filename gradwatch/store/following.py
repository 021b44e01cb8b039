"""Reads the end of a run that is still being written, again and again, and each part of it once."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from gradwatch import records
from gradwatch.errors import LogFormatError
from gradwatch.records import RunInfo, Segment, VariableInfo
from gradwatch.store import directory, header, names, part
from gradwatch.store.directory import StrPath

NUM_TRIES = 5
"""How often a directory is read that changes while it is read."""


@dataclasses.dataclass(frozen=True)
class End:
    """The end of a run as it was read.

    Args:
        variables: The variables in model order.
        segments: The last steps of each segment.
        info: Facts about the run.
        written: When the newest file of it was written, in seconds since 1970.
    """

    variables: tuple[VariableInfo, ...]
    segments: tuple[Segment, ...]
    info: RunInfo
    written: float


class Follower:
    """Follows a run directory.

    Parts never change once they are there, so a part that was read is kept for as long as it is among the last ones.

    Args:
        path: The run directory; it need not be there yet.
        num_steps: How many steps of each segment to read.
    """

    def __init__(self, path: StrPath, num_steps: int) -> None:
        self._path = pathlib.Path(path)
        self._num_steps = num_steps
        self._read: dict[str, tuple[tuple[VariableInfo, ...], tuple[Segment, ...]]] = {}

    @property
    def is_there(self) -> bool:
        """Whether the directory holds a run: it is made some time before the first step is written."""
        return (self._path / directory.MANIFEST).exists()

    def read(self) -> End:
        """The end of the run as it is now.

        Raises:
            FileNotFoundError: If there is no directory.
            LogFormatError: If it is not a run, is damaged, or was written by a newer version.
        """
        for _ in range(NUM_TRIES - 1):
            before = self._state()
            try:
                return self._end()
            except (FileNotFoundError, LogFormatError):
                if self._state() == before:  # else a run that goes on has changed it meanwhile
                    raise
        return self._end()

    def _state(self) -> tuple[bytes, list[str]]:
        manifest = self._path / directory.MANIFEST
        return manifest.read_bytes() if manifest.exists() else b"", self._parts()

    def _parts(self, run: int | None = None) -> list[str]:
        """Names of the parts in order, of one run or of all."""
        found = sorted(names.parts_in(self._path)) if self._path.is_dir() else []
        return [names.part_path(self._path, number, count).name for number, count in found if run in (None, number)]

    def _end(self) -> End:
        if not self._path.is_dir():
            raise FileNotFoundError(f"There is no run. Received: {str(self._path)!r}. Expected a run directory.")
        manifest = self._path / directory.MANIFEST
        if not manifest.exists():
            raise header.unreadable(self._path, f"it has no {directory.MANIFEST}")
        content = header.unseal(manifest.read_bytes(), manifest)
        variables, info = header.from_json(content)
        parts = self._parts(int(content["run"]))
        segments = self._last_steps(parts, variables)
        newest = max(path.stat().st_mtime for path in (manifest, *(self._path / name for name in parts[-1:])))
        return End(variables, segments, info, newest)

    def _last_steps(self, parts: Sequence[str], variables: tuple[VariableInfo, ...]) -> tuple[Segment, ...]:
        used: dict[str, tuple[tuple[VariableInfo, ...], tuple[Segment, ...]]] = {}
        num_steps = 0
        for name in reversed(parts):
            if num_steps >= self._num_steps:
                break
            known = self._read.get(name)
            if known is None or known[0] != variables:  # indices of segments point into the variables
                known = variables, part.load([part.open_part(self._path / name)], variables)
            used[name] = known
            num_steps += max((segment.num_steps for segment in known[1]), default=0)
        self._read = used
        joined = records.join([segment for name in reversed(used) for segment in used[name][1]])
        return tuple(segment.take(slice(-self._num_steps, None)) for segment in joined)
