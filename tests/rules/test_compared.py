import pytest
from rules.deep import HEALTHY

from gradwatch.rules import ExplodingGradient, Skip, VanishingGradient, ZeroGradient
from gradwatch.testing import findings_of, merged_log, synthetic_log

MAGNITUDE = [VanishingGradient(), ExplodingGradient(), ZeroGradient()]


@pytest.mark.parametrize("log", HEALTHY.values(), ids=HEALTHY.keys())
@pytest.mark.parametrize("rule", MAGNITUDE[:2], ids=lambda rule: rule.name)
def test_healthy(rule, log):
    assert findings_of(rule, log) == ()


def test_gan_with_scales_far_apart_is_healthy():
    names = [("d", 1.0), ("g", 1e-7)]
    logs = [
        synthetic_log(variables={f"{n}/a/kernel": (2, 2), f"{n}/b/kernel": (2, 2)}, optimizer=n, grad_norm=norm)
        for n, norm in names
    ]
    for rule in MAGNITUDE:
        assert findings_of(rule, merged_log(*logs)) == ()


@pytest.mark.parametrize("rule", MAGNITUDE, ids=lambda rule: rule.name)
def test_too_few_steps_are_skipped(rule):
    with pytest.raises(Skip, match="Too few steps"):
        findings_of(rule, synthetic_log(num_steps=rule.min_steps - 1))
    with pytest.raises(Skip, match="Too few steps"):
        findings_of(rule, synthetic_log(nan_count=1))


@pytest.mark.parametrize("rule", MAGNITUDE, ids=lambda rule: rule.name)
def test_missing_statistics_are_skipped(rule):
    with pytest.raises(Skip, match="taken"):
        findings_of(rule, synthetic_log(grad_norm=None, zero_fraction=None, grad_max=None))


@pytest.mark.parametrize("rule", MAGNITUDE, ids=lambda rule: rule.name)
def test_no_gradients_are_skipped(rule):
    with pytest.raises(Skip, match="No gradient"):
        findings_of(rule, synthetic_log(detached=["dense/kernel", "dense/bias", "head/kernel", "head/bias"]))
