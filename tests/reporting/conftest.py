"""A log with every kind of variable, hostile names, and a diagnosis of it that no rule can change."""

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")

from gradwatch.diagnosis import Diagnosis
from gradwatch.records import RunInfo
from gradwatch.rules.base import Cause, Finding, Severity, Skipped
from gradwatch.testing import synthetic_log


@pytest.fixture
def log():
    steps = np.arange(20)
    return synthetic_log(
        num_steps=20,
        variables={
            "embed/table": (50, 8),
            "<script>alert(1)</script>/kernel": (8, 4),
            "a|b`c/kernel": (4, 4),
            "head/kernel": (4, 2),
            "head/scale": (),
        },
        detached=["embed/table"],
        nan_count={"head/kernel": np.where(steps >= 18, 4, 0)},
        grad_norm={
            "<script>alert(1)</script>/kernel": 0.5 * 0.8**steps,
            "a|b`c/kernel": 0.0,
            "head/kernel": np.where(steps >= 18, np.nan, 1.0 + steps),
            "head/scale": 0.125,
        },
        zero_fraction={"a|b`c/kernel": 1.0},
        loss=2.0 - 0.05 * steps,
        applied=steps < 18,
        info=RunInfo(model="digits <b>", versions={"keras": "3.12.0"}, num_trainable=5),
    )


@pytest.fixture
def diagnosis():
    return Diagnosis(
        findings=(
            Finding(
                code="GW201",
                rule="NonFiniteGradient",
                severity=Severity.ERROR,
                message="The gradient of head/kernel holds NaN at step 18.",
                remedy="Clip the argument of `log`, see <https://example.org>.",
                variables=("head/kernel",),
                layers=("head",),
                first_step=18,
                last_step=19,
                value=4.0,
                threshold=0.0,
                cause=Cause(
                    "forward",
                    op_type="Log",
                    layer="head",
                    source="train.py:83",
                    code="y = tf.math.log(x) # <i>",
                    detail="given 8 times 0",
                ),
            ),
            Finding(
                code="GW401",
                rule="DetachedVariable",
                severity=Severity.WARNING,
                message="No gradient reaches *embed*.",
                remedy="Look for the cut.",
                variables=("embed/table",),
                layers=("embed",),
            ),
            Finding(
                code="GW999",
                rule="Curious",
                severity=Severity.INFO,
                message="A note.",
                remedy="None.",
                layers=("head",),
            ),
        ),
        skipped=(Skipped("UpdateTooLarge", "GW301", "`update_norm` was not recorded: statistics='full' takes it."),),
        passed=("NonFiniteLoss",),
    )


@pytest.fixture
def golden(request):
    """Compares a text with a file under tests/golden; `GRADWATCH_WRITE_GOLDEN=1` writes it anew."""
    import os

    def check(text: str, name: str) -> None:
        path = request.path.parent.parent / "golden" / name
        if os.environ.get("GRADWATCH_WRITE_GOLDEN"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return check
