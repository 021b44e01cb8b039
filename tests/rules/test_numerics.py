import numpy as np
import pytest

from gradwatch.log import Log
from gradwatch.rules import NonFiniteGradient, NonFiniteInput, NonFiniteLoss, Skip
from gradwatch.testing import findings_of, merged_log, synthetic_log

NUM_STEPS = 60


def bad_at(*steps, count=1):
    return [count * (step in steps) for step in range(NUM_STEPS)]


def held_back(start, stop=NUM_STEPS, scale=1024.0):
    """A loss-scaled run whose updates of some steps overflow and are held back."""
    bad = [start <= step < stop for step in range(NUM_STEPS)]
    return synthetic_log(inf_count=np.int64(bad), applied=~np.array(bad), overflow=bad, loss_scale=scale)


@pytest.mark.parametrize("rule", [NonFiniteGradient(), NonFiniteLoss(), NonFiniteInput()], ids=lambda rule: rule.name)
def test_healthy_log(rule):
    assert findings_of(rule, synthetic_log()) == ()


@pytest.mark.parametrize("rule", [NonFiniteGradient(), NonFiniteLoss(), NonFiniteInput()], ids=lambda rule: rule.name)
def test_nothing_recorded_is_skipped(rule):
    with pytest.raises(Skip, match="No step"):
        findings_of(rule, Log())


@pytest.mark.parametrize("kind", ["nan_count", "inf_count"])
def test_gradient_hit(kind):
    log = synthetic_log(**{kind: {"dense/kernel": bad_at(12, 13, 40, count=2)}})
    (finding,) = findings_of(NonFiniteGradient(), log)
    assert finding.severity == "error"
    assert (finding.variables, finding.layers) == (("dense/kernel",), ("dense",))
    assert (finding.first_step, finding.last_step, finding.value) == (12, 40, 2)
    assert "dense/kernel" in finding.message
    assert "step 12 (epoch 0, batch 12) and at 2 more of the 60 recorded steps" in finding.message
    assert "starts in layer dense" in finding.message
    assert "was applied" in finding.message


def test_layer_nearest_to_the_output_is_the_root_suspect():
    shapes = {f"layer_{i}/{name}": (2, 2) for i in range(4) for name in ("kernel", "bias")}
    hit = [path for path in shapes if path < "layer_3"]
    log = synthetic_log(variables=shapes, nan_count=dict.fromkeys(hit, bad_at(3)))
    (finding,) = findings_of(NonFiniteGradient(), log)
    assert finding.layers == ("layer_2", "layer_1", "layer_0")
    assert finding.variables[:2] == ("layer_2/kernel", "layer_2/bias")


def test_every_variable_hit_points_at_the_loss():
    (finding,) = findings_of(NonFiniteGradient(), synthetic_log(nan_count=bad_at(5)))
    assert "comes from layer head, from what stands after it (the loss" in finding.message


def test_bad_batch_is_named():
    (finding,) = findings_of(NonFiniteGradient(), synthetic_log(nan_count=bad_at(5), nonfinite_inputs=bad_at(5)))
    assert "batch of that step holds NaN" in finding.message
    assert "NonFiniteInput" in finding.remedy


def test_skipped_update_without_a_loss_scale_is_a_finding():
    log = synthetic_log(nan_count=bad_at(5), applied=[step != 5 for step in range(NUM_STEPS)])
    (finding,) = findings_of(NonFiniteGradient(), log)
    assert "held back" in finding.message


@pytest.mark.parametrize("log", [held_back(0, 16), held_back(20, 55), held_back(55)], ids=["start", "middle", "end"])
def test_loss_scale_that_recovers_is_no_finding(log):
    assert findings_of(NonFiniteGradient(), log) == ()


@pytest.mark.parametrize("log", [held_back(5, scale=1.0), held_back(5, scale=0.5), held_back(20)])
def test_loss_scale_that_cannot_be_the_reason(log):
    (finding,) = findings_of(NonFiniteGradient(), log)
    assert finding.first_step in (5, 20)


def test_bad_update_that_was_applied_in_spite_of_a_loss_scale():
    assert findings_of(NonFiniteGradient(), synthetic_log(nan_count=bad_at(5), loss_scale=1024.0))


def test_norm_tells_where_counts_were_not_taken():
    log = synthetic_log(nan_count=None, inf_count=None, grad_norm={"head/bias": np.where(bad_at(7), np.nan, 1.0)})
    (finding,) = findings_of(NonFiniteGradient(), log)
    assert (finding.first_step, finding.variables, finding.value) == (7, ("head/bias",), None)


def test_no_statistic_to_judge_gradients_by():
    log = synthetic_log(nan_count=None, inf_count=None, grad_norm=None)
    with pytest.raises(Skip, match="nan_count"):
        findings_of(NonFiniteGradient(), log)


def test_first_of_several_optimizers():
    one = synthetic_log(variables={"d/kernel": (2, 2)}, optimizer="d", step=range(0, 120, 2), nan_count=bad_at(10))
    two = synthetic_log(variables={"g/kernel": (2, 2)}, optimizer="g", step=range(1, 120, 2), nan_count=bad_at(9, 50))
    (finding,) = findings_of(NonFiniteGradient(), merged_log(one, two))
    assert (finding.variables, finding.first_step, finding.last_step) == (("g/kernel",), 19, 101)


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")])
def test_loss_hit(value, word):
    (finding,) = findings_of(NonFiniteLoss(), synthetic_log(loss=np.where(bad_at(4, 5), value, 1.0)))
    assert (finding.severity, finding.first_step, finding.last_step) == ("error", 4, 5)
    assert f"loss is {word} at step 4" in finding.message


def test_missing_loss_is_skipped():
    with pytest.raises(Skip, match="was seen"):
        findings_of(NonFiniteLoss(), synthetic_log(loss=None))


def test_optimizer_without_a_loss_beside_one_with():
    one = synthetic_log(variables={"d/kernel": (2, 2)}, optimizer="d", loss=None)
    two = synthetic_log(variables={"g/kernel": (2, 2)}, optimizer="g")
    assert findings_of(NonFiniteLoss(), merged_log(one, two)) == ()


def test_input_hit():
    (finding,) = findings_of(NonFiniteInput(), synthetic_log(nonfinite_inputs=bad_at(8, count=3), epoch=2))
    assert (finding.severity, finding.first_step, finding.value) == ("error", 8, 3)
    assert finding.message == "The batch holds NaN or Inf (3 entries) at step 8 (epoch 2, batch 8)."


def test_update_that_a_guard_held_back_under_a_fixed_loss_scale_is_a_finding():
    applied = np.array(bad_at(5)) == 0
    assert findings_of(NonFiniteGradient(), synthetic_log(nan_count=bad_at(5), applied=applied, loss_scale=1024.0))
