"""Packages that a sink needs and gradwatch does not."""

from __future__ import annotations

import importlib
from types import ModuleType


def load(module: str, extra: str) -> ModuleType:
    """Imports a module of a package that only an extra of gradwatch brings along.

    Args:
        module: The module.
        extra: The extra.

    Raises:
        ImportError: If it cannot be imported; names the extra.

    >>> load("no_such_tracker", "mlflow")
    Traceback (most recent call last):
        ...
    ImportError: This sink needs 'no_such_tracker', which cannot be imported: No module named 'no_such_tracker'. Install it with: pip install 'gradwatch[mlflow]'
    """  # noqa: E501
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"This sink needs {module.partition('.')[0]!r}, which cannot be imported: {error}. "
            f"Install it with: pip install 'gradwatch[{extra}]'"
        ) from error
