"""Records to a run directory of Parquet parts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from gradwatch import records, store
from gradwatch.records import RunInfo, Segment, VariableInfo


class ParquetSink:
    """Spills records to a run directory, where `gradwatch.load` reads them during and after training.

    Each flush is one part, written whole or not at all. Records are gathered in memory until then; a part is also
    written by itself once `max_records` have come together.

    Args:
        run_dir: The directory; made if need be. An earlier run in it is replaced by the first records that come;
            anything else in it is an error.
        max_records: Number of records after which a part is written without waiting for `flush`.

    Raises:
        OSError: If the directory cannot be written, or holds anything but a gradwatch run.
    """

    def __init__(self, run_dir: str | os.PathLike[str], *, max_records: int = 1_000_000) -> None:
        if max_records < 1:
            raise ValueError(f"`max_records` must be at least 1. Received: max_records={max_records}.")
        store.check_writable(run_dir)
        self._run_dir = run_dir
        self._opened: store.RunDirectory | None = None
        self._closed = False
        self._max_records = max_records
        self._pending: list[Segment] = []

    def write(self, segments: Sequence[Segment], variables: Sequence[VariableInfo], info: RunInfo) -> None:
        """Takes new steps, and makes variables and facts about the run known at once.

        Args:
            segments: The steps recorded since the last call.
            variables: All variables known by now, in model order.
            info: Facts about the run.

        Raises:
            OSError: If it cannot be written.
        """
        if self._closed:
            raise ValueError(f"The sink to {os.fspath(self._run_dir)!r} is closed. Make a new one.")
        directory = self._directory
        if _paths(variables) != _paths(directory.variables):
            self.flush()  # what is pending points into the variables of before
        directory.update(variables, info)
        self._pending.extend(segments)
        if sum(segment.num_records for segment in self._pending) >= self._max_records:
            self.flush()

    def flush(self) -> None:
        """Writes the gathered records as one part.

        Raises:
            OSError: If it cannot be written; the records are kept for the next call.
        """
        if self._pending:
            self._directory.append(records.join(self._pending))
            self._pending.clear()

    def add_bad_step(self, about: dict[str, Any], arrays: Sequence[store.StoredArray]) -> None:
        """Writes a bad step, whole or not at all; see `gradwatch.load_bad_step`.

        Args:
            about: What JSON can hold of it.
            arrays: The rest.

        Raises:
            OSError: If it cannot be written.
        """
        self._directory.add_bad_step(about, arrays)

    def close(self) -> None:
        """Flushes and closes the directory; a second call does nothing."""
        self.flush()
        if self._opened is not None:
            self._opened.close()
        self._closed = True

    @property
    def _directory(self) -> store.RunDirectory:
        """The directory, opened when the first records come: until then an earlier run in it stays."""
        if self._opened is None:
            self._opened = store.RunDirectory(self._run_dir)
        return self._opened


def _paths(variables: Sequence[VariableInfo]) -> list[str]:
    return [variable.path for variable in variables]
