import numpy as np
import pytest

from gradwatch import diagnose
from gradwatch.rules import Skip, StalledLoss, UnstableLoss
from gradwatch.testing import findings_of, merged_log, synthetic_log

NUM_STEPS = 200
STEPS = np.arange(NUM_STEPS)
NOISE = np.random.default_rng(0).lognormal(0, 0.3, NUM_STEPS)


def loss_log(loss):
    return synthetic_log(num_steps=NUM_STEPS, loss=loss)


HEALTHY = {
    "falls": np.exp(-STEPS / 50) * NOISE,
    "spikes": np.where(STEPS % 40 == 3, 50.0, np.exp(-STEPS / 50) + 0.1),
    "settles": 0.1 + np.exp(-STEPS / 10) * NOISE,
    "single rows": np.random.default_rng(1).chisquare(1, NUM_STEPS),
    "negative": np.where(STEPS % 2 == 0, -1.0, 3.0),
}


@pytest.mark.parametrize("rule", [UnstableLoss(), StalledLoss()], ids=lambda rule: rule.name)
@pytest.mark.parametrize("name", HEALTHY)
def test_healthy(rule, name):
    assert findings_of(rule, loss_log(HEALTHY[name])) == ()


@pytest.mark.parametrize("rule", [UnstableLoss(), StalledLoss()], ids=lambda rule: rule.name)
def test_what_cannot_be_judged_is_skipped(rule):
    with pytest.raises(Skip, match="Too few steps"):
        findings_of(rule, synthetic_log(num_steps=59))
    with pytest.raises(Skip, match="The loss of no step was seen"):
        findings_of(rule, synthetic_log(loss=None))
    with pytest.raises(Skip, match="No step was recorded"):
        findings_of(rule, synthetic_log(num_steps=0))
    two = [synthetic_log(variables={f"{name}/kernel": (2, 2)}, optimizer=name) for name in "dg"]
    with pytest.raises(Skip, match="several optimizers"):
        findings_of(rule, merged_log(*two))


def test_a_loss_that_diverges():
    (finding,) = findings_of(UnstableLoss(), loss_log(np.exp(STEPS / 50)))
    assert (finding.first_step, finding.last_step) == (0, 199)
    assert finding.value == pytest.approx(np.exp(190 / 50), rel=0.1)
    assert "diverges" in finding.message


def test_a_loss_that_swings():
    swings = np.where(STEPS // 10 % 3 == 0, 10.0, 1.0)
    (finding,) = findings_of(UnstableLoss(), loss_log(swings * NOISE))
    assert "swings" in finding.message
    assert finding.value >= 0.2


def test_a_loss_that_stays_as_it_is():
    (finding,) = findings_of(StalledLoss(), loss_log(0.69 + 0.01 * NOISE))
    assert (finding.severity, finding.threshold) == ("info", 0.02)
    assert "The loss did not fall" in finding.message


def test_what_explains_a_loss_is_told_alone():
    diagnosis = diagnose(loss_log(1.0))
    assert [finding.rule for finding in diagnosis.findings] == ["StalledLoss"]
    dead = synthetic_log(num_steps=NUM_STEPS, loss=1.0, zero_fraction=1.0)
    diagnosis = diagnose(dead)
    assert [finding.rule for finding in diagnosis.findings] == ["ZeroGradient"]
    assert [finding.rule for finding in diagnosis.explained] == ["StalledLoss"]
