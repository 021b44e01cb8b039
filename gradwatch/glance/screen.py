"""The place in a notebook where one thing is shown and changed."""

from __future__ import annotations

import sys
from typing import Any, Protocol


class Screen(Protocol):
    """Where a live view is shown."""

    @property
    def cell(self) -> int | None:
        """Which cell of a notebook runs; a cell that runs again is another one."""

    def is_there(self) -> bool:
        """Whether anybody can see it."""

    def show(self, html: str, text: str, *, anew: bool = False) -> None:
        """Shows this in place of what was shown before.

        Args:
            html: As HTML.
            text: As a line of text, for what cannot show HTML.
            anew: Leave what was shown before, and show this in the cell that runs now.
        """


class NotebookScreen:
    """A display of Jupyter, VS Code or Colab that is changed in place."""

    def __init__(self) -> None:
        self._handle: Any = None

    @property
    def cell(self) -> int | None:
        """The number of the cell that runs."""
        return getattr(_shell(), "execution_count", None)

    def is_there(self) -> bool:
        """Whether this is a notebook; looks only at what is loaded already, which IPython is where there is one."""
        return hasattr(_shell(), "kernel")

    def show(self, html: str, text: str, *, anew: bool = False) -> None:
        """Shows this in place of what was shown before; see `Screen`."""
        from IPython.display import display

        bundle = {"text/html": html, "text/plain": text}
        if self._handle is None or anew:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


def _shell() -> Any:
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return None if get_ipython is None else get_ipython()
