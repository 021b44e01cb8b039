"""What a rule is, what it finds, and how it says that it cannot judge."""

from __future__ import annotations

import abc
import dataclasses
import enum
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from gradwatch.causes import Cause
from gradwatch.log import Log


class Severity(str, enum.Enum):
    """How bad a finding is; equal to its word, and ordered.

    >>> Severity.ERROR == "error", Severity.ERROR > Severity.WARNING > "info"
    (True, True)
    >>> max(Severity.INFO, Severity.WARNING).value
    'warning'
    """

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        """0 for info, 1 for warning, 2 for error."""
        return list(Severity).index(self)

    def __str__(self) -> str:
        return self.value

    def __format__(self, spec: str) -> str:
        return format(self.value, spec)

    def __lt__(self, other: str) -> bool:
        return self.rank < Severity(other).rank

    def __le__(self, other: str) -> bool:
        return self.rank <= Severity(other).rank

    def __gt__(self, other: str) -> bool:
        return self.rank > Severity(other).rank

    def __ge__(self, other: str) -> bool:
        return self.rank >= Severity(other).rank


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """One hit of a rule, with its evidence.

    Args:
        code: The rule's code, "GW201".
        rule: The rule's name, "NonFiniteGradient".
        severity: How bad it is.
        message: What happened, where and when, in a sentence or two.
        remedy: What to do.
        variables: Paths of the variables concerned, root suspect first.
        layers: Paths of the layers concerned, root suspect first.
        first_step: The first optimizer call (0-based) at which it was seen, `None` if it concerns none.
        last_step: The last optimizer call at which it was seen.
        value: The number that was judged.
        threshold: What it was held against.
        cause: Where in the program it comes from, if that was looked for.
    """

    code: str
    rule: str
    severity: Severity
    message: str
    remedy: str
    variables: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    first_step: int | None = None
    last_step: int | None = None
    value: float | None = None
    threshold: float | None = None
    cause: Cause | None = None


@dataclasses.dataclass(frozen=True)
class Skipped:
    """A rule that could not judge a log, which is not the same as a rule that found nothing.

    Args:
        rule: The rule's name.
        code: The rule's code.
        reason: Why it could not judge.
    """

    rule: str
    code: str
    reason: str


class Skip(Exception):  # noqa: N818 - not an error: a rule's way to say that it cannot judge
    """Raised by a rule that cannot judge a log, or not all of it.

    Findings that it gave before are kept.

    Args:
        reason: Why: which statistic is missing, how many steps it needs and how many there are.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule(abc.ABC):
    """A condition on a log, with the words for what it means.

    A rule is a frozen dataclass: thresholds are fields with defaults, words are class variables. Its docstring holds
    the formula and where it comes from.
    """

    code: ClassVar[str]
    severity: ClassVar[Severity]
    """The severity of its findings, the worst where they differ."""
    title: ClassVar[str]
    remedy: ClassVar[str]
    precedence: ClassVar[int] = 0
    """Orders findings of one severity at one step: lower comes first, as a cause before what it causes."""
    yields_to: ClassVar[frozenset[str]] = frozenset()
    """Names of rules that explain what this one finds: beside a warning or an error of theirs it is not told."""

    @property
    def name(self) -> str:
        """The rule's name, that of its class."""
        return type(self).__name__

    @abc.abstractmethod
    def check(self, log: Log) -> Iterator[Finding]:
        """Yields what the rule finds in a log.

        Args:
            log: The log to judge.

        Yields:
            One finding per fault, naming everything it hits, root suspect first.

        Raises:
            Skip: If it cannot judge the log, or not all of it.
        """

    def finding(
        self,
        message: str,
        *,
        variables: Iterable[str] = (),
        layers: Iterable[str] = (),
        steps: tuple[int, int] | None = None,
        value: float | None = None,
        threshold: float | None = None,
        severity: Severity | None = None,
        remedy: str | None = None,
        cause: Cause | None = None,
    ) -> Finding:
        """A finding of this rule, with the rule's own code, severity and remedy unless told otherwise.

        Args:
            message: What happened, where and when.
            variables: Paths of the variables concerned, root suspect first.
            layers: Paths of their layers, root suspect first; a name given twice counts once.
            steps: The first and the last optimizer call at which it was seen.
            value: The number that was judged.
            threshold: What it was held against.
            severity: The severity, if not the rule's.
            remedy: What to do, if not the rule's remedy.
            cause: Where in the program it comes from.

        Returns:
            The finding.
        """
        return Finding(
            code=self.code,
            rule=self.name,
            severity=self.severity if severity is None else severity,
            message=message,
            remedy=self.remedy if remedy is None else remedy,
            variables=tuple(variables),
            layers=tuple(dict.fromkeys(layers)),
            first_step=None if steps is None else int(steps[0]),
            last_step=None if steps is None else int(steps[1]),
            value=None if value is None else float(value),
            threshold=None if threshold is None else float(threshold),
            cause=cause,
        )


def listed(names: Sequence[str], *, limit: int = 3) -> str:
    """Names as a person writes them, cut short where there are many.

    >>> listed(["a", "b"])
    'a and b'
    >>> listed([f"dense_{i}" for i in range(300)])
    'dense_0, dense_1, dense_2 and 297 more'
    """
    names = list(names)
    if len(names) > limit + 1:
        return f"{', '.join(names[:limit])} and {len(names) - limit} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def plural(count: int, noun: str) -> str:
    """A count with its noun.

    >>> plural(1, "step"), plural(2, "entry")
    ('1 step', '2 entries')
    """
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun[:-1]}ies" if noun.endswith("y") else f"{count} {noun}s"
