"""The rules a log is judged by: conditions with words.

A rule of your own is a frozen dataclass under `Rule`; give it to `diagnose` or to the watch beside these:
`rules=(*gradwatch.RULES, MyRule())`.
"""

from gradwatch.rules.base import Cause, Finding, Rule, Severity, Skip, Skipped
from gradwatch.rules.exploding import ExplodingGradient
from gradwatch.rules.loss import StalledLoss, UnstableLoss
from gradwatch.rules.numerics import NonFiniteGradient, NonFiniteInput, NonFiniteLoss
from gradwatch.rules.precision import LossScaleCollapse, NonFiniteWeight
from gradwatch.rules.setup import InputScale, OutputActivation
from gradwatch.rules.structure import DetachedVariable, NoTrainableVariables, UnoptimizedVariable
from gradwatch.rules.units import DeadUnits, SaturatedActivation
from gradwatch.rules.updates import UnchangedVariable, UpdateTooLarge, UpdateTooSmall
from gradwatch.rules.vanishing import VanishingGradient
from gradwatch.rules.zero import ZeroGradient

RULES: tuple[Rule, ...] = (
    VanishingGradient(),
    ExplodingGradient(),
    ZeroGradient(),
    DeadUnits(),
    SaturatedActivation(),
    NonFiniteGradient(),
    NonFiniteLoss(),
    NonFiniteWeight(),
    LossScaleCollapse(),
    NonFiniteInput(),
    UpdateTooLarge(),
    UpdateTooSmall(),
    UnchangedVariable(),
    UnstableLoss(),
    StalledLoss(),
    DetachedVariable(),
    UnoptimizedVariable(),
    NoTrainableVariables(),
    InputScale(),
    OutputActivation(),
)
"""The rules that are used unless told otherwise, in order of their codes."""

__all__ = [
    "RULES",
    "Cause",
    "DeadUnits",
    "DetachedVariable",
    "ExplodingGradient",
    "Finding",
    "InputScale",
    "LossScaleCollapse",
    "NoTrainableVariables",
    "NonFiniteGradient",
    "NonFiniteInput",
    "NonFiniteLoss",
    "NonFiniteWeight",
    "OutputActivation",
    "Rule",
    "SaturatedActivation",
    "Severity",
    "Skip",
    "Skipped",
    "StalledLoss",
    "UnchangedVariable",
    "UnoptimizedVariable",
    "UnstableLoss",
    "UpdateTooLarge",
    "UpdateTooSmall",
    "VanishingGradient",
    "ZeroGradient",
]
