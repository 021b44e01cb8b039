"""Imports TensorFlow without what it writes to stderr at start-up: CPU features, missing GPUs, and so on.

Import it before anything that imports TensorFlow. What goes wrong is raised as ever, only the talk is left out.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextlib.contextmanager
def no_stderr() -> Iterator[None]:
    """Turns off stderr below Python: TensorFlow's first lines come from C++, before it looks at its log level."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


with no_stderr():
    import tensorflow  # noqa: F401
