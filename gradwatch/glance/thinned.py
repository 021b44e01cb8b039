"""Numbers over the steps of a run of any length, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

MAX_POINTS = 120
"""Points that are kept, an even number; a line as small as a word shows no more."""


class Thinned:
    """Columns of numbers over the steps, as points of equally many steps each.

    When a run outgrows `MAX_POINTS` points, each two become one.

    Args:
        combine: Makes one number of two, such as `np.fmax`.
        empty: What a point holds at which there was nothing; `combine` leaves the other number as it is.
    """

    def __init__(self, combine: np.ufunc, empty: float) -> None:
        self._combine = combine
        self._empty = empty
        self._places: dict[str, int] = {}
        self._table = np.full((MAX_POINTS, 0), empty)  # [points, columns]
        self._first: int | None = None
        self._stride = 1

    def add(self, steps: npt.NDArray[np.int64], names: Sequence[str], rows: npt.NDArray) -> None:
        """Takes more steps.

        Args:
            steps: Their numbers, ascending.  # [steps]
            names: Names of the columns; new ones may come at any time.
            rows: The numbers.  # [steps, columns]
        """
        if not len(steps):
            return
        if self._first is None:
            self._first = int(steps[0])
        while (steps[-1] - self._first) // self._stride >= MAX_POINTS:
            self._halve()
        points = np.maximum(steps - self._first, 0) // self._stride
        starts = np.flatnonzero(np.diff(points, prepend=-1))
        place = np.ix_(points[starts], np.array(self._columns(names), np.int64))
        self._table[place] = self._combine(self._table[place], self._combine.reduceat(rows, starts, axis=0))

    def column(self, name: str) -> npt.NDArray[np.float64]:
        """All points of a column; `empty` where there is nothing.  # [points]."""
        if name not in self._places:
            return np.full(MAX_POINTS, self._empty)
        return self._table[:, self._places[name]]

    def _columns(self, names: Sequence[str]) -> list[int]:
        fresh = [name for name in names if name not in self._places]
        if fresh:
            self._places |= {name: place for place, name in enumerate(fresh, start=len(self._places))}
            more = np.full((MAX_POINTS, len(fresh)), self._empty)
            self._table = np.concatenate([self._table, more], axis=1)
        return [self._places[name] for name in names]

    def _halve(self) -> None:
        pairs = self._combine(self._table[0::2], self._table[1::2])
        self._table = np.concatenate([pairs, np.full_like(pairs, self._empty)])
        self._stride *= 2
