"""What stands beside the rows: variables and facts about the run as JSON, with a version and a checksum."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Sequence
from typing import Any

from gradwatch import schema
from gradwatch.causes import Cause
from gradwatch.errors import LogFormatError
from gradwatch.records import Origin, Output, RunInfo, VariableInfo

FORMAT = "gradwatch"


def unreadable(path: object, reason: object) -> LogFormatError:
    """The error for what is not a log, or is no longer one."""
    return LogFormatError(
        f"Not a gradwatch log, or a damaged one. Received: {str(path)!r} ({reason}). Expected a run directory or a "
        ".parquet file that gradwatch wrote; if it is one, copy it again from its source or save the log again."
    )


def seal(content: dict[str, Any], *, indent: int | None = None) -> str:
    """JSON text of `content` with the version of the format and a checksum.

    >>> unseal(seal({"number": 1}), "a file")
    {'number': 1}
    """
    content = {"format": FORMAT, "schema_version": schema.SCHEMA_VERSION, **content}
    return json.dumps({**content, "checksum": _checksum(content)}, indent=indent)


def unseal(text: str | bytes, path: object) -> dict[str, Any]:
    """What `seal` was given.

    Args:
        text: JSON text.
        path: Where it is from, for the error.

    Returns:
        The content, less version and checksum.

    Raises:
        LogFormatError: If it is not of gradwatch, of a newer version, or not as it was written.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise unreadable(path, "its description is not JSON") from error
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise unreadable(path, "its description is not one of gradwatch")
    version = content.get("schema_version")
    if isinstance(version, int) and version > schema.SCHEMA_VERSION:
        raise LogFormatError(
            f"The log was written by a newer gradwatch. Received: {str(path)!r} of version {version}; this gradwatch "
            f"reads up to version {schema.SCHEMA_VERSION}. Upgrade it: pip install --upgrade gradwatch."
        )
    if isinstance(version, int) and version < schema.SCHEMA_VERSION:
        raise LogFormatError(
            f"The log was written by an older gradwatch. Received: {str(path)!r} of version {version}; this gradwatch "
            f"reads version {schema.SCHEMA_VERSION}. Read it with the gradwatch that wrote it."
        )
    checksum = content.pop("checksum", None)
    if checksum != _checksum({"format": FORMAT, **content}):
        raise unreadable(path, "the checksum of its description does not fit")
    del content["schema_version"]
    return content


def _checksum(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def to_json(variables: Sequence[VariableInfo], info: RunInfo) -> dict[str, Any]:
    """Variables and run as plain lists and dicts."""
    return {"variables": [dataclasses.asdict(variable) for variable in variables], "info": dataclasses.asdict(info)}


def from_json(content: dict[str, Any]) -> tuple[tuple[VariableInfo, ...], RunInfo]:
    """The variables and the run that `to_json` was given; fields that are not known here are left out."""
    variables = tuple(VariableInfo(**_fields(VariableInfo, _with_cuts(variable))) for variable in content["variables"])
    return variables, RunInfo(**_fields(RunInfo, _with_parts(content["info"])))


def cause_of(plain: dict[str, Any]) -> Cause:
    """The cause of which this is `dataclasses.asdict`; fields that are not known here are left out."""
    return Cause(**_fields(Cause, plain))


def _with_parts(info: dict[str, Any]) -> dict[str, Any]:
    found = [Origin(int(each["step"]), cause_of(each["cause"])) for each in info.get("origins", [])]
    output = info.get("output")
    return {**info, "origins": found, "output": None if output is None else Output(**_fields(Output, output))}


def _with_cuts(variable: dict[str, Any]) -> dict[str, Any]:
    return {**variable, "cuts": [cause_of(cut) for cut in variable.get("cuts", [])]}


def _fields(of: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(of) if field.name in values]
    return {name: tuple(values[name]) if isinstance(values[name], list) else values[name] for name in names}
