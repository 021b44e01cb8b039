"""The names of the files in a run directory, which carry the number of the run that they belong to."""

from __future__ import annotations

import pathlib
import re

from gradwatch.store import atomic

SUFFIX = ".parquet"

_PART = re.compile(r"part-(\d+)-(\d+)\.parquet")
_BAD_STEP = re.compile(r"_bad_step-(\d+)-(\d+)\.tensors")


def part_path(directory: pathlib.Path, run: int, count: int) -> pathlib.Path:
    """Where a part of a run lies."""
    return directory / f"part-{run:03d}-{count:06d}{SUFFIX}"


def parts_in(directory: pathlib.Path) -> list[tuple[int, int]]:
    """Run and count of all parts in a directory."""
    return _numbers_in(directory, _PART)


def bad_step_path(directory: pathlib.Path, run: int, step: int) -> pathlib.Path:
    """Where a bad step of a run lies."""
    return directory / f"_bad_step-{run:03d}-{step:09d}.tensors"


def bad_steps_in(directory: pathlib.Path) -> list[tuple[int, int]]:
    """Run and step of all bad steps in a directory."""
    return _numbers_in(directory, _BAD_STEP)


def remove_others(directory: pathlib.Path, run: int) -> None:
    """Removes what belongs to other runs, and what a crash left half written."""
    for numbers_in, path_of in ((parts_in, part_path), (bad_steps_in, bad_step_path)):
        for other, number in numbers_in(directory):
            if other != run:
                path_of(directory, other, number).unlink(missing_ok=True)
    for leftover in directory.glob(f".*{atomic.TEMPORARY_SUFFIX}"):
        name = leftover.name[1 : -len(atomic.TEMPORARY_SUFFIX)]
        if _PART.fullmatch(name) or _BAD_STEP.fullmatch(name):
            leftover.unlink(missing_ok=True)


def _numbers_in(directory: pathlib.Path, name: re.Pattern[str]) -> list[tuple[int, int]]:
    matches = (name.fullmatch(entry.name) for entry in directory.iterdir())
    return [(int(match[1]), int(match[2])) for match in matches if match]
