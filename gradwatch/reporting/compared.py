"""What differs between two runs, before it has a format."""

from __future__ import annotations

import dataclasses

from gradwatch.log import Log
from gradwatch.rules.base import Finding

NAMES = ("a", "b")
"""What two runs are called unless they have names."""


@dataclasses.dataclass(frozen=True)
class LayerPair:
    """A layer in both runs.

    Args:
        position: Its place in the model, 0 for the first layer.
        layer: Its path.
        norm_a: Median of its finite gradient norms in a; NaN if it has none.
        norm_b: The same in b.
        ratio: That of b over that of a; NaN if one is missing.
        parts_at: The first step at which they differ; `None` if they never do.
    """

    position: int
    layer: str
    norm_a: float
    norm_b: float
    ratio: float
    parts_at: int | None


@dataclasses.dataclass(frozen=True)
class Compared:
    """What differs between two runs, called a and b.

    Args:
        names: What they are really called.
        verdict: Where they part, in a sentence.
        layers: The layers of both, those that differ most first.
        only_a: Findings that only a has.
        only_b: Findings that only b has.
        logs: The logs of both.
    """

    names: tuple[str, str]
    verdict: str
    layers: tuple[LayerPair, ...]
    only_a: tuple[Finding, ...]
    only_b: tuple[Finding, ...]
    logs: tuple[Log, Log] = dataclasses.field(repr=False)

    @property
    def other(self) -> str:
        """The run that a report of b is compared with, in words."""
        return "another run" if self.names == NAMES else self.names[0]


def legend(compared: Compared, in_report: bool) -> str:
    """Which run is a and which is b, with the names between backticks.

    Args:
        compared: The runs.
        in_report: Whether it is said in the report of b.
    """
    if compared.names == NAMES:
        return "Here a is the other run, and b is the one of this report." if in_report else ""
    a, b = (name.replace("`", "'") for name in compared.names)
    return f"Here a is `{a}`, and b is `{b}`{', the run of this report' if in_report else ''}."
