import dataclasses

import numpy as np
import pytest

from gradwatch import schema
from gradwatch.rules import Skip, UnchangedVariable, UpdateTooLarge, UpdateTooSmall
from gradwatch.testing import findings_of, merged_log, synthetic_log

RULES = [UpdateTooLarge(), UpdateTooSmall(), UnchangedVariable()]
STEPS = np.arange(60)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_healthy(rule):
    assert findings_of(rule, synthetic_log()) == ()
    assert findings_of(rule, synthetic_log(update_norm=np.where(STEPS % 3 == 0, 1e-3, np.nan))) == ()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_needs_updates(rule):
    with pytest.raises(Skip, match="not taken"):
        findings_of(rule, synthetic_log(update_norm=None))
    with pytest.raises(Skip, match="Too few looks"):
        findings_of(rule, synthetic_log(num_steps=5))


def test_updates_of_half_the_weights():
    (finding,) = findings_of(UpdateTooLarge(), synthetic_log(update_norm={"dense/kernel": 0.5}, learning_rate=3.0))
    assert (finding.variables, finding.layers) == (("dense/kernel",), ("dense",))
    assert (finding.value, finding.threshold, finding.severity) == (0.5, 0.1, "warning")
    assert "the learning rate, 3, is too high" in finding.message


def test_updates_that_end_in_nan_are_an_error():
    log = synthetic_log(update_norm={"dense/kernel": 0.5}, nan_count=np.where(STEPS < 50, 0, 1))
    (finding,) = findings_of(UpdateTooLarge(), log)
    assert finding.severity == "error"
    assert finding.first_step < 50


def test_large_updates_at_first_and_of_biases_are_usual():
    assert findings_of(UpdateTooLarge(), synthetic_log(update_norm=np.where(STEPS < 20, 0.5, 1e-3))) == ()
    assert findings_of(UpdateTooLarge(), synthetic_log(update_norm={"dense/bias": 0.5})) == ()
    assert findings_of(UpdateTooLarge(), synthetic_log(weight_norm={"dense/kernel": 0.0})) == ()


def test_updates_too_small_to_matter():
    (finding,) = findings_of(UpdateTooSmall(), synthetic_log(update_norm=1e-7, loss=1.0, learning_rate=1e-9))
    assert (finding.value, finding.threshold) == (1e-7, UpdateTooSmall().ratio)
    assert finding.layers == ("dense", "head")
    assert "the learning rate, 1e-09, is too low" in finding.message


def test_small_updates_by_which_the_loss_falls_are_large_enough():
    assert findings_of(UpdateTooSmall(), synthetic_log(update_norm=1e-7, loss=np.geomspace(1, 1e-3, 60))) == ()
    some = {"dense/kernel": 1e-7, "dense/bias": 1e-7, "head/bias": 1e-7, "head/kernel": 1e-2}
    assert findings_of(UpdateTooSmall(), synthetic_log(update_norm=some, loss=1.0)) == ()


def test_a_variable_that_stays_as_it_is():
    still = np.where(STEPS < 20, 1e-3, 0.0)
    (finding,) = findings_of(UnchangedVariable(), synthetic_log(update_norm={"dense/kernel": still}))
    assert finding.variables == ("dense/kernel",)
    assert (finding.first_step, finding.last_step, finding.value) == (30, 59, 30)


def test_a_learning_rate_of_nothing_is_named():
    (finding,) = findings_of(UnchangedVariable(), synthetic_log(update_norm=0.0, learning_rate=0.0))
    assert len(finding.variables) == 4
    assert "The learning rate is 0." in finding.message


def test_accumulation_and_zero_gradients_are_no_standstill():
    assert findings_of(UnchangedVariable(), synthetic_log(update_norm=np.where(STEPS % 4 == 3, 1e-3, 0.0))) == ()
    log = synthetic_log(update_norm={"dense/kernel": 0.0}, zero_fraction={"dense/kernel": 1.0})
    assert findings_of(UnchangedVariable(), log) == ()
    assert findings_of(UnchangedVariable(), synthetic_log(update_norm=np.where(STEPS < 45, 1e-3, 0.0))) == ()


def test_updates_that_were_not_made_do_not_count():
    with pytest.raises(Skip, match="Too few looks"):
        findings_of(UnchangedVariable(), synthetic_log(update_norm=0.0, applied=False))


def test_a_log_without_any_statistic():
    log = synthetic_log(**dict.fromkeys(schema.VALUE_NAMES))
    for rule in RULES:
        with pytest.raises(Skip):
            findings_of(rule, log)
    assert dataclasses.is_dataclass(RULES[0])


def test_first_updates_that_throw_the_weights_away():
    burst = {"dense/kernel": np.where(STEPS < 5, 4.0, 0.0), "head/kernel": np.where(STEPS < 1, 2.0, 0.0)}
    (finding,) = findings_of(UpdateTooLarge(), synthetic_log(update_norm=burst, loss=2.3))
    assert finding.variables == ("dense/kernel", "head/kernel")
    assert (finding.value, finding.threshold) == (4.0, 1.0)
    one = {"dense/kernel": burst["dense/kernel"]}  # a small weight by chance, not a large step
    assert findings_of(UpdateTooLarge(), synthetic_log(update_norm=one, loss=2.3)) == ()
    assert findings_of(UpdateTooLarge(), synthetic_log(update_norm=burst, loss=np.linspace(1, 0.1, 60))) == ()


def test_a_run_that_ends_too_early_for_its_small_steps():
    falling = np.geomspace(1.0, 0.2, 60)
    (finding,) = findings_of(UpdateTooSmall(), synthetic_log(update_norm=1e-4, loss=falling))
    assert (finding.value, finding.threshold) == (1e-4, 5e-4)
    assert "is far from its end" in finding.message
    (finding,) = findings_of(UpdateTooSmall(), synthetic_log(update_norm=1e-4, loss=0.33))
    assert finding.threshold == 5e-4
    assert findings_of(UpdateTooSmall(), synthetic_log(update_norm=1e-3, loss=falling)) == ()
    assert (
        findings_of(UpdateTooSmall(), synthetic_log(update_norm=1e-4, loss=np.maximum(np.geomspace(1, 0.01, 60), 0.1)))
        == ()
    )


def test_many_looks_at_first_do_not_outweigh_the_second_half():
    looked = (np.arange(240) < 20) | (np.arange(240) % 47 == 0)
    updates = np.where(looked, np.where(np.arange(240) < 40, 1e-3, 0.0), np.nan)
    (finding,) = findings_of(UnchangedVariable(), synthetic_log(num_steps=240, update_norm=updates))
    assert (finding.first_step, finding.value, finding.threshold) == (141, 3, 3)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_few_steps_with_other_variables_keep_nobody_from_judging_the_rest(rule):
    few = synthetic_log(num_steps=2, variables={"a/kernel": (2, 2)})
    values = {"UpdateTooLarge": 0.5, "UpdateTooSmall": 1e-8, "UnchangedVariable": 0.0}
    many = synthetic_log(step=np.arange(2, 62), update_norm=values[rule.name], loss=1.0)
    assert findings_of(rule, merged_log(few, many))
