"""The names of the files in a run directory, which carry the number of the run that they belong to.

A part has a number, and one that was made of several has the first and the last of them. A file is there whole or not
at all, so a part that spans others stands for them from the moment it is there, whether they are removed yet or not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from gradwatch.store import atomic
from gradwatch.store.folders import Folder

SUFFIX = ".parquet"
MANIFEST = "_manifest.json"
FINDINGS = "_findings.json"
LOCK = ".gradwatch.lock"

_PART = re.compile(r"part-(\d+)-(\d+)(?:-(\d+))?\.parquet")
_BAD_STEP = re.compile(r"_bad_step-(\d+)-(\d+)\.tensors")


class Span(NamedTuple):
    """A part of a run.

    Args:
        run: Number of the run.
        first: Number of the first part in it.
        last: Number of the last one.
    """

    run: int
    first: int
    last: int

    @property
    def name(self) -> str:
        """The name of its file.

        >>> Span(1, 4, 4).name, Span(1, 0, 63).name
        ('part-001-000004.parquet', 'part-001-000000-000063.parquet')
        """
        end = "" if self.first == self.last else f"-{self.last:06d}"
        return f"part-{self.run:03d}-{self.first:06d}{end}{SUFFIX}"


def parts_in(folder: Folder) -> list[Span]:
    """All parts in a folder."""
    matches = (_PART.fullmatch(name) for name in folder.names())
    return [Span(int(match[1]), int(match[2]), int(match[3] or match[2])) for match in matches if match]


def tiled(spans: Sequence[Span], at_least: int) -> tuple[list[Span], Span | None]:
    """Those parts of one run that have each record once, in order.

    Args:
        spans: The parts that are there.
        at_least: How many there have to be, counting each that was made of several as so many.

    Returns:
        The parts, and the first one that is missing, if one is.
    """
    chosen: list[Span] = []
    end = 0
    for span in sorted(spans, key=lambda span: (span.first, -span.last)):
        if span.first > end:
            break
        if span.first == end:
            chosen.append(span)
            end = span.last + 1
    run = spans[0].run if spans else 0
    is_missing = end < max([at_least, *(span.last + 1 for span in spans)])
    return chosen, Span(run, end, end) if is_missing else None


def bad_step_name(run: int, step: int) -> str:
    """The name of the file of a bad step."""
    return f"_bad_step-{run:03d}-{step:09d}.tensors"


def bad_steps_in(folder: Folder) -> list[tuple[int, int]]:
    """Run and step of all bad steps in a folder."""
    matches = (_BAD_STEP.fullmatch(name) for name in folder.names())
    return [(int(match[1]), int(match[2])) for match in matches if match]


def remove_others(folder: Folder, run: int) -> None:
    """Removes what belongs to other runs, what is in a part that spans it, and what a crash left half written."""
    parts = parts_in(folder)
    kept, _ = tiled([span for span in parts if span.run == run], 0)
    end = kept[-1].last if kept else -1
    for span in parts:
        if span.run != run or (span not in kept and span.last <= end):
            folder.remove(span.name)
    for other, step in bad_steps_in(folder):
        if other != run:
            folder.remove(bad_step_name(other, step))
    for name in folder.names():
        if name.startswith(".") and name.endswith(atomic.TEMPORARY_SUFFIX):
            written = name[1 : -len(atomic.TEMPORARY_SUFFIX)]
            if _PART.fullmatch(written) or _BAD_STEP.fullmatch(written):
                folder.remove(name)


def is_of_a_run(name: str) -> bool:
    """Whether a file is one that gradwatch writes into a run directory."""
    return bool(_PART.fullmatch(name) or _BAD_STEP.fullmatch(name) or name in (MANIFEST, FINDINGS))
