"""A run on one card: verdict, findings, loss and gradient norms, and the layers, worst first."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from gradwatch import notebook
from gradwatch.diagnosis import Diagnosis
from gradwatch.glance.history import History, Line
from gradwatch.log import Log
from gradwatch.plots.ranking import ranking
from gradwatch.reporting import Report, sparkline
from gradwatch.rules.base import plural
from gradwatch.sparkline import MIN_DECADES

NUM_FINDINGS = 3
NUM_LAYERS = 10
_HINT = "`.diagnosis` has all that was found and what to do, `.log` the tables, `.report()` the pictures."


@dataclasses.dataclass(frozen=True)
class NamedLine:
    """A line to show: its name, its last number, and its picture."""

    name: str
    last: float | None
    picture: Markup


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer to show.

    Args:
        name: Its path.
        norm: Gradient norm at its last recorded step.
        relative: Of its worst variable the typical root mean square, against the median of all variables.
        problem: What is wrong with its gradient, in a few words; empty if nothing.
        picture: Its norm over the steps.
    """

    name: str
    norm: float | None
    relative: float | None
    problem: str
    picture: Markup


def line(kind: str, model: str, last_step: int) -> str:
    """What a watch says of itself where there is room for one line.

    >>> line("GradientWatch", "digits", 149)
    "<gradwatch.GradientWatch of 'digits', recorded up to step 149>"
    """
    of = f" of {model!r}" if model else ""
    return f"<gradwatch.{kind}{of}, {f'recorded up to step {last_step}' if last_step >= 0 else 'nothing recorded yet'}>"


def card(report: Report, kind: str) -> str:
    """A recorded run as HTML for a notebook.

    Args:
        report: What was recorded, and what was found in it.
        kind: What it was recorded by.
    """
    history = History()
    history.add(report.log)
    title = f"{kind} of {report.log.info.model}" if report.log.info.model else kind
    return drawn(report.log, history, report.diagnosis, title=title, hint=_HINT)


def drawn(log: Log, history: History, diagnosis: Diagnosis, *, title: str, hint: str = "") -> str:
    """The same where the log holds the last steps only.

    Args:
        log: The last steps, by which the layers are ranked.
        history: The whole run.
        diagnosis: What was found.
        title: What it is called.
        hint: A last line.
    """
    return notebook.render(
        "glance",
        title=title,
        facts=_facts(log, history),
        level=diagnosis.level,
        verdict=diagnosis.verdict,
        findings=diagnosis.findings[:NUM_FINDINGS],
        num_hidden=len(diagnosis.findings) - NUM_FINDINGS,
        lines=_lines(history),
        layers=_layers(log, history),
        num_layers=len({variable.layer for variable in log.variable_infos}),
        hint=hint,
    )


def _facts(log: Log, history: History) -> list[str]:
    if history.step is None:
        return ["nothing is recorded yet"]
    num_layers = len({variable.layer for variable in log.variable_infos})
    where = [f"step {history.step}", f"epoch {history.epoch}"]
    return [*where, f"{plural(len(log.variable_infos), 'variable')} in {plural(num_layers, 'layer')}"]


def _lines(history: History) -> list[NamedLine]:
    several = len(history.optimizers) > 1
    lines = []
    for optimizer in history.optimizers:
        of = f" of {optimizer}" if several else ""
        loss, norm = history.loss(optimizer), history.norm(optimizer)
        if loss.last is not None:
            lines.append(NamedLine(f"loss{of}", loss.last, _loss_picture(loss)))
        if norm.last is not None:
            picture = sparkline.svg(norm.points.tolist(), norm.bad.tolist())
            lines.append(NamedLine(f"norm of all gradients{of}", norm.last, picture))
    return lines


def _layers(log: Log, history: History) -> list[Layer]:
    """The layers to look at first."""
    rows = ranking(log).reset_index().to_dict("records")
    members: dict[str, list[dict]] = {}
    for row in rows:
        members.setdefault(str(row["layer"]), []).append(row)
    return [_layer(name, variables, history) for name, variables in list(members.items())[:NUM_LAYERS]]


def _layer(name: str, variables: list[dict], history: History) -> Layer:
    line, decades = history.layer(name), float(variables[0]["decades"])
    return Layer(
        name=name,
        norm=line.last,
        relative=10.0**decades if np.isfinite(decades) else None,
        problem=_problem(variables, history.num_bad(name)),
        picture=sparkline.svg(line.points.tolist(), line.bad.tolist()),
    )


def _problem(variables: list[dict], num_bad: int) -> str:
    """What is wrong with a layer, in a few words."""
    of_all = f"of {plural(len(variables), 'variable')}"
    silent = sum(row["detached"] for row in variables)
    zero = sum(row["zero_steps"] * 2 >= row["recorded"] > 0 for row in variables)
    found = [
        f"no gradient: {silent} {of_all}" if silent else "",
        f"NaN or Inf: {plural(num_bad, 'step')}" if num_bad else "",
        f"zero: {zero} {of_all}" if zero else "",
    ]
    recorded = any(row["recorded"] or row["detached"] for row in variables)
    return ", ".join(filter(None, found)) or ("" if recorded else "not recorded")


def _loss_picture(line: Line) -> Markup:
    """Logarithmic only where a loss spans many decades; a loss is no magnitude, and may be negative."""
    seen = line.points[np.isfinite(line.points)]
    points = line.points
    if len(seen) and not seen.max() > seen.min() * 10**MIN_DECADES > 0:
        points = _spread(points, seen.min(), seen.max())
    return sparkline.svg(points.tolist(), line.bad.tolist())


def _spread(points: npt.NDArray[np.float64], low: float, high: float) -> npt.NDArray[np.float64]:
    """Numbers whose logarithms lie as the given ones do."""
    if low == high:
        return np.where(np.isfinite(points), 1.0, np.nan)
    return 10.0 ** (MIN_DECADES * (points - low) / (high - low))
