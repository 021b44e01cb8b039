"""Records to MLflow."""

from __future__ import annotations

import posixpath
import re
import tempfile
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradwatch.records import RunInfo, Segment, VariableInfo
from gradwatch.sinks import extras
from gradwatch.sinks.charts import Charts, Point
from gradwatch.sinks.places import Wanted

if TYPE_CHECKING:
    from gradwatch.reporting import Report

POINTS = 25
"""Points that a doubling of the run adds to a chart: a run of a million steps has some 400, about what MLflow shows. A
metric costs MLflow 0.2 to 0.5 ms even in a local SQLite file, which is why there are not more of them."""

METRICS_AT_ONCE = 1000
"""What MLflow takes in one call."""

LONGEST_NAME = 250


class MLflowSink:
    """Logs charts as metrics of an MLflow run, and the report as its artifact `gradwatch/report.html`.

    The metrics are those of `gradwatch.sinks.charts.Charts`, the step is that of the log; in names of layers, what
    MLflow does not allow becomes "_". They go where MLflow's own settings say (`mlflow.set_tracking_uri`,
    `MLFLOW_TRACKING_URI`, `mlflow.set_experiment`, `MLFLOW_RUN_ID`), a thousand in a call.

    The run is the one that is active when the first steps come. If there is none the sink starts one, which does not
    become the active run, and says that it has finished when `fit` ends or the watch is closed, or has failed if the
    process ends before. It never ends a run that was active.

    Of a model with 20 variables the first 50 steps cost 0.1 s with a local SQLite file, and later ones ever less.
    MLflow takes seconds once to make such a file.

    Args:
        variables: Which variables have a chart: "worst" (the ten worst), "all", "none", or a tuple of glob patterns of
            paths.
        layers: The same for layers, of which "worst" are 50.
        every_steps: Each so many recorded calls there is a point. By default at each call at first, and ever fewer.

    Raises:
        ImportError: If MLflow is not installed: `pip install 'gradwatch[mlflow]'`.
        ValueError: If an option has a value that is not known.
        TypeError: If an option is of the wrong kind.

    Example:
    ```python
    with mlflow.start_run():
        model.fit(x, y, callbacks=[gradwatch.GradientWatch(sinks=[gradwatch.sinks.MLflowSink()])])
    ```
    """

    def __init__(
        self, *, variables: Wanted = "worst", layers: Wanted = "worst", every_steps: int | None = None
    ) -> None:
        self._charts = Charts(variables=variables, layers=layers, every_steps=every_steps, points=POINTS)
        self._mlflow = extras.load("mlflow", "mlflow")
        self._names: dict[str, str] = {}
        self._client: Any = None
        self._run_id = ""
        self._ending: weakref.finalize | None = None
        self._is_over = False
        self._closed = False

    def write(self, segments: Sequence[Segment], variables: Sequence[VariableInfo], info: RunInfo) -> None:
        """Takes new steps and logs those that are points.

        Args:
            segments: The steps recorded since the last call.
            variables: All variables known by now, in model order.
            info: Facts about the run; not logged.

        Raises:
            Exception: What MLflow raises where it cannot log.
            ValueError: If the sink is closed.
        """
        if self._closed:
            raise ValueError("The sink to MLflow is closed. Make a new one.")
        self._log(self._charts.take(segments, variables))

    def flush(self) -> None:
        """Does nothing: what was written is with MLflow already."""

    def finish(self, report: Report) -> None:
        """Logs the report, and ends the run if the sink has started it.

        Args:
            report: The report on the run.
        """
        self._log(self._charts.rest())
        if self._client is None:
            return
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "report.html"
                report.save(path)
                self._client.log_artifact(self._run_id, str(path), "gradwatch")
        finally:
            self._end()

    def close(self) -> None:
        """Ends the run if the sink has started it; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._log(self._charts.rest())
            self._end()

    def _log(self, points: Sequence[Point]) -> None:
        if not points:
            return
        self._begin()
        now = int(time.time() * 1000)
        metrics = [
            self._mlflow.entities.Metric(self._name(name), value, now, point.step)
            for point in points
            for name, value in point.values.items()
        ]
        for first in range(0, len(metrics), METRICS_AT_ONCE):
            self._client.log_batch(self._run_id, metrics=metrics[first : first + METRICS_AT_ONCE])

    def _begin(self) -> None:
        """Finds or starts the run; one that was ended by `finish` goes on when there is another `fit`."""
        if self._client is None:
            client = self._mlflow.MlflowClient()
            active = self._mlflow.active_run()
            if active is None:
                # Started as MLflow's settings say, and at once taken off again: a run that were left active would get
                # in the way of the program's own `start_run`.
                active = self._mlflow.start_run()
                self._mlflow.end_run("RUNNING")
                self._ending = weakref.finalize(self, client.set_terminated, active.info.run_id, "FAILED")
            self._client, self._run_id = client, active.info.run_id
        elif self._is_over:
            self._client.update_run(self._run_id, status="RUNNING")
            self._ending = weakref.finalize(self, self._client.set_terminated, self._run_id, "FAILED")
        self._is_over = False

    def _end(self) -> None:
        if self._ending is not None and not self._is_over:
            self._client.set_terminated(self._run_id, "FINISHED")
            self._ending.detach()
            self._is_over = True

    def _name(self, name: str) -> str:
        """The name of a chart as MLflow takes it, another one for each chart."""
        if name not in self._names:
            plain = key = posixpath.normpath(re.sub(r"[^\w\-. /]", "_", name))[:LONGEST_NAME]
            count = 1
            while key in self._names.values():
                count += 1
                key = f"{plain[: LONGEST_NAME - 8]}_{count}"
            self._names[name] = key
        return self._names[name]
