"""The rules a log is judged by: conditions with words.

A rule of your own is a frozen dataclass under `Rule`; give it to `diagnose` or to the watch beside these:
`rules=(*gradwatch.RULES, MyRule())`.
"""

from gradwatch.rules.base import Cause, Finding, Rule, Severity, Skip, Skipped
from gradwatch.rules.magnitude import ExplodingGradient, VanishingGradient, ZeroGradient
from gradwatch.rules.numerics import NonFiniteGradient, NonFiniteInput, NonFiniteLoss
from gradwatch.rules.structure import DetachedVariable, NoTrainableVariables, UnoptimizedVariable

__all__ = [
    "RULES",
    "Cause",
    "DetachedVariable",
    "ExplodingGradient",
    "Finding",
    "NoTrainableVariables",
    "NonFiniteGradient",
    "NonFiniteInput",
    "NonFiniteLoss",
    "Rule",
    "Severity",
    "Skip",
    "Skipped",
    "UnoptimizedVariable",
    "VanishingGradient",
    "ZeroGradient",
]

RULES: tuple[Rule, ...] = (
    VanishingGradient(),
    ExplodingGradient(),
    ZeroGradient(),
    NonFiniteGradient(),
    NonFiniteLoss(),
    NonFiniteInput(),
    DetachedVariable(),
    UnoptimizedVariable(),
    NoTrainableVariables(),
)
"""The rules that are used unless told otherwise, in order of their codes."""
