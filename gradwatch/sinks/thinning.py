"""Which recorded calls become points of a chart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gradwatch import summary
from gradwatch.records import Segment


class Thinning:
    """Keeps a chart from having a point for each of a million steps.

    Without `every_steps` the points lie further apart the longer the run gets: at each recorded call at first, at each
    second one after `2 * points`, at each fourth after `4 * points`. So each doubling of the run adds `points`, and two
    neighbours are never further apart than the run is long by then, divided by `points`. Calls of different optimizers,
    or with different variables, are counted apart: of a GAN neither of the two falls between the points.

    A call with NaN or Inf is counted with its like besides, and kept where either count says so: the first of them are
    never left out, and a million of them do not make a million points.

    Args:
        points: Points that a doubling of the run adds.
        every_steps: Each so many recorded calls there is a point, however long the run gets.
    """

    def __init__(self, points: int, every_steps: int | None = None) -> None:
        self._points = points
        self._every_steps = every_steps
        self._num_calls: dict[tuple, int] = {}
        self._num_bad: dict[tuple, int] = {}

    def thin(self, segment: Segment) -> Segment:
        """The segment with those of its steps that are points; the calls in it follow those of before."""
        first = self._num_calls.get(segment.key, 0)
        numbers = np.arange(first, first + segment.num_steps)
        chosen = self._grown(numbers) if self._every_steps is None else numbers % self._every_steps == 0
        bad = _bad(segment)
        first_bad = self._num_bad.get(segment.key, 0)
        chosen[bad] |= self._grown(np.arange(first_bad, first_bad + bad.sum()))
        self._num_calls[segment.key] = first + segment.num_steps
        self._num_bad[segment.key] = first_bad + int(bad.sum())
        return segment.take(np.flatnonzero(chosen))

    def _grown(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        doublings = np.floor(np.log2(np.maximum(numbers / self._points, 1.0)))
        return numbers % np.exp2(doublings).astype(np.int64) == 0


def _bad(segment: Segment) -> npt.NDArray[np.bool_]:
    """Which steps have NaN or Inf.  # [steps]."""
    gradients = summary.nonfinite(segment)
    loss = segment.steps["nonfinite_loss"].astype(bool)
    return loss if gradients is None else loss | gradients.any(axis=1)
