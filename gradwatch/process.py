"""What a watch has to know of the process it runs in: whether others watch the same run, and when it ends."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import weakref
from typing import Protocol

from gradwatch.errors import own_failures


class Closable(Protocol):
    """What can be closed."""

    def close(self) -> None:
        """Closes it; a second call does nothing."""


_open: weakref.WeakSet[Closable] = weakref.WeakSet()


def close_at_exit(thing: Closable) -> None:
    """Has something closed when the process ends, if it is there still, such as in a script that an error ended."""
    _open.add(thing)


@atexit.register
def _close_all() -> None:
    for thing in list(_open):
        with own_failures("closing a watch"):
            thing.close()


def is_chief() -> bool:
    """Whether this is the process of a cluster that writes what all share; true where there is no cluster."""
    with contextlib.suppress(ValueError):
        config = json.loads(os.environ.get("TF_CONFIG") or "{}")
        task = config.get("task", {})
        if "chief" in config.get("cluster", {}):
            return task.get("type") == "chief"
        return int(task.get("index", 0)) == 0
    return True
