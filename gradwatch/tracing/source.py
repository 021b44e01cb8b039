"""Where an operation comes from: the user's file and line, and the layer."""

from __future__ import annotations

import functools
import linecache
import os
import pathlib
import re
import site
import sysconfig
from collections.abc import Collection, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_OWN = pathlib.Path(__file__).parents[1]
_LIBRARIES = tuple(
    str(pathlib.Path(path).parent) + os.sep for path in (keras.__file__, tf.__file__, np.__file__, _OWN / "__init__.py")
)
_ENTRY = str(_OWN / "recording" / "wrap.py")
"""The step that is traced is called from here: what is above it is the program around the step, not the step."""


def source_of(operation: Any) -> tuple[str | None, str | None]:
    """The user's file and line that made an operation, "train.py:83", and the text of that line.

    It is the innermost line outside of TensorFlow, Keras and other installed packages; where there is none, the
    innermost outside of TensorFlow, Keras, NumPy and gradwatch. Of what only Keras made, such as the layers of a
    functional model, both are `None`.
    """
    return line_of([(frame.filename, frame.lineno) for frame in operation.traceback or ()])


def line_of(frames: Sequence[tuple[str, int]]) -> tuple[str | None, str | None]:
    """The same of a stack, the outermost frame first, as pairs of file and line."""
    entries = [number for number, (filename, _) in enumerate(frames) if filename == _ENTRY]
    inside = list(frames)[entries[-1] + 1 if entries else 0 :]
    outer = [frame for frame in inside if not _is_library(frame[0])]
    own = [frame for frame in outer if not frame[0].startswith(_installed())]
    if not outer:
        return None, None
    filename, number = (own or outer)[-1]
    return f"{_short(filename)}:{number}", linecache.getline(filename, number).strip() or None


def layer_of(operation: Any, names: Collection[str]) -> str | None:
    """Path of the layer that an operation is in, told by its name, "mlp_1/hidden/Relu" -> "mlp/hidden".

    Args:
        operation: The operation.
        names: Names of the layers and models that are known. A name that a graph has numbered is told by them from one
            that Keras has.
    """
    scopes = operation.name.split("/")[:-1]
    found = [name for name in (_known(scope, names) for scope in scopes) if name]
    return "/".join(found) or None


def _known(scope: str, names: Collection[str]) -> str | None:
    plain = re.sub(r"_\d+$", "", scope)
    return scope if scope in names else plain if plain in names else None


def _is_library(filename: str) -> bool:
    return filename.startswith((*_LIBRARIES, "<frozen")) or not filename or "__autograph_generated_file" in filename


@functools.cache
def _installed() -> tuple[str, ...]:
    """Directories of installed packages and of Python itself."""
    paths = [*site.getsitepackages(), site.getusersitepackages(), *sysconfig.get_paths().values()]
    return tuple({path.rstrip(os.sep) + os.sep for path in paths if "packages" in path or "lib" in path})


def _short(filename: str) -> str:
    """The path from the working directory, if the file is below it."""
    path = pathlib.Path(filename)
    here = pathlib.Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else filename
