import dataclasses
import json
import subprocess
import sys
import time

import numpy as np
import pytest
from pages import Page

from gradwatch.diagnosis import Diagnosis, checked_rules, diagnose, resolve_rules
from gradwatch.errors import GradientWarning
from gradwatch.log import Log
from gradwatch.records import RunInfo
from gradwatch.rules import RULES, Cause, NonFiniteGradient, Rule, Severity, Skip, Skipped, ZeroGradient
from gradwatch.testing import synthetic_log

STEPS = np.arange(60)
BAD = np.int64(STEPS == 12)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Custom(Rule):
    """A rule of a user's own."""

    code = "XY001"
    severity = Severity.WARNING
    title = "custom"
    remedy = "Mend <it>."
    gives: int = 1
    error: Exception | None = None

    def check(self, log):
        for step in range(self.gives):
            yield self.finding(f"Found <b>{step}</b>.", steps=(step, step), value=np.inf)
        if self.error:
            raise self.error


def bad_run():
    return synthetic_log(
        nan_count=BAD, nonfinite_inputs=BAD, loss=np.where(BAD, np.nan, 1.0), detached=["dense/bias"],
        info=RunInfo(allow_detached=("dense/*",), num_trainable=4),
    )  # fmt: skip


def test_healthy():
    diagnosis = diagnose(synthetic_log())
    assert diagnosis.ok
    assert (diagnosis.findings, diagnosis.skipped) == ((), ())
    assert diagnosis.passed == tuple(rule.name for rule in RULES)
    assert str(diagnosis) == f"Healthy: no findings ({len(RULES)} rules passed, 0 could not judge)."


def test_nothing_recorded_is_not_healthy_but_not_judged():
    diagnosis = diagnose(Log())
    assert [skip.rule for skip in diagnosis.skipped] == [rule.name for rule in RULES]
    assert all(skip.reason and skip.code for skip in diagnosis.skipped)
    assert str(diagnosis).startswith("Not judged: no findings (0 rules passed")


def test_findings_are_in_order_of_severity_then_cause_before_effect():
    diagnosis = diagnose(bad_run())
    assert not diagnosis.ok
    assert [f.rule for f in diagnosis.findings] == [
        "NonFiniteInput", "NonFiniteLoss", "NonFiniteGradient", "DetachedVariable",
    ]  # fmt: skip
    assert diagnose(bad_run(), reversed(RULES)).findings == diagnosis.findings


def test_earlier_comes_first_among_equals():
    log = synthetic_log(nan_count=BAD, loss=np.where(STEPS == 20, np.inf, 1.0))
    assert [f.rule for f in diagnose(log).findings] == ["NonFiniteGradient", "NonFiniteLoss"]


def test_warnings_leave_it_ok():
    diagnosis = diagnose(synthetic_log(), [Custom()])
    assert diagnosis.ok
    assert str(diagnosis).startswith("Suspicious: 1 warning")


def test_text_has_verdict_findings_remedies_and_skipped():
    text = str(diagnose(bad_run().tail(50).tail(3)))
    assert "Could not be judged:" in text
    text = str(diagnose(bad_run()))
    assert text.startswith("Not healthy: 3 errors, 1 note (")
    assert "ERROR GW201 NonFiniteGradient, step 12\n" in text
    assert text.count("What to do:") == 4
    assert max(map(len, text.splitlines())) <= 100


def test_cause_is_shown():
    finding = dataclasses.replace(Custom().finding("What."), cause=Cause("cut", op_type="ArgMax", source="a.py:1"))
    diagnosis = Diagnosis((finding,))
    assert "Where: ArgMax, a.py:1" in str(diagnosis)
    assert diagnosis.frame()["cause"].tolist() == ["ArgMax, a.py:1"]
    assert Diagnosis.from_json(diagnosis.to_json()) == diagnosis


def test_html_is_escaped():
    page = diagnose(synthetic_log(), [Custom(), Custom(gives=0, error=Skip("a < b"))])._repr_html_()
    assert "Found &lt;b&gt;0&lt;/b&gt;." in page
    assert "Mend &lt;it&gt;." in page
    assert "a &lt; b" in page
    assert "<b>" not in page
    assert Page(page).open == []


def test_html_has_what_the_text_has():
    cause = Cause("cut", op_type="ArgMax", source="a.py:1", code="y = argmax(x)")
    steps = {"first_step": 3, "last_step": 9}
    finding = dataclasses.replace(Custom().finding("What `it` is."), cause=cause, **steps)
    diagnosis = Diagnosis((finding,), (Skipped("Other", "GW000", "Too few steps."),), ("NonFiniteLoss",))
    page = Page(diagnosis._repr_html_())
    for words in (
        diagnosis.verdict,
        "Custom, steps 3 to 9",
        "What it is.",
        "Where: ArgMax, a.py:1: y = argmax(x)",
        "What to do: Mend <it>.",
        "Could not be judged: Other",
        "GW000 Other: Too few steps.",
    ):
        assert words in page.text, words
    assert page.tags.count("details") == 1


