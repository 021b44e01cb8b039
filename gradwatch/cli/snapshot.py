"""How a run stands at its last steps, as numbers to print."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import numpy.typing as npt

from gradwatch import summary
from gradwatch.diagnosis import to_plain
from gradwatch.log import Log, global_norm
from gradwatch.records import OUTCOMES, Segment
from gradwatch.rules import Finding


@dataclasses.dataclass(frozen=True)
class Series:
    """A number over the last steps.

    Args:
        points: Its values.
        bad: Where a NaN or Inf was.
    """

    points: npt.NDArray[np.float64]
    bad: npt.NDArray[np.bool_]

    @property
    def last(self) -> float:
        """The latest value."""
        return float(self.points[-1]) if len(self.points) else float("nan")


@dataclasses.dataclass(frozen=True)
class LayerLine:
    """One layer.

    Args:
        layer: Its path.
        norms: Its gradient norms.
        decades: How far its typical root mean square is from that of all layers, in powers of ten.
    """

    layer: str
    norms: Series
    decades: float

    @property
    def badness(self) -> tuple[bool, float]:
        """Worst is what holds NaN or Inf, then what is farthest from the others."""
        return bool(self.norms.bad.any()), abs(self.decades) if np.isfinite(self.decades) else np.inf


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """How a run stands.

    Args:
        model: Name of the model.
        outcome: "running", "completed", "stopped", "interrupted", or "" where that is not known.
        started: When it began, as the log says it.
        ended: When it ended.
        written: When it was last written, in seconds since 1970.
        step: Number of the last step, `None` before the first one.
        epoch: Its epoch.
        learning_rate: Its learning rate.
        loss: The losses.
        norm: The global norms.
        layers: The layers, worst first.
        findings: What was found, most severe first.
    """

    model: str
    outcome: str
    started: str
    ended: str
    written: float
    step: int | None
    epoch: int | None
    learning_rate: float
    loss: Series
    norm: Series
    layers: tuple[LayerLine, ...]
    findings: tuple[Finding, ...]

    @property
    def is_over(self) -> bool:
        """Whether the run has ended."""
        return self.outcome in OUTCOMES and self.outcome != "running"

    def to_json(self) -> str:
        """All of it on one line; a number that is NaN or infinite is a string, as in `Diagnosis.to_json`."""
        plain: dict[str, Any] = {
            name: getattr(self, name) for name in ("model", "outcome", "started", "ended", "written", "step", "epoch")
        }
        plain["learning_rate"] = to_plain(self.learning_rate)
        plain["loss"], plain["global_norm"] = to_plain(self.loss.last), to_plain(self.norm.last)
        plain["layers"] = [{"layer": each.layer, "norm": to_plain(each.norms.last)} for each in self.layers]
        plain["findings"] = [
            {"code": each.code, "rule": each.rule, "severity": str(each.severity), "message": each.message}
            for each in self.findings
        ]
        return json.dumps(plain, ensure_ascii=False, allow_nan=False)


def take(log: Log, findings: tuple[Finding, ...], written: float) -> Snapshot:
    """How a run stands.

    Args:
        log: Its last steps.
        findings: What was found in it so far.
        written: When it was last written.
    """
    segments = [segment for segment in log.segments if segment.num_steps]
    newest = max(segments, key=lambda segment: int(segment.steps["step"][-1]), default=None)
    steps = {} if newest is None else {name: values[-1] for name, values in newest.steps.items()}
    layers = [line for segment in segments for line in _layers(log, segment)]
    return Snapshot(
        model=log.info.model,
        outcome=log.info.outcome,
        started=log.info.started,
        ended=log.info.ended,
        written=written,
        step=int(steps["step"]) if steps else None,
        epoch=int(steps["epoch"]) if steps else None,
        learning_rate=float(steps["learning_rate"]) if steps else float("nan"),
        loss=_series(newest, lambda segment: segment.steps["loss"]),
        norm=_series(newest, global_norm),
        layers=tuple(sorted(layers, key=lambda line: line.badness, reverse=True)),
        findings=findings,
    )


def _series(segment: Segment | None, quantity: Any) -> Series:
    points = np.zeros(0) if segment is None else np.asarray(quantity(segment), np.float64)
    return Series(points, np.asarray(~np.isfinite(points)))


def _layers(log: Log, segment: Segment) -> list[LayerLine]:
    members = summary.layers(log, segment)
    if not members:
        return []
    norms = summary.layer_norms(log, segment, members)  # [steps, layers]
    typical = _median(summary.layer_rms(log, segment, members))  # [layers]
    with np.errstate(divide="ignore", invalid="ignore"):
        positive = typical[typical > 0]
        decades = np.log10(typical / (np.median(positive) if len(positive) else np.nan))
    mask = summary.nonfinite(segment)
    lines = []
    for column, (layer, columns) in enumerate(members.items()):
        bad = np.zeros(segment.num_steps, bool) if mask is None else np.asarray(mask[:, columns].any(axis=1))
        lines.append(LayerLine(layer, Series(norms[:, column], bad), float(decades[column])))
    return lines


def _median(table: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The median of the finite entries of each column; NaN where there are none."""
    return np.array(
        [np.median(column[np.isfinite(column)]) if np.isfinite(column).any() else np.nan for column in table.T]
    )
