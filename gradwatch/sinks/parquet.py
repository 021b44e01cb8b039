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
    written by itself once `max_records` have come together. At the end parts are put together.

    Args:
        run_dir: The directory, made if need be, or an address that fsspec knows ("s3://bucket/run"). An earlier run in
            it is replaced by the first records that come, or gone on with; anything else in it is an error.
        max_records: Number of records after which a part is written without waiting for `flush`.

    Raises:
        OSError: If the directory cannot be written, holds anything but a gradwatch run, or is written by another
            process.
    """

    def __init__(self, run_dir: str | os.PathLike[str], *, max_records: int = 1_000_000) -> None:
        if max_records < 1:
            raise ValueError(f"`max_records` must be at least 1. Received: max_records={max_records}.")
        self._run_dir = os.fspath(run_dir)
        folder = store.folder(run_dir)
        store.claim(folder)
        try:
            folder.check_writable()
            self._lock = None if store.is_url(run_dir) else store.Lock(store.local_path(run_dir))
        except BlockingIOError:
            raise
        except OSError as error:
            raise store.unwritable(self._run_dir, error) from error
        self._opened: store.RunDirectory | None = None
        self._goes_on = False
        self._closed = False
        self._max_records = max_records
        self._pending: list[Segment] = []

    def earlier(self) -> store.Earlier | None:
        """The run that the directory holds from before; to be asked before the first `write`.

        Raises:
            LogFormatError: If it is damaged.
            OSError: If it cannot be read.
        """
        return store.earlier(store.folder(self._run_dir))

    def go_on(self) -> None:
        """Has the first `write` go on with that run."""
        self._goes_on = True

    def write(self, segments: Sequence[Segment], variables: Sequence[VariableInfo], info: RunInfo) -> None:
        """Takes new steps, and makes variables and facts about the run known at once.

        Args:
            segments: The steps recorded since the last call.
            variables: All variables known by now, in model order.
            info: Facts about the run.

        Raises:
            OSError: If it cannot be written.
        """
        directory = self._directory
        paths = [variable.path for variable in variables]
        if paths != [variable.path for variable in directory.variables][: len(paths)]:
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

    def write_findings(self, text: str) -> None:
        """Writes the findings so far, as JSON, in place of those of before.

        Raises:
            OSError: If they cannot be written.
        """
        self._directory.write_findings(text)

    def pause(self) -> None:
        """Flushes, puts parts together, and lets other processes at the directory until the next `write`.

        Raises:
            OSError: If it cannot be written; what is there stays.
        """
        if self._opened is not None or self._pending:
            self.flush()
            self._directory.compact()
        if self._lock is not None:
            self._lock.release()

    def close(self) -> None:
        """Flushes, puts parts together and lets go of the directory; a second call does nothing."""
        if self._closed:
            return
        try:
            if self._opened is not None or self._pending:
                self.flush()
                self._directory.compact()
                self._directory.close()
        finally:
            self._closed = True
            if self._lock is not None:
                self._lock.release()

    @property
    def _directory(self) -> store.RunDirectory:
        """The directory, opened when the first records come: until then an earlier run in it stays."""
        if self._closed:
            raise ValueError(f"The sink to {self._run_dir!r} is closed. Make a new one.")
        self._hold()
        if self._opened is None:
            self._opened = store.RunDirectory(self._run_dir, go_on=self._goes_on)
        return self._opened

    def _hold(self) -> None:
        """Takes the directory, after a pause anew."""
        if self._lock is None or self._lock.held:
            return
        if not self._lock.taken_over:
            self._lock = store.Lock(store.local_path(self._run_dir))
        if self._lock.taken_over or (self._opened is not None and not self._opened.is_current()):
            raise ValueError(f"The directory {self._run_dir!r} holds a later run by now, which another watch writes.")
