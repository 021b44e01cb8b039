"""gradwatch: the gradients a Keras model really applies, what is wrong with them, and where.

`GradientWatch` watches `model.fit`, `watch_train_step` a step of your own; `load`, `diagnose`, `report` and `plots`
read a log, and need no TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gradwatch.errors import (
    DetachedVariableError,
    GradientError,
    GradientWarning,
    LogFormatError,
    NonFiniteGradientError,
)
from gradwatch.version import __version__

if TYPE_CHECKING:
    from gradwatch import plots, sinks, testing
    from gradwatch.bad_step import BadStep, load_bad_step
    from gradwatch.callback import GradientWatch
    from gradwatch.causes import Cause
    from gradwatch.check import assert_gradients_flow, check_gradients
    from gradwatch.comparison import Comparison, compare
    from gradwatch.diagnosis import Diagnosis, diagnose
    from gradwatch.glance import LiveView
    from gradwatch.log import Log, load
    from gradwatch.reporting import Report, report
    from gradwatch.rules import RULES, Finding, Rule, Severity
    from gradwatch.train_step import WatchedStep, watch_train_step

__all__ = [
    "RULES",
    "BadStep",
    "Cause",
    "Comparison",
    "DetachedVariableError",
    "Diagnosis",
    "Finding",
    "GradientError",
    "GradientWarning",
    "GradientWatch",
    "LiveView",
    "Log",
    "LogFormatError",
    "NonFiniteGradientError",
    "Report",
    "Rule",
    "Severity",
    "WatchedStep",
    "__version__",
    "assert_gradients_flow",
    "check_gradients",
    "compare",
    "diagnose",
    "load",
    "load_bad_step",
    "plots",
    "report",
    "sinks",
    "testing",
    "watch_train_step",
]

_HOMES = {
    "BadStep": "gradwatch.bad_step",
    "Cause": "gradwatch.causes",
    "Comparison": "gradwatch.comparison",
    "Diagnosis": "gradwatch.diagnosis",
    "Finding": "gradwatch.rules",
    "GradientWatch": "gradwatch.callback",
    "LiveView": "gradwatch.glance",
    "Log": "gradwatch.log",
    "RULES": "gradwatch.rules",
    "Report": "gradwatch.reporting",
    "Rule": "gradwatch.rules",
    "Severity": "gradwatch.rules",
    "WatchedStep": "gradwatch.train_step",
    "assert_gradients_flow": "gradwatch.check",
    "check_gradients": "gradwatch.check",
    "compare": "gradwatch.comparison",
    "diagnose": "gradwatch.diagnosis",
    "load": "gradwatch.log",
    "load_bad_step": "gradwatch.bad_step",
    "report": "gradwatch.reporting",
    "watch_train_step": "gradwatch.train_step",
}
_SUBMODULES = ("plots", "sinks", "testing")


def __getattr__(name: str) -> Any:
    """Loads a name on first use, so that reading a log never waits for TensorFlow (PEP 562)."""
    if name in _SUBMODULES:
        return importlib.import_module(f"gradwatch.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'gradwatch' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
