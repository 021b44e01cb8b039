"""The manifest of a run directory: which run it holds, its variables, and the facts about it.

The manifest counts the runs that were written to the directory, and the names of the parts carry that number. A new
run takes the place of an old one at the moment its manifest does; parts of the old run that a crash left behind are not
read, and the next run removes them. Its name starts with an underscore because readers of Parquet directories (Arrow
and with it pandas, Spark) skip such files.
"""

from __future__ import annotations

import dataclasses

from gradwatch.errors import LogFormatError
from gradwatch.records import RunInfo, VariableInfo
from gradwatch.store import header, names
from gradwatch.store.folders import Folder


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What it says.

    Args:
        run: Number of the run.
        num_parts: Number of parts when it was written; there may be more of them since.
        variables: The variables in model order.
        info: Facts about the run.
    """

    run: int
    num_parts: int = 0
    variables: tuple[VariableInfo, ...] = ()
    info: RunInfo = dataclasses.field(default_factory=RunInfo)


def read(folder: Folder) -> Manifest | None:
    """The manifest of a folder, or `None` if it has none.

    Raises:
        LogFormatError: If it is damaged, or was written by a newer version.
    """
    path = f"{folder.path}/{names.MANIFEST}"
    try:
        content = header.unseal(folder.read(names.MANIFEST), path)
    except FileNotFoundError:
        return None
    try:
        variables, info = header.from_json(content)
        return Manifest(int(content["run"]), int(content["num_parts"]), variables, info)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise header.unreadable(path, "a field is missing") from error


def require(folder: Folder) -> Manifest:
    """The manifest of a folder.

    Raises:
        LogFormatError: If it has none, or it is damaged or of a newer version.
    """
    found = read(folder)
    if found is None:
        raise header.unreadable(folder.path, f"it has no {names.MANIFEST}")
    return found


def write(folder: Folder, manifest: Manifest) -> None:
    """Writes a manifest in place of the one that is there, whole or not at all."""
    content = {
        "run": manifest.run,
        "num_parts": manifest.num_parts,
        **header.to_json(manifest.variables, manifest.info),
    }
    with folder.replacing(names.MANIFEST) as file:
        file.write(header.seal(content, indent=1).encode())


def claim(folder: Folder) -> int:
    """Makes a folder, or looks that it holds a run or nothing; returns the number of the next run in it.

    Raises:
        OSError: If it cannot be written, or holds anything but a run.
    """
    try:
        folder.make()
        entries = [name for name in folder.names() if not name.startswith(".")]
        numbers = [span.run for span in names.parts_in(folder)]
        before = read(folder)
    except LogFormatError as error:
        raise FileExistsError(f"Cannot replace the run in {folder.path!r}. {error}") from error
    except OSError as error:
        raise unwritable(folder.path, error) from error
    strangers = [name for name in entries if not names.is_of_a_run(name)]
    if before is None and strangers:
        raise FileExistsError(
            f"The directory holds something other than a gradwatch run. Received: {folder.path!r} with "
            f"{', '.join(sorted(strangers)[:3])}. Give an empty or a new directory, or a path that ends in "
            f"{names.SUFFIX}."
        )
    return max([0, *numbers, *([before.run] if before else [])]) + 1


def unwritable(path: str, error: OSError) -> OSError:
    """The same error in words that say what to do."""
    message = (
        f"Cannot write the log. Received: {path!r} ({error.strerror or error}). "
        "Give a path that can be written, on a disk with space left."
    )
    return OSError(error.errno, message) if error.errno is not None else OSError(message)
