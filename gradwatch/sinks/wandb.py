"""Records to Weights & Biases."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gradwatch.records import RunInfo, Segment, VariableInfo
from gradwatch.sinks import extras
from gradwatch.sinks.charts import Charts, Point
from gradwatch.sinks.places import Wanted

if TYPE_CHECKING:
    from gradwatch.reporting import Report

POINTS = 100
"""Points that a doubling of the run adds to a chart: a run of a million steps has some 1500, as many as W&B shows."""

STEP = "gradwatch/step"


class WandbSink:
    """Logs charts to a Weights & Biases run, and the report as `gradwatch/report`.

    The charts are those of `gradwatch.sinks.charts.Charts`; their x axis is `gradwatch/step`, the step of the log. The
    run is `run` if given, else the one that is active when the first steps come, else the sink starts one, which ends
    with `watch.close()` or with the process. It never ends another run. With `mode="offline"`, or `WANDB_MODE=offline`,
    nothing needs a network.

    W&B counts each point as a step of its own. Where a program logs with `wandb.log(..., step=...)` besides, these
    steps fall behind and W&B drops them: give them an x axis with `define_metric`, or give the sink a run of its own.

    A step that is drawn costs about 1 ms with 20 or 60 charts.

    Args:
        run: A run of W&B.
        variables: Which variables have a chart: "worst" (the ten worst), "all", "none", or a tuple of glob patterns of
            paths.
        layers: The same for layers, of which "worst" are 50.
        every_steps: Each so many recorded calls there is a point. By default at each call at first, and ever fewer.
        **init: For `wandb.init`, if the sink starts a run: `project="digits", mode="offline"`.

    Raises:
        ImportError: If wandb is not installed: `pip install 'gradwatch[wandb]'`.
        ValueError: If an option has a value that is not known.
        TypeError: If an option is of the wrong kind.

    Example:
    ```python
    watch = gradwatch.GradientWatch(sinks=[gradwatch.sinks.WandbSink(project="digits")])
    ```
    """

    def __init__(
        self,
        *,
        run: Any = None,
        variables: Wanted = "worst",
        layers: Wanted = "worst",
        every_steps: int | None = None,
        **init: Any,
    ) -> None:
        self._charts = Charts(variables=variables, layers=layers, every_steps=every_steps, points=POINTS)
        self._wandb = extras.load("wandb", "wandb")
        self._given = run
        self._init = init
        self._run: Any = None
        self._is_own = False
        self._closed = False

    def write(self, segments: Sequence[Segment], variables: Sequence[VariableInfo], info: RunInfo) -> None:
        """Takes new steps and logs those that are points.

        Args:
            segments: The steps recorded since the last call.
            variables: All variables known by now, in model order.
            info: Facts about the run; not logged.

        Raises:
            Exception: What W&B raises where it cannot log.
            ValueError: If the sink is closed.
        """
        if self._closed:
            raise ValueError("The sink to Weights & Biases is closed. Make a new one.")
        self._log(self._charts.take(segments, variables))

    def flush(self) -> None:
        """Does nothing: what was written is with the process of W&B, which outlives this one."""

    def finish(self, report: Report) -> None:
        """Logs the report.

        Args:
            report: The report on the run.
        """
        self._log(self._charts.rest())
        if self._run is not None:
            page = self._wandb.Html(io.StringIO(report.to_html()), inject=False)
            self._run.log({"gradwatch/report": page})

    def close(self) -> None:
        """Ends the run if the sink has started it; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._log(self._charts.rest())
        if self._is_own:
            self._run.finish()

    def _log(self, points: Sequence[Point]) -> None:
        if points and self._run is None:
            self._begin()
        for point in points:
            self._run.log({STEP: point.step, **point.values})

    def _begin(self) -> None:
        active = self._wandb.run if self._given is None else self._given
        self._is_own = active is None
        self._run = self._wandb.init(**self._init) if active is None else active
        self._run.define_metric(STEP, hidden=True)
        for group in ("gradwatch", "gradwatch_layers", "gradwatch_variables"):
            self._run.define_metric(f"{group}/*", step_metric=STEP)
