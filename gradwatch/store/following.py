"""Reads the end of a run that is still being written, again and again, and each part of it once."""

from __future__ import annotations

import dataclasses

from gradwatch import records
from gradwatch.records import RunInfo, Segment, VariableInfo
from gradwatch.store import directory, folders, lock, manifest, names, part
from gradwatch.store.folders import StrPath
from gradwatch.store.manifest import Manifest
from gradwatch.store.names import Span

Read = tuple[tuple[VariableInfo, ...], tuple[Segment, ...]]


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
        self._path = path
        self._folder = folders.folder(path)
        self._num_steps = num_steps
        self._read: dict[Span, Read] = {}

    @property
    def is_there(self) -> bool:
        """Whether the directory holds a run: it is made some time before the first step is written."""
        return self._folder.is_there() and manifest.read(self._folder) is not None

    @property
    def is_written(self) -> bool:
        """Whether a process writes to it; true where that cannot be known."""
        return folders.is_url(self._path) or lock.is_locked(folders.local_path(self._path))

    def read(self) -> End:
        """The end of the run as it is now.

        Raises:
            FileNotFoundError: If there is no directory.
            LogFormatError: If it is not a run, is damaged, or was written by a newer version.
        """
        if not self._folder.is_there():
            raise FileNotFoundError(f"There is no run. Received: {self._folder.path!r}. Expected a run directory.")
        return directory.steadily(self._folder, self._end)

    def _end(self, found: Manifest) -> End:
        spans = directory.spans_of(self._folder, found)
        segments = self._last_steps(spans, found.variables)
        newest = max(map(self._folder.written, [names.MANIFEST, *(span.name for span in spans[-1:])]))
        return End(found.variables, segments, found.info, newest)

    def _last_steps(self, spans: list[Span], variables: tuple[VariableInfo, ...]) -> tuple[Segment, ...]:
        used: dict[Span, Read] = {}
        num_steps = 0
        for span in reversed(spans):
            if num_steps >= self._num_steps:
                break
            known = self._read.get(span)
            if known is None or known[0] != variables:  # indices of segments point into the variables
                known = variables, part.load([part.open_part(self._folder, span.name)], variables)
            used[span] = known
            num_steps += max((segment.num_steps for segment in known[1]), default=0)
        self._read = used
        joined = records.join([segment for span in reversed(used) for segment in used[span][1]])
        return tuple(segment.take(slice(-self._num_steps, None)) for segment in joined)
