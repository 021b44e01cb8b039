"""Records to TensorBoard."""

from __future__ import annotations

import io
import os
import struct
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gradwatch.log import Log
from gradwatch.plots import overview
from gradwatch.records import RunInfo, Segment, VariableInfo
from gradwatch.sinks import extras
from gradwatch.sinks.charts import Charts, Point
from gradwatch.sinks.places import Wanted
from gradwatch.sinks.thinning import Thinning

if TYPE_CHECKING:
    from gradwatch.reporting import Report

POINTS = 250
"""Points that a doubling of the run adds to a chart: a run of a million steps has 3200, and TensorBoard shows 1000."""

HISTOGRAMS = 25
"""Histograms that a doubling of the run adds; TensorBoard shows 50."""

PICTURE_DPI = 80


class TensorBoardSink:
    """Draws scalars for each layer, histograms of norms, and at the end of a run the overview.

    The scalars are those of `gradwatch.sinks.charts.Charts`; the x axis is the step of the log. The histogram
    `gradwatch/log10_grad_norm` shows how the gradient norms of all variables are spread at a step, in decades; norms of
    0, NaN and Inf are not in it. `gradwatch/overview` under "Images" is `gradwatch.plots.overview`.

    The events are written by TensorBoard's own writer, one event a step: of a model with 20 variables 0.5 ms a step at
    first (half of it histograms), and less and less as the points grow fewer.

    Args:
        log_dir: The directory; give each run its own, such as "runs/tb/today".
        variables: Which variables have a chart: "worst" (the ten worst), "all", "none", or a tuple of glob patterns of
            paths.
        layers: The same for layers, of which "worst" are 50.
        every_steps: Each so many recorded calls there is a point. By default at each call at first, and ever fewer.

    Raises:
        ImportError: If TensorBoard is not installed: `pip install 'gradwatch[tensorboard]'`.
        ValueError: If an option has a value that is not known.
        TypeError: If an option is of the wrong kind.

    Example:
    ```python
    watch = gradwatch.GradientWatch(sinks=[gradwatch.sinks.TensorBoardSink("runs/tb/today")])
    ```
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str],
        *,
        variables: Wanted = "worst",
        layers: Wanted = "worst",
        every_steps: int | None = None,
    ) -> None:
        self._log_dir = os.fspath(log_dir)
        self._charts = Charts(variables=variables, layers=layers, every_steps=every_steps, points=POINTS)
        self._histograms = Thinning(HISTOGRAMS)
        self._event = extras.load("tensorboard.compat.proto.event_pb2", "tensorboard").Event
        self._summary = extras.load("tensorboard.compat.proto.summary_pb2", "tensorboard").Summary
        self._value = self._summary.Value
        self._histogram = extras.load("tensorboard.plugins.histogram.summary_v2", "tensorboard").histogram_pb
        self._new_writer = extras.load("tensorboard.summary.writer.event_file_writer", "tensorboard").EventFileWriter
        self._writer: Any = None
        self._closed = False

    def write(self, segments: Sequence[Segment], variables: Sequence[VariableInfo], info: RunInfo) -> None:
        """Takes new steps and draws those that are points.

        Args:
            segments: The steps recorded since the last call.
            variables: All variables known by now, in model order.
            info: Facts about the run; not shown.

        Raises:
            OSError: If it cannot be written.
            ValueError: If the sink is closed.
        """
        if self._closed:
            raise ValueError(f"The sink to {self._log_dir!r} is closed. Make a new one.")
        self._draw(self._charts.take(segments, variables))
        for segment in map(self._histograms.thin, segments):
            for step, norms in zip(segment.steps["step"].tolist(), segment.values.get("grad_norm", ()), strict=False):
                self._draw_histogram(step, norms)

    def flush(self) -> None:
        """Writes what has come to the disk."""
        if self._writer is not None:
            self._writer.flush()

    def finish(self, report: Report) -> None:
        """Draws the overview, and the charts that begin when no more is to come.

        Args:
            report: The report on the run.
        """
        self._draw(self._charts.rest())
        if report.log.num_steps:
            self._add(_last_step(report.log), self._picture(report.log))
        self.flush()

    def close(self) -> None:
        """Flushes and closes the file; a second call does nothing."""
        if self._closed:
            return
        self._draw(self._charts.rest())
        self._closed = True
        if self._writer is not None:
            self._writer.close()

    def _draw(self, points: Sequence[Point]) -> None:
        for point in points:
            # `simple_value` and not a tensor, which takes a hundred times as long to make; readers know both.
            values = [self._value(tag=name, simple_value=value) for name, value in point.values.items()]
            self._add(point.step, self._summary(value=values))

    def _draw_histogram(self, step: int, norms: npt.NDArray) -> None:
        norms = norms[np.isfinite(norms) & (norms > 0)]
        if len(norms):
            self._add(step, self._histogram("gradwatch/log10_grad_norm", np.log10(norms.astype(np.float64))))

    def _picture(self, log: Log) -> Any:
        buffer = io.BytesIO()
        overview(log).savefig(buffer, format="png", dpi=PICTURE_DPI)
        data = buffer.getvalue()
        width, height = struct.unpack(">II", data[16:24])  # where a PNG says so
        image = self._summary.Image(height=height, width=width, colorspace=4, encoded_image_string=data)
        return self._summary(value=[self._value(tag="gradwatch/overview", image=image)])

    def _add(self, step: int, summary: Any) -> None:
        if self._writer is None:  # made late: a watch that never records leaves no file behind
            self._writer = self._new_writer(self._log_dir)
        self._writer.add_event(self._event(wall_time=time.time(), step=step, summary=summary))


def _last_step(log: Log) -> int:
    return max(int(segment.steps["step"].max()) for segment in log.segments if segment.num_steps)
