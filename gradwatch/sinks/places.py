"""Who gets a chart where there is room for a few."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Any

Wanted = str | Sequence[str]


class Places:
    """Gives charts to names; a name that has one keeps it.

    Args:
        option: Name of the option, for an error.
        wanted: "worst": where there are more names than places, the worst; "all"; "none"; or glob patterns.
        num_places: How many the worst are.

    Raises:
        ValueError: If `wanted` is a word that is not known.
        TypeError: If it is nothing of all this.
    """

    def __init__(self, option: str, wanted: Wanted, num_places: int) -> None:
        self._patterns = _patterns(option, wanted)
        self._num_places = num_places
        self._known: tuple[str, ...] = ()
        self._taken: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._taken

    @property
    def are_contested(self) -> bool:
        """Whether there are places left, and names without one."""
        return self._patterns is None and len(self._taken) < min(self._num_places, len(self._known))

    def learn(self, names: Sequence[str]) -> None:
        """Takes all names that are known by now; where there is room for all of them, each gets a place."""
        self._known = tuple(dict.fromkeys(names))
        if self._patterns is not None:
            self._taken = {name for name in self._known if any(fnmatch.fnmatchcase(name, p) for p in self._patterns)}
        elif len(self._known) <= self._num_places:
            self._taken |= set(self._known)

    def fill(self, ranked: Sequence[str], *, final: bool) -> set[str]:
        """Gives places to the worst: half of them to those that are worst early, the rest to later trouble.

        Args:
            ranked: Names, worst first.
            final: Whether this is the last time, so that no place is kept free.

        Returns:
            The names that have a place since now.
        """
        if not self.are_contested:
            return set()
        half = (self._num_places + 1) // 2
        fresh = [name for name in (ranked if final else ranked[:half]) if name not in self._taken]
        chosen = set(fresh[: self._num_places - len(self._taken)])
        self._taken |= chosen
        return chosen


def _patterns(option: str, wanted: Any) -> tuple[str, ...] | None:
    """The patterns that an option stands for; `None` for "worst"."""
    words: dict[str, tuple[str, ...] | None] = {"worst": None, "all": ("*",), "none": ()}
    if isinstance(wanted, str):
        if wanted not in words:
            raise ValueError(
                f"Unknown `{option}`. Received: {option}={wanted!r}. Expected 'worst', 'all', 'none', or a tuple of "
                f"glob patterns such as ({wanted!r},)."
            )
        return words[wanted]
    if not isinstance(wanted, list | tuple) or not all(isinstance(pattern, str) for pattern in wanted):
        raise TypeError(
            f"`{option}` must be 'worst', 'all', 'none', or a tuple of glob patterns. Received: {option}={wanted!r}."
        )
    return tuple(wanted)
