"""Runs rules over a log and says what they found."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import textwrap
import warnings
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from gradwatch import notebook
from gradwatch.deferred import Deferred
from gradwatch.errors import GradientWarning
from gradwatch.log import Log
from gradwatch.rules import RULES
from gradwatch.rules.base import Cause, Finding, Rule, Severity, Skip, Skipped, plural

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = Deferred("pandas")

RECENT_STEPS = 512
"""Recorded steps of each segment that rules look back on while training runs; afterwards they look at all of them."""

_WIDTH = 100


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """All that a set of rules has to say about a log.

    Args:
        findings: What was found, most severe and earliest first.
        skipped: The rules that could not judge, and why: skipped is not passed.
        passed: Names of the rules that judged and found nothing.
        explained: What was found as well, but is a consequence of what is in `findings`.
    """

    findings: tuple[Finding, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    passed: tuple[str, ...] = ()
    explained: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is no finding of severity "error"."""
        return not any(finding.severity == Severity.ERROR for finding in self.findings)

    def frame(self) -> pd.DataFrame:
        """The findings as a table, one row each.

        Returns:
            A frame with the fields of `Finding` as columns. Steps are `Int64`, `variables` and `layers` tuples, `cause`
            a line of text or missing.
        """
        names = [field.name for field in dataclasses.fields(Finding)]
        rows = [[getattr(finding, name) for name in names] for finding in self.findings]
        table = pd.DataFrame(rows, columns=names)
        table["severity"] = [str(finding.severity) for finding in self.findings]
        table["cause"] = [None if finding.cause is None else str(finding.cause) for finding in self.findings]
        return table.astype({"first_step": "Int64", "last_step": "Int64", "value": "float64", "threshold": "float64"})

    def to_json(self) -> str:
        """The diagnosis as a JSON text; `from_json` reads it.

        Returns:
            An object with `ok`, `findings`, `skipped`, `passed` and `explained`. A number that is NaN or infinite is
            the string "nan", "inf" or "-inf", for JSON has none.
        """
        plain = {"ok": self.ok, **dataclasses.asdict(self)}
        for finding in (*plain["findings"], *plain["explained"]):
            finding |= {name: to_plain(finding[name]) for name in ("value", "threshold")}
            finding["severity"] = str(finding["severity"])
        return json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Diagnosis:
        """The diagnosis that `to_json` wrote.

        Args:
            text: What `to_json` returned.

        Returns:
            An equal diagnosis.

        Raises:
            ValueError: If the text is not a diagnosis.
        """
        try:
            plain = json.loads(text)
            return cls(
                findings=tuple(_finding(entry) for entry in plain["findings"]),
                skipped=tuple(Skipped(**entry) for entry in plain["skipped"]),
                passed=tuple(plain["passed"]),
                explained=tuple(_finding(entry) for entry in plain.get("explained", ())),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"Not a diagnosis written by `Diagnosis.to_json`. Received: {text[:80]!r}.") from error

    def __repr__(self) -> str:
        return f"<gradwatch.Diagnosis: {self.verdict.rstrip('.')}>"

    def __str__(self) -> str:
        blocks = [self.verdict, *(_text(finding) for finding in self.findings)]
        if self.skipped:
            lines = [_wrapped(f"{skip.code} {skip.rule}: {skip.reason}", "  ") for skip in self.skipped]
            blocks.append("\n".join(["Could not be judged:", *lines]))
        return "\n\n".join(blocks)

    @property
    def verdict(self) -> str:
        """In one line how healthy it is, what was found, and how much could be judged."""
        counts = [(severity, [f.severity for f in self.findings].count(severity)) for severity in reversed(Severity)]
        words = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
        found = ", ".join(plural(count, words[severity]) for severity, count in counts if count)
        judged = f"{plural(len(self.passed), 'rule')} passed, {len(self.skipped)} could not judge"
        heads = {"error": "Not healthy", "warning": "Suspicious", "healthy": "Healthy", "unknown": "Not judged"}
        return f"{heads[self.level]}: {found or 'no findings'} ({judged})."

    @property
    def level(self) -> str:
        """The worst of what was found: "error", "warning", "healthy", or "unknown" where next to nothing was judged."""
        if not self.findings:
            return "unknown" if not self.passed or len(self.passed) <= 1 < len(self.skipped) else "healthy"
        worst = max(Severity(finding.severity) for finding in self.findings)
        return "healthy" if worst == Severity.INFO else str(worst)

    def _repr_html_(self) -> str:
        return notebook.render("diagnosis", diagnosis=self)


