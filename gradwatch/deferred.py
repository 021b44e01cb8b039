"""Modules that are loaded when they are first used.

pandas takes longer to load than a usual log to read and judge; only tables need it.
"""

from __future__ import annotations

import importlib
from typing import Any


class Deferred:
    """Stands for a module until something of it is used.

    Args:
        name: Name of the module.

    >>> Deferred("math").floor(1.5)
    1
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # what inspects modules shall not load this one
            raise AttributeError(attribute)
        return getattr(importlib.import_module(self._name), attribute)
