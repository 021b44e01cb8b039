"""The records of a watch on the host: in memory as long as they are few, and beyond that in files."""

from __future__ import annotations

import itertools
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

Kinds = dict[tuple, list[Segment]]
"""Segments by their key: a long run has thousands of them, and what is asked at each drain must not look at all."""

Variables = tuple[Sequence[VariableInfo], Mapping[int, int]]
Before = tuple[Sequence[VariableInfo], Sequence[Segment]]

NUM_FIRST = 64
"""First steps of each kind of segment that are kept at hand."""


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
        self._first: Kinds = {}  # the first steps, which rules compare with
        self._spilled: Kinds = {}  # the last steps of what is on disk
        self._pending: Kinds = {}  # what is not on disk, in order
        self._num_bytes = 0
        self._directory: store.RunDirectory | None = None
        self._num_spilled = 0
        self._earlier: tuple[store.StrPath, int] | None = None

    @property
    def last_step(self) -> int:
        """The last step that was recorded, -1 before the first."""
        kinds = [*self._spilled.values(), *self._pending.values()]
        return max((int(kind[-1].steps["step"][-1]) for kind in kinds), default=-1)

    @property
    def num_bytes(self) -> int:
        """Bytes of records in memory."""
        return self._num_bytes

    def go_on(self, path: store.StrPath, num_steps: int) -> None:
        """Has the log begin with the steps of an earlier run.

        Args:
            path: Where they are, and where those that are added may be as well.
            num_steps: How many optimizer calls there were.
        """
        self._earlier = path, num_steps

    def add(self, segments: Sequence[Segment]) -> None:
        """Keeps more steps, each segment following those of before."""
        for segment in segments:
            if segment.num_steps:
                missing = NUM_FIRST - sum(part.num_steps for part in self._first.get(segment.key, ()))
                if missing > 0:
                    self._first.setdefault(segment.key, []).append(segment.take(slice(missing)).copy())
                self._pending.setdefault(segment.key, []).append(segment)
                self._num_bytes += segment.num_bytes
        if self._pending and self._num_bytes > self._max_bytes:
            try:
                self._spill()
            except Exception as error:
                self._max_bytes = float("inf")
                warn(
                    "The log has grown long, and gradwatch could not move it from memory to temporary files; training "
                    f"goes on and all of it stays in memory. Set TMPDIR to a directory with room: {error}"
                )

    def log(self) -> Log:
        """Everything; where files cannot be read any more, what is in memory."""
        earlier = self._read_earlier()
        if self._directory is not None:
            try:
                variables, on_disk, _ = store.read(self._directory.path)
                found = sum(segment.num_steps for segment in on_disk)
                if found != self._num_spilled:
                    raise LogFormatError(f"{found} of {self._num_spilled} steps were found.")
            except (OSError, LogFormatError) as error:
                warn(f"The temporary files of a long log cannot be read; only its last steps are left: {error}")
                return self._log_of([*_in_order(self._spilled), *_in_order(self._pending)], earlier)
            return self._log_of(_in_order(self._pending), [*earlier, (variables, on_disk)])
        self._pending = {segment.key: [segment] for segment in records.join(_in_order(self._pending))}  # once for all
        return self._log_of(_in_order(self._pending), earlier)

    def tail(self, num_steps: int) -> Log:
        """The last `num_steps` steps of each segment, not more than `num_recent` of them."""
        return self._log_of(self._last_steps(num_steps))

    def ends(self, num_steps: int) -> Log:
        """The first steps of each segment, and the last as `tail` has them: what is judged while training runs."""
        last = self._last_steps(num_steps)
        starts = {segment.key: segment.steps["step"][0] for segment in last}
        first = [part.take(part.steps["step"] < starts[part.key]) for part in _in_order(self._first)]
        return self._log_of(records.join([*first, *last]))

    def _log_of(self, segments: Sequence[Segment], before: Sequence[Before] = ()) -> Log:
        """The log of some segments, and of others before them that point into lists of variables of their own."""
        infos, places = self._variables()
        known = {variable.path for variable in infos}
        only_before = {v.path: v for variables, _ in before for v in variables if v.path not in known}
        infos = [*infos, *only_before.values()]
        moved = [segment for variables, earlier in before for segment in records.repoint(earlier, variables, infos)]
        return Log(infos, [*moved, *(records.renumber(segment, places) for segment in segments)], self._info())

    def _read_earlier(self) -> list[Before]:
        if self._earlier is None:
            return []
        path, num_steps = self._earlier
        try:
            variables, segments, _ = store.read(path)
        except (OSError, LogFormatError) as error:
            warn(f"The steps of before this run was gone on with cannot be read: {error}")
            return []
        return [(variables, [segment.take(segment.steps["step"] < num_steps) for segment in segments])]

    def _spill(self) -> None:
        infos, places = self._variables()
        if self._directory is None:
            folder = tempfile.mkdtemp(prefix="gradwatch-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            self._directory = store.RunDirectory(folder)
        self._directory.update(infos, self._info())
        self._directory.append(
            records.join([records.renumber(segment, places) for segment in _in_order(self._pending)])
        )
        self._num_spilled += sum(segment.num_steps for segment in _in_order(self._pending))
        # Copies: a slice would keep all of the steps before it in memory.
        recent = [segment.copy() for segment in self._last_steps(self._num_recent)]
        self._spilled = {segment.key: [segment] for segment in recent}
        self._pending = {}
        self._num_bytes = sum(segment.num_bytes for segment in recent)

    def _last_steps(self, num_steps: int) -> tuple[Segment, ...]:
        """The last steps of each kind of segment."""
        chosen: list[Segment] = []
        for key in {**self._spilled, **self._pending}:
            ends: list[Segment] = []
            missing = num_steps
            for segment in itertools.chain(reversed(self._pending.get(key, ())), self._spilled.get(key, ())):
                if missing <= 0:
                    break
                ends.insert(0, segment.take(slice(max(0, segment.num_steps - missing), None)))
                missing -= segment.num_steps
            chosen += ends
        return records.join(chosen)


def _in_order(kinds: Kinds) -> list[Segment]:
    return [segment for kind in kinds.values() for segment in kind]
