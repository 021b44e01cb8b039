import dataclasses

import pytest

from gradwatch.rules import RULES, Cause, Rule, Severity, ZeroGradient
from gradwatch.rules.base import listed


def test_severity_is_its_word_and_is_ordered():
    assert Severity.ERROR == "error"
    assert str(Severity.ERROR) == f"{Severity.ERROR}" == "error"
    assert sorted(Severity, reverse=True) == ["error", "warning", "info"]
    assert Severity.ERROR >= Severity.ERROR > "warning" >= Severity.INFO
    assert Severity.INFO < "error"
    assert Severity.INFO <= "info"


def test_severity_does_not_compare_with_other_words():
    with pytest.raises(ValueError, match="fatal"):
        assert Severity.ERROR > "fatal"


def test_every_rule_carries_its_words():
    for rule in RULES:
        assert rule.name == type(rule).__name__
        assert isinstance(rule.severity, Severity)
        assert rule.title
        assert rule.title[-1] != "."
        assert rule.remedy.endswith(".")
        assert type(rule).__doc__


def test_rules_are_in_code_order_without_repeats():
    codes = [rule.code for rule in RULES]
    assert codes == sorted(set(codes))


def test_a_rule_is_frozen_and_takes_thresholds_by_name():
    assert ZeroGradient(min_steps=3).min_steps == 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        ZeroGradient().min_steps = 3
    with pytest.raises(TypeError):
        ZeroGradient(3)
    with pytest.raises(TypeError, match="abstract"):
        Rule()


def test_finding_takes_the_words_of_its_rule_unless_told_otherwise():
    rule = ZeroGradient()
    finding = rule.finding("What.", variables=["a/k", "a/b"], layers=["a", "a"], steps=(1, 2), value=3, threshold=2)
    assert (finding.code, finding.rule, finding.severity) == ("GW103", "ZeroGradient", "warning")
    assert (finding.remedy, finding.layers) == (rule.remedy, ("a",))
    assert (finding.first_step, finding.last_step, finding.value, finding.threshold) == (1, 2, 3.0, 2.0)
    other = rule.finding("What.", severity=Severity.INFO, remedy="Nothing.")
    assert (other.severity, other.remedy, other.first_step, other.cause) == ("info", "Nothing.", None, None)


@pytest.mark.parametrize(
    ("count", "text"), [(0, ""), (1, "a"), (3, "a, a and a"), (4, "a, a, a and a"), (5, "a, a, a and 2 more")]
)
def test_listed(count, text):
    assert listed(["a"] * count) == text


def test_cause_says_what_it_knows():
    assert str(Cause("cut")) == "cut"
    assert str(Cause("origin", op_type="Log", source="a.py:3")) == "Log, a.py:3"
