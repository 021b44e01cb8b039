"""The records of a watch on the host: in memory as long as they are few, and beyond that in files."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence

from gradwatch import records, store
from gradwatch.errors import LogFormatError, warn
from gradwatch.log import Log
from gradwatch.records import RunInfo, Segment, VariableInfo

MAX_BYTES = 64_000_000
"""Bytes of records that are kept in memory."""

Variables = tuple[Sequence[VariableInfo], Mapping[int, int]]


class Archive:
    """Keeps every segment it is given; what does not fit into memory goes to a temporary run directory.

    The directory is removed with the archive, or where the process ends. Of what went there the last steps stay in
    memory too, for rules that look back while training runs.

    Args:
        variables: Gives the variables in model order, and for each number in a segment its place in that order.
        info: Gives the facts about the run.
        num_recent: Last steps of each segment that `tail` may be asked for.
        max_bytes: Bytes of records that are kept in memory.
    """

    def __init__(
        self,
        variables: Callable[[], Variables],
        info: Callable[[], RunInfo],
        *,
        num_recent: int,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._variables = variables
        self._info = info
        self._num_recent = num_recent
        self._max_bytes: float = max_bytes
        self._spilled: list[Segment] = []  # the last steps of what is on disk
        self._pending: list[Segment] = []  # what is not on disk, in order
        self._num_bytes = 0
        self._directory: store.RunDirectory | None = None
        self._num_spilled = 0

    @property
    def last_step(self) -> int:
        """The last step that was recorded, -1 before the first."""
        return max((int(segment.steps["step"][-1]) for segment in self._spilled + self._pending), default=-1)

    @property
    def num_bytes(self) -> int:
        """Bytes of records in memory."""
        return self._num_bytes

    def add(self, segments: Sequence[Segment]) -> None:
        """Keeps more steps, each segment following those of before."""
        self._pending.extend(segment for segment in segments if segment.num_steps)
        self._num_bytes += sum(segment.num_bytes for segment in segments)
        if self._pending and self._num_bytes > self._max_bytes:
            try:
                self._spill()
            except Exception as error:
                self._max_bytes = float("inf")
                warn(
                    "The log has grown long, and gradwatch could not move it from memory to temporary files; training "
                    f"goes on and all of it stays in memory. Give the watch a `run_dir`, or set TMPDIR: {error}"
                )

    def log(self) -> Log:
        """Everything; where the files cannot be read any more, what is in memory."""
        if self._directory is not None:
            try:
                variables, on_disk, _ = store.read(self._directory.path)
                found = sum(segment.num_steps for segment in on_disk)
                if found != self._num_spilled:  # the manifest of an open run does not count the newest parts
                    raise LogFormatError(f"{found} of {self._num_spilled} steps were found.")
            except (OSError, LogFormatError) as error:
                warn(f"The temporary files of a long log cannot be read; only its last steps are left: {error}")
                return self._log_of(records.join(self._spilled + self._pending))
            return self._log_of(self._pending, variables, on_disk)
        self._pending = list(records.join(self._pending))  # once, not each time
        return self._log_of(self._pending)

    def tail(self, num_steps: int) -> Log:
        """The last `num_steps` steps of each segment, not more than `num_recent` of them."""
        return self._log_of(_last_steps(self._spilled + self._pending, num_steps))

    def _log_of(
        self,
        segments: Sequence[Segment],
        variables_before: Sequence[VariableInfo] = (),
        before: Sequence[Segment] = (),
    ) -> Log:
        """The log of some segments, and of others before them that point into a list of variables of their own."""
        infos, places = self._variables()
        places_of_paths = {variable.path: place for place, variable in enumerate(infos)}
        places_before = {number: places_of_paths[v.path] for number, v in enumerate(variables_before)}
        earlier = [records.renumber(segment, places_before) for segment in before]
        return Log(infos, [*earlier, *(records.renumber(segment, places) for segment in segments)], self._info())

    def _spill(self) -> None:
        infos, places = self._variables()
        if self._directory is None:
            folder = tempfile.mkdtemp(prefix="gradwatch-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            self._directory = store.RunDirectory(folder)
        self._directory.update(infos, self._info())
        self._directory.append(records.join([records.renumber(segment, places) for segment in self._pending]))
        self._num_spilled += sum(segment.num_steps for segment in self._pending)
        recent = _last_steps(self._spilled + self._pending, self._num_recent)
        self._spilled = [segment.copy() for segment in recent]
        self._pending = []
        self._num_bytes = sum(segment.num_bytes for segment in self._spilled)


def _last_steps(segments: Sequence[Segment], num_steps: int) -> tuple[Segment, ...]:
    """The last steps of each kind of segment, without a look at those before."""
    kinds: dict[tuple, list[Segment]] = {segment.key: [] for segment in segments}
    missing = dict.fromkeys(kinds, num_steps)
    for segment in reversed(segments):
        if missing[segment.key] > 0:
            kinds[segment.key].insert(0, segment.take(slice(max(0, segment.num_steps - missing[segment.key]), None)))
            missing[segment.key] -= segment.num_steps
    return records.join([segment for kind in kinds.values() for segment in kind])