def diagnose(log: Log, rules: Iterable[Rule] = RULES) -> Diagnosis:
    """Runs rules over a log.

    A rule that fails does not lose the diagnosis: it is among the skipped, with its error, and warned about.

    Args:
        log: What was recorded.
        rules: The rules to judge it by.

    Returns:
        The diagnosis: findings sorted by severity, first step, cause before effect, then code.

    Raises:
        TypeError: If `log` is not a log or `rules` holds something else than rules.

    >>> from gradwatch.testing import synthetic_log
    >>> diagnosis = diagnose(synthetic_log())
    >>> diagnosis.ok, diagnosis.findings
    (True, ())
    >>> print(diagnose(synthetic_log(nan_count={"head/kernel": 1}, num_steps=1)).findings[0].message)
    The gradient of head/kernel holds NaN or Inf at step 0 (epoch 0, batch 0). ...
    """
    if not isinstance(log, Log):
        raise TypeError(f"`log` must be a gradwatch Log. Received: {log!r}. Use `watch.log` or `gradwatch.load(path)`.")
    found: list[tuple[Rule, Finding]] = []
    skipped: list[Skipped] = []
    passed: list[str] = []
    for rule in checked_rules(rules):
        count = len(found)
        reason = _run(rule, log, found)
        if reason is not None:
            skipped.append(Skipped(rule.name, rule.code, reason))
        elif len(found) == count:
            passed.append(rule.name)
    found.sort(key=_urgency)
    roots = {finding.rule for _, finding in found if Severity(finding.severity) >= Severity.WARNING}
    told = tuple(finding for rule, finding in found if not rule.yields_to & roots)
    explained = tuple(finding for rule, finding in found if rule.yields_to & roots)
    return Diagnosis(told, tuple(skipped), tuple(passed), explained)


def checked_rules(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The rules as a tuple, if they are rules.

    Args:
        rules: What a user gave as rules.

    Returns:
        The rules.

    Raises:
        TypeError: If it is not a collection of instances of `Rule`.
    """
    mend = "Give a tuple of rules, such as rules=(*gradwatch.RULES, MyRule())."
    if isinstance(rules, Rule | str) or not isinstance(rules, Iterable):
        raise TypeError(f"`rules` must be a collection of rules. Received: rules={rules!r}. {mend}")
    rules = tuple(rules)
    for rule in rules:
        if isinstance(rule, type) and issubclass(rule, Rule):
            raise TypeError(f"`rules` holds the class {rule.__name__}, not a rule. Call it: {rule.__name__}().")
        if not isinstance(rule, Rule):
            raise TypeError(f"`rules` holds something that is not a rule. Received: {rule!r}. {mend}")
    return rules


def resolve_rules(wanted: Collection[str], rules: Iterable[Rule] = RULES) -> frozenset[str]:
    """The names of the rules that a collection of names or codes stands for.

    Args:
        wanted: Names ("NonFiniteGradient") or codes ("GW201") of rules; a single one may stand alone.
        rules: The rules to choose from.

    Returns:
        The names.

    Raises:
        TypeError: If it is not a collection of strings.
        ValueError: If one is neither the name nor the code of a rule.

    >>> sorted(resolve_rules(["GW201", "ZeroGradient"]))
    ['NonFiniteGradient', 'ZeroGradient']
    """
    wanted = (wanted,) if isinstance(wanted, str) else wanted
    if not isinstance(wanted, Iterable) or not all(isinstance(word, str) for word in wanted):
        raise TypeError(f"Expected names or codes of rules, such as ('GW201', 'ZeroGradient'). Received: {wanted!r}.")
    rules = tuple(rules)
    names = {word: rule.name for rule in rules for word in (rule.name, rule.code)}
    unknown = [word for word in wanted if word not in names]
    if unknown:
        close = [match for word in unknown for match in difflib.get_close_matches(word, names, n=1)]
        hint = f" Did you mean {', '.join(close)}?" if close else ""
        known = ", ".join(f"{rule.name} ({rule.code})" for rule in rules)
        raise ValueError(f"Unknown rules: {', '.join(unknown)}.{hint} Expected names or codes out of {known}.")
    return frozenset(names[word] for word in wanted)


def _run(rule: Rule, log: Log, found: list[tuple[Rule, Finding]]) -> str | None:
    """Adds what a rule finds; returns why it could not judge, if so."""
    try:
        for finding in rule.check(log):
            found.append((rule, finding))
    except Skip as skip:
        return skip.reason
    except Exception as error:
        reason = f"The rule failed: {type(error).__name__}: {error}"
        warnings.warn(f"{rule.code} {rule.name} could not judge the log. {reason}", GradientWarning, stacklevel=3)
        return reason
    return None


def _urgency(entry: tuple[Rule, Finding]) -> tuple[int, int, int, str]:
    rule, finding = entry
    first = -1 if finding.first_step is None else finding.first_step
    return (-Severity(finding.severity).rank, first, rule.precedence, finding.code)


def _steps_text(finding: Finding) -> str:
    if finding.first_step is None:
        return ""
    same = finding.last_step is None or finding.last_step == finding.first_step
    return f", step {finding.first_step}" if same else f", steps {finding.first_step} to {finding.last_step}"


def _heading(finding: Finding) -> str:
    return f"{str(finding.severity).upper()} {finding.code} {finding.rule}{_steps_text(finding)}"


def _text(finding: Finding) -> str:
    lines = [_heading(finding), _wrapped(finding.message, "  ")]
    if finding.cause is not None:
        lines.append(_wrapped(f"Where: {finding.cause}", "  "))
    return "\n".join([*lines, _wrapped(f"What to do: {finding.remedy}", "  ")])


def _wrapped(text: str, indent: str) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def to_plain(number: float | None) -> float | str | None:
    """A number as JSON can hold it; one that is NaN or infinite as text."""
    return number if number is None or math.isfinite(number) else str(number)


def _finding(plain: dict) -> Finding:
    numbers = {name: None if plain[name] is None else float(plain[name]) for name in ("value", "threshold")}
    paths = {name: tuple(plain[name]) for name in ("variables", "layers")}
    cause = None if plain["cause"] is None else Cause(**plain["cause"])
    return Finding(**{**plain, **numbers, **paths, "cause": cause, "severity": Severity(plain["severity"])})
