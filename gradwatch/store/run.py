"""A run directory that is open for writing while training goes on."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from gradwatch.records import RunInfo, Segment, VariableInfo
from gradwatch.store import bad_step, directory, folders, manifest, names, part
from gradwatch.store.directory import StrPath
from gradwatch.store.manifest import Manifest
from gradwatch.store.names import Span

MOST_SMALL_PARTS = 64
"""Parts that are put together into one as soon as there are so many."""

MOST_RECORDS = 1_000_000
"""Records of a part that is made of several."""


class RunDirectory:
    """Writes a run to a directory.

    It can be read at any time, from this process or another one; what `append` has returned from is not lost in a
    crash. Small parts are put together into larger ones, now and then and at the end. Other files stay.

    Args:
        path: The directory; made if need be. It must be empty or hold a gradwatch run.
        go_on: Go on with the run that is there; otherwise it is replaced.

    Raises:
        OSError: If it cannot be written, or holds anything but a gradwatch run.
        LogFormatError: If the run to go on with is damaged or not there.
    """

    def __init__(self, path: StrPath, *, go_on: bool = False) -> None:
        self._path = os.fspath(path)
        self._folder = folders.folder(path)
        self._closed = False
        self._manifest = Manifest(manifest.claim(self._folder))
        self._sizes: dict[Span, int] = {}  # records of each part, in order
        self._segment_numbers: dict[tuple[str, frozenset[str], frozenset[str]], int] = {}
        self._carried: tuple[VariableInfo, ...] = ()
        try:
            if go_on:
                self._go_on()
            else:
                manifest.write(self._folder, self._manifest)
                self._folder.remove(names.FINDINGS)
            names.remove_others(self._folder, self._manifest.run)
        except OSError as error:
            raise manifest.unwritable(self._path, error) from error

    @property
    def path(self) -> str:
        """The directory."""
        return self._path

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def variables(self) -> tuple[VariableInfo, ...]:
        """The variables of the last `update`, and those of before that only the run it goes on with has."""
        return self._manifest.variables

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
        paths = {variable.path for variable in variables}
        variables = (*variables, *(variable for variable in self._carried if variable.path not in paths))
        gone = {variable.path for variable in self.variables} - {variable.path for variable in variables}
        if gone:
            raise ValueError(
                f"Variables of the run are gone. Received: {len(variables)} variables without {sorted(gone)}."
            )
        if (variables, info) != (self._manifest.variables, self._manifest.info):
            self._write_manifest(variables, info)

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
        if not segments:
            return
        number = self._num_parts
        self._write_part(Span(self._manifest.run, number, number), segments)
        small = list(itertools.takewhile(lambda span: span.first == span.last, reversed(self._sizes)))
        if len(small) >= MOST_SMALL_PARTS:
            self._put_together(small[::-1])

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
        bad_step.write(self._folder, names.bad_step_name(self._manifest.run, about["step"]), about, arrays)

    def write_findings(self, text: str) -> None:
        """Writes the findings so far, as JSON, in place of those of before.

        Raises:
            ValueError: If it is closed.
            OSError: If they cannot be written.
        """
        self._check_open()
        with self._folder.replacing(names.FINDINGS) as file:
            file.write(text.encode())

    def compact(self) -> None:
        """Puts parts together, as far as none gets larger than `MOST_RECORDS`; it is the same log at any moment.

        Raises:
            OSError: If a part cannot be read or written; what is there stays.
        """
        group: list[Span] = []
        for span, num_records in [*self._sizes.items()]:
            if group and sum(self._sizes[each] for each in group) + num_records > MOST_RECORDS:
                self._put_together(group)
                group = []
            group.append(span)
        self._put_together(group)

    def close(self) -> None:
        """Writes the last manifest. The second call does nothing."""
        if not self._closed:
            self._write_manifest(self._manifest.variables, self._manifest.info)
            self._closed = True

    def is_current(self) -> bool:
        """Whether the directory still holds what was written last; false once another run went there."""
        return manifest.read(self._folder) == self._manifest

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def _num_parts(self) -> int:
        return next(reversed(self._sizes)).last + 1 if self._sizes else 0

    def _go_on(self) -> None:
        self._manifest = manifest.require(self._folder)
        self._carried = self._manifest.variables
        for span in directory.spans_of(self._folder, self._manifest):
            opened = part.open_part(self._folder, span.name)
            self._sizes[span] = opened.num_records
            for stored in opened.stored:
                self._segment_number(stored.segment, opened.variables)

    def _write_manifest(self, variables: tuple[VariableInfo, ...], info: RunInfo) -> None:
        new = Manifest(self._manifest.run, self._num_parts, variables, info)
        manifest.write(self._folder, new)
        self._manifest = new

    def _write_part(self, span: Span, segments: Sequence[Segment]) -> None:
        numbers = [self._segment_number(segment, self.variables) for segment in segments]
        part.write(self._folder, span.name, self.variables, segments, RunInfo(), numbers=numbers)
        self._sizes[span] = sum(segment.num_records for segment in segments)

    def _put_together(self, spans: Sequence[Span]) -> None:
        """Makes one part of several that follow each other."""
        if len(spans) < 2:
            return
        parts = [part.open_part(self._folder, span.name) for span in spans]
        segments = part.load(parts, self.variables)
        self._write_part(Span(self._manifest.run, spans[0].first, spans[-1].last), segments)
        self._sizes = {span: self._sizes[span] for span in sorted(self._sizes) if span not in spans}
        for span in spans:
            self._folder.remove(span.name)

    def _segment_number(self, segment: Segment, variables: Sequence[VariableInfo]) -> int:
        try:
            paths = [variables[index].path for index in (*segment.variables, *segment.detached)]
        except IndexError:
            return 0  # the part refuses it, and says so
        num_attached = len(segment.variables)
        key = (segment.optimizer, frozenset(paths[:num_attached]), frozenset(paths[num_attached:]))
        return self._segment_numbers.setdefault(key, len(self._segment_numbers))

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"The run directory is closed. Received: {self._path!r}. Open a new one to write.")
