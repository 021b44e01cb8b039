"""One Parquet file of a log."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gradwatch.errors import LogFormatError
from gradwatch.records import RunInfo, Segment, VariableInfo
from gradwatch.store import header, rows
from gradwatch.store.folders import Folder

METADATA_KEY = b"gradwatch"


@dataclasses.dataclass(frozen=True)
class StoredSegment:
    """What the footer says of one segment.

    Args:
        segment: The segment; its arrays have the dtypes of the stored ones, but no steps.
        num_steps: Number of its recorded calls.
        row_groups: Numbers of its row groups in the file.
        checksum: CRC-32 of its arrays, row group after row group.
        steps: The facts about its steps, if it has no variables and therefore no rows.
    """

    segment: Segment
    num_steps: int
    row_groups: range
    checksum: int
    steps: dict[str, list[Any]] | None


@dataclasses.dataclass(frozen=True)
class Part:
    """A Parquet file of which the footer was read.

    Args:
        folder: Where the file lies.
        name: Its name.
        variables: The variables that its segments point to.
        info: Facts about the run, if it is a log of its own.
        stored: Its segments.
    """

    folder: Folder
    name: str
    variables: tuple[VariableInfo, ...]
    info: RunInfo
    stored: tuple[StoredSegment, ...]

    @property
    def path(self) -> str:
        """Where the file is, for words."""
        return f"{self.folder.path}/{self.name}"

    @property
    def num_records(self) -> int:
        """Number of rows of `log.frame()` that it holds."""
        return sum(stored.num_steps * rows.width(stored.segment) for stored in self.stored)


def write(
    folder: Folder,
    name: str,
    variables: Sequence[VariableInfo],
    segments: Sequence[Segment],
    info: RunInfo,
    *,
    numbers: Sequence[int] | None = None,
) -> None:
    """Writes segments as one Parquet file, whole or not at all.

    Args:
        folder: Where to write it.
        name: Name of the file; replaced if it is there.
        variables: The variables that the segments point to.
        segments: What to write.
        info: Facts about the run.
        numbers: What the column `segment` says for each segment; by default 0, 1, 2, ...

    Raises:
        ValueError: If a segment points past the variables, or has arrays that the store does not keep.
        OSError: If it cannot be written.
    """
    segments = [rows.checked(segment, len(variables)) for segment in segments]
    content = {**header.to_json(variables, info), "segments": [_describe(segment) for segment in segments]}
    metadata = {METADATA_KEY: header.seal(content).encode()}
    labels = rows.Labels.of(variables, segments)
    with (
        folder.replacing(name) as file,
        pq.ParquetWriter(
            file,
            rows.ARROW_SCHEMA.with_metadata(metadata),
            compression="zstd",
            use_dictionary=[name for name in rows.ARROW_SCHEMA.names if name not in rows.FLOATS],
            use_byte_stream_split=list(rows.FLOATS),
            write_page_checksum=True,
        ) as writer,
    ):
        for segment, number in zip(segments, numbers or range(len(segments)), strict=True):
            for chunk in rows.chunks(segment):
                writer.write_table(rows.to_table(chunk, number, labels).replace_schema_metadata(metadata))


def open_part(folder: Folder, name: str) -> Part:
    """Reads the footer of a part, and none of its rows.

    Args:
        folder: Where it lies.
        name: Name of the file.

    Returns:
        What it holds.

    Raises:
        FileNotFoundError: If it is not there.
        LogFormatError: If it is not a gradwatch log, is damaged, or was written by a newer version.
    """
    path = f"{folder.path}/{name}"
    with translated(path), folder.opened(name) as file:
        metadata = pq.read_metadata(file)
        text = (metadata.metadata or {}).get(METADATA_KEY)
        if text is None:
            raise ValueError("a Parquet file that gradwatch did not write")
        content = header.unseal(text, path)
        variables, info = header.from_json(content)
        stored = tuple(_stored(content["segments"]))
        if sum(len(entry.row_groups) for entry in stored) != metadata.num_row_groups:
            raise ValueError("rows are missing")
        if not metadata.schema.to_arrow_schema().equals(rows.ARROW_SCHEMA):
            raise ValueError("its columns are not those of a log")
    return Part(folder, name, variables, info, stored)


def load(parts: Sequence[Part], variables: Sequence[VariableInfo]) -> tuple[Segment, ...]:
    """Reads the rows of parts.

    Args:
        parts: The parts in order.
        variables: The variables that the segments shall point to: those of every part, and maybe more.

    Returns:
        The segments; those that differ in nothing but their steps are joined.

    Raises:
        LogFormatError: If a part is damaged.
    """
    entries = [(part, stored, _pointing_to(variables, part, stored)) for part in parts for stored in part.stored]
    starts: list[int] = []
    lengths: Counter[Hashable] = Counter()
    for _, stored, segment in entries:
        starts.append(lengths[_key(segment)])
        lengths[_key(segment)] += stored.num_steps
    joined = {key: rows.empty(segment, lengths[key]) for key, segment in {_key(s): s for *_, s in entries}.items()}
    for (part, stored, segment), start in zip(entries, starts, strict=True):
        _fill(part, stored, joined[_key(segment)].take(slice(start, start + stored.num_steps)))
    return tuple(joined.values())


def _fill(part: Part, stored: StoredSegment, segment: Segment) -> None:
    """Writes what is stored into the arrays of `segment`."""
    start, checksum = 0, 0
    with (
        translated(part.path),
        part.folder.opened(part.name) as opened,
        pq.ParquetFile(opened, page_checksum_verification=True) as file,
    ):
        for row_group in stored.row_groups:
            table = file.read_row_group(row_group, columns=[*segment.steps, *segment.values])
            chunk = segment.take(slice(start, start + table.num_rows // rows.width(segment)))
            rows.from_table(table, chunk)
            start, checksum = start + chunk.num_steps, rows.checksum(chunk, checksum)
        if stored.steps is not None:
            for name, values in segment.steps.items():
                values[:] = stored.steps[name]
        elif start != stored.num_steps or checksum != stored.checksum:
            raise ValueError("the checksum of its rows does not fit")


def _describe(segment: Segment) -> dict[str, Any]:
    chunks = list(rows.chunks(segment))
    checksum = 0
    for chunk in chunks:
        checksum = rows.checksum(rows.as_read(chunk), checksum)
    return {
        "optimizer": segment.optimizer,
        "variables": [int(index) for index in segment.variables],
        "detached": [int(index) for index in segment.detached],
        "dtypes": {name: values.dtype.name for name, values in segment.values.items()},
        "num_steps": segment.num_steps,
        "num_row_groups": len(chunks),
        "checksum": checksum,
        "steps": None if rows.width(segment) else {name: array.tolist() for name, array in segment.steps.items()},
    }


def _stored(descriptions: list[dict[str, Any]]) -> Iterator[StoredSegment]:
    first = 0
    for entry in descriptions:
        values = {name: np.empty((0, len(entry["variables"])), dtype) for name, dtype in entry["dtypes"].items()}
        bare = Segment(entry["optimizer"], tuple(entry["variables"]), tuple(entry["detached"]), {}, values)
        row_groups = range(first, first + entry["num_row_groups"])
        yield StoredSegment(bare, entry["num_steps"], row_groups, entry["checksum"], entry["steps"])
        first = row_groups.stop


def _pointing_to(variables: Sequence[VariableInfo], part: Part, stored: StoredSegment) -> Segment:
    """The segment with indices into `variables` instead of the variables of its part."""
    if part.variables == tuple(variables):
        return stored.segment
    positions = {variable.path: index for index, variable in enumerate(variables)}
    with translated(part.path):
        indices = [positions[variable.path] for variable in part.variables]
    return dataclasses.replace(
        stored.segment,
        variables=tuple(indices[index] for index in stored.segment.variables),
        detached=tuple(indices[index] for index in stored.segment.detached),
    )


def _key(segment: Segment) -> Hashable:
    return segment.key, tuple((name, values.dtype) for name, values in segment.values.items())


@contextlib.contextmanager
def translated(path: str) -> Iterator[None]:
    """Turns what Arrow or a wrong description raises into one clear error; the system's own errors pass."""
    try:
        yield
    except LogFormatError:
        raise
    except (pa.ArrowException, ValueError, LookupError, TypeError, AttributeError) as error:
        raise header.unreadable(path, _first_line(error)) from error
    except OSError as error:
        if error.errno is not None or isinstance(error, FileNotFoundError | PermissionError):
            raise  # file systems of fsspec give no number
        raise header.unreadable(path, _first_line(error)) from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
