"""The place in a notebook where one thing is shown and changed."""

from __future__ import annotations

import sys
from typing import Any, Protocol


class Screen(Protocol):
    """Where a live view is shown."""

    def is_there(self) -> bool:
        """Whether anybody can see it."""

    def show(self, html: str, text: str) -> None:
        """Shows this in place of what was shown before.

        Args:
            html: As HTML.
            text: As a line of text, for what cannot show HTML.
        """


class NotebookScreen:
    """A display of Jupyter, VS Code or Colab that is changed in place.

    When the cell runs again, or another one, the old display may be gone or far away, so there a new one is made; but
    not at once, for the first thing that is shown in another cell may be the rest of what was trained in the old one.
    """

    def __init__(self) -> None:
        self._handle: Any = None
        self._cell: int | None = None
        self._is_late = False

    def is_there(self) -> bool:
        """Whether this is a notebook; looks only at what is loaded already, which IPython is where there is one."""
        return hasattr(_shell(), "kernel")

    def show(self, html: str, text: str) -> None:
        """Shows this in place of what was shown before; see `Screen`."""
        from IPython.display import display

        bundle = {"text/html": html, "text/plain": text}
        cell = getattr(_shell(), "execution_count", None)
        moved = self._handle is not None and cell != self._cell
        if self._handle is not None and not (moved and self._is_late):
            self._is_late = moved
            self._handle.update(bundle, raw=True)
            return
        self._cell, self._is_late = cell, False
        self._handle = display(bundle, raw=True, display_id=True)


def _shell() -> Any:
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return None if get_ipython is None else get_ipython()