@pytest.mark.parametrize(
    ("severities", "level", "head"),
    [
        ((), "healthy", "Healthy"),
        (("info",), "healthy", "Healthy"),
        (("info", "warning"), "warning", "Suspicious"),
        (("error", "warning"), "error", "Not healthy"),
    ],
)
def test_level_and_verdict(severities, level, head):
    findings = tuple(dataclasses.replace(Custom().finding("What."), severity=Severity(word)) for word in severities)
    diagnosis = Diagnosis(findings, passed=("NonFiniteLoss",))
    assert diagnosis.level == level
    assert diagnosis.verdict.startswith(f"{head}: ")
    assert repr(diagnosis) == f"<gradwatch.Diagnosis: {diagnosis.verdict[:-1]}>"
    assert Diagnosis().level == "unknown"
    assert Diagnosis().verdict.startswith("Not judged: ")


def test_frame():
    table = diagnose(bad_run()).frame()
    assert table["code"].tolist() == ["GW205", "GW202", "GW201", "GW401"]
    assert table["severity"].tolist() == ["error", "error", "error", "info"]
    assert str(table["first_step"].dtype) == "Int64"
    assert table.loc[3, "variables"] == ("dense/bias",)
    assert Diagnosis().frame().empty
    assert list(Diagnosis().frame().columns) == list(table.columns)


def test_json_is_strict_and_reads_back():
    diagnosis = diagnose(bad_run(), (*RULES, Custom()))
    plain = json.loads(diagnosis.to_json(), parse_constant=pytest.fail)
    assert plain["ok"] is False
    assert plain["findings"][0]["severity"] == "error"
    assert plain["findings"][-2]["value"] == "inf"
    again = Diagnosis.from_json(diagnosis.to_json())
    assert again.to_json() == diagnosis.to_json()
    assert again.findings[0] == diagnosis.findings[0]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"findings": [{}], "skipped": [], "passed": []}'])
def test_json_that_is_no_diagnosis(text):
    with pytest.raises(ValueError, match="Not a diagnosis"):
        Diagnosis.from_json(text)


def test_a_rule_that_fails_does_not_lose_the_diagnosis():
    rules = (Custom(error=KeyError("lost")), ZeroGradient(), NonFiniteGradient())
    with pytest.warns(GradientWarning, match="XY001 Custom could not judge"):
        diagnosis = diagnose(synthetic_log(nan_count=BAD), rules)
    assert [f.rule for f in diagnosis.findings] == ["NonFiniteGradient", "Custom"]
    assert [(skip.rule, skip.reason) for skip in diagnosis.skipped] == [("Custom", "The rule failed: KeyError: 'lost'")]
    assert diagnosis.passed == ("ZeroGradient",)


def test_a_rule_may_find_something_and_say_that_it_could_not_judge_the_rest():
    diagnosis = diagnose(synthetic_log(), [Custom(error=Skip("the rest"))])
    assert len(diagnosis.findings) == len(diagnosis.skipped) == 1


@pytest.mark.parametrize(
    ("rules", "match"),
    [
        (ZeroGradient(), "must be a collection"),
        ("GW201", "must be a collection"),
        (None, "must be a collection"),
        ([ZeroGradient], r"Call it: ZeroGradient\(\)"),
        ([ZeroGradient(), "GW201"], "not a rule. Received: 'GW201'"),
    ],
)
def test_bad_rules(rules, match):
    with pytest.raises(TypeError, match=match):
        checked_rules(rules)
    with pytest.raises(TypeError, match=match):
        diagnose(synthetic_log(), rules)


def test_bad_log():
    with pytest.raises(TypeError, match="must be a gradwatch Log"):
        diagnose(synthetic_log().frame())


def test_resolve_rules():
    assert resolve_rules(["GW201", "ZeroGradient", "GW103"]) == {"NonFiniteGradient", "ZeroGradient"}
    assert resolve_rules("GW201") == {"NonFiniteGradient"}
    assert resolve_rules([]) == frozenset()
    assert resolve_rules(["XY001"], [Custom()]) == {"Custom"}


def test_unknown_resolve_rules():
    with pytest.raises(ValueError, match=r"Unknown rules: NonFiniteGradients, GW9. Did you mean NonFiniteGradient"):
        resolve_rules(["GW201", "NonFiniteGradients", "GW9"])
    with pytest.raises(TypeError, match="names or codes"):
        resolve_rules([1])
    with pytest.raises(TypeError, match="names or codes"):
        resolve_rules(7)


def test_judging_does_not_import_tensorflow():
    code = "import sys, gradwatch.diagnosis, gradwatch.testing; assert not {'tensorflow', 'keras'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_ten_million_records_take_seconds():
    shapes = {f"layer_{i}/{name}": (4, 4) for i in range(125) for name in ("kernel", "bias")}
    log = synthetic_log(num_steps=40_000, variables=shapes)
    start = time.perf_counter()
    assert diagnose(log).ok
    assert time.perf_counter() - start < 10
