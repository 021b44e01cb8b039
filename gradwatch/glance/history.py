"""Loss and gradient norms of a run of any length, in bounded memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gradwatch import summary
from gradwatch.glance.thinned import Thinned
from gradwatch.log import Log, global_norm
from gradwatch.records import Segment

_COUNTED = ("calls", "bad", "loss", "losses", "bad losses")


@dataclasses.dataclass(frozen=True)
class Line:
    """Numbers over the steps.

    Args:
        points: The numbers; NaN where there is none.
        bad: Where there was NaN or Inf.
        last: The last number as it was recorded; `None` if there is none.
    """

    points: npt.NDArray[np.float64]
    bad: npt.NDArray[np.bool_]
    last: float | None


class History:
    """Takes logs that follow each other, and keeps lines of them.

    A point of a line is the mean of the losses, or the largest finite norm, of equally many steps.
    """

    def __init__(self) -> None:
        self._tracks: dict[str, _Track] = {}
        self.step: int | None = None
        self.epoch: int | None = None

    def add(self, log: Log) -> None:
        """Takes the next steps of a run."""
        for segment in log.segments:
            if not segment.num_steps:
                continue
            self._tracks.setdefault(segment.optimizer, _Track()).add(log, segment)
            if self.step is None or segment.steps["step"][-1] >= self.step:
                self.step, self.epoch = (int(segment.steps[name][-1]) for name in ("step", "epoch"))

    @property
    def optimizers(self) -> tuple[str, ...]:
        """Names of the optimizers, in order of appearance."""
        return tuple(self._tracks)

    def loss(self, optimizer: str) -> Line:
        """The loss at the calls of an optimizer."""
        return self._tracks[optimizer].loss()

    def norm(self, optimizer: str) -> Line:
        """The norm of all gradients that an optimizer was given together."""
        return self._tracks[optimizer].norm()

    def layer(self, name: str) -> Line:
        """The norm of all gradients of a layer together; without points if it never had one."""
        having = [track for track in self._tracks.values() if name in track.last]
        return having[0].layer(name) if having else Line(np.zeros(0), np.zeros(0, bool), None)

    def num_bad(self, layer: str) -> int:
        """At how many calls a gradient of the layer held NaN or Inf."""
        return sum(track.num_bad.get(layer, 0) for track in self._tracks.values())


class _Track:
    """What is kept of one optimizer."""

    def __init__(self) -> None:
        self.last: dict[str, float] = {}
        self.num_bad: dict[str, int] = {}
        self._last_loss: float | None = None
        self._last_norm: float | None = None
        self._sums = Thinned(np.add, 0.0)
        self._total = Thinned(np.fmax, np.nan)
        self._norms = Thinned(np.fmax, np.nan)
        self._bad = Thinned(np.fmax, 0.0)

    def add(self, log: Log, segment: Segment) -> None:
        steps, members = segment.steps["step"], summary.layers(log, segment)
        names = list(members)
        norms = summary.layer_norms(log, segment, members)  # [steps, layers]
        bad = _bad_layers(segment, list(members.values()))  # [steps, layers]
        total, losses = global_norm(segment), segment.steps["loss"]
        has_loss = np.isfinite(losses)
        counted = (np.ones(len(steps)), bad.any(axis=1), np.where(has_loss, losses, 0), has_loss)
        self._sums.add(steps, _COUNTED, np.stack([*counted, segment.steps["nonfinite_loss"]], axis=1).astype(float))
        self._total.add(steps, ["norm"], _finite(total)[:, None])
        self._norms.add(steps, names, _finite(norms))
        self._bad.add(steps, names, bad.astype(float))
        self._remember(names, norms, bad)
        self._last_norm = float(total[-1]) if "grad_norm" in segment.values else None
        if has_loss[-1] or segment.steps["nonfinite_loss"][-1]:
            self._last_loss = float(losses[-1])

    def _remember(self, names: Sequence[str], norms: npt.NDArray, bad: npt.NDArray) -> None:
        self.last |= dict(zip(names, norms[-1].tolist(), strict=True))
        for column in np.flatnonzero(bad.any(axis=0)):
            name = names[int(column)]
            self.num_bad[name] = self.num_bad.get(name, 0) + int(bad[:, column].sum())

    def loss(self) -> Line:
        num_losses, taken = self._sums.column("losses"), self._taken
        with np.errstate(invalid="ignore", divide="ignore"):
            means = self._sums.column("loss") / np.where(num_losses > 0, num_losses, np.nan)
        return Line(means[taken], self._sums.column("bad losses")[taken] > 0, self._last_loss)

    def norm(self) -> Line:
        taken = self._taken
        return Line(self._total.column("norm")[taken], self._sums.column("bad")[taken] > 0, self._last_norm)

    def layer(self, name: str) -> Line:
        taken = self._taken
        return Line(self._norms.column(name)[taken], self._bad.column(name)[taken] > 0, self.last.get(name))

    @property
    def _taken(self) -> npt.NDArray[np.bool_]:
        """The points at which the optimizer was called; between them other optimizers were, or nothing was recorded."""
        return self._sums.column("calls") > 0


def _bad_layers(segment: Segment, members: Sequence[npt.NDArray]) -> npt.NDArray[np.bool_]:
    bad = summary.nonfinite(segment)
    table = np.zeros((segment.num_steps, len(members)), bool)
    if bad is not None and bad.any():
        for place, columns in enumerate(members):
            table[:, place] = bad[:, columns].any(axis=1)
    return table


def _finite(numbers: npt.NDArray) -> npt.NDArray:
    return np.where(np.isfinite(numbers), numbers, np.nan)
