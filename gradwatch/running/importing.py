"""Does something with a module right after it was imported, whoever imports it and whenever."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator, Sequence

Then = Callable[[types.ModuleType], None]


@contextlib.contextmanager
def when_imported(name: str, then: Then) -> Iterator[None]:
    """Calls `then` with a module once that is imported; at once if it is already.

    Args:
        name: Name of a module or package at the top level.
        then: Called after the module was executed, before the one who imports it goes on.

    Yields:
        Nothing; at the end of the block it is no longer waited for.
    """
    finder = _Finder(name, then)
    if name in sys.modules:
        then(sys.modules[name])
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the program may have taken it out
            sys.meta_path.remove(finder)


class _Finder(importlib.abc.MetaPathFinder):
    """Lets all other finders look for the module, and puts itself between its loader and the import."""

    def __init__(self, name: str, then: Then) -> None:
        self._name = name
        self._then = then
        self._looking = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name or self._looking:
            return None
        self._looking = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._looking = False
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._then)
        return spec


class _Loader(importlib.abc.Loader):
    """Loads as the loader it is given, and then calls `then`; the module does not see it."""

    def __init__(self, loader: importlib.abc.Loader, then: Then) -> None:
        self._loader = loader
        self._then = then

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._then(module)
