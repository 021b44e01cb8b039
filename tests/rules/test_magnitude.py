import numpy as np
import pytest

from gradwatch.rules import ExplodingGradient, Skip, VanishingGradient, ZeroGradient
from gradwatch.testing import findings_of, merged_log, synthetic_log

NUM_STEPS = 60
DEEP = {f"layer_{i}/{name}": shape for i in range(8) for name, shape in [("kernel", (4, 4)), ("bias", (4,))]}
MAGNITUDE = [VanishingGradient(), ExplodingGradient(), ZeroGradient()]
STEPS = np.arange(NUM_STEPS)


def deep_log(scales, **values):
    """A log of a deep network with a root mean square for each layer, a number or `[steps]`."""
    norms = {
        path: np.asarray(scale) * np.sqrt(np.prod(DEEP[path]))
        for i, scale in enumerate(scales)
        for path in (f"layer_{i}/kernel", f"layer_{i}/bias")
    }
    return synthetic_log(variables=DEEP, grad_norm=norms, **values)


def noisy(median, spread, seed=0):
    return median * np.exp(spread * np.random.default_rng(seed).standard_normal(NUM_STEPS))


HEALTHY = {
    "flat": deep_log([1e-2] * 8),
    "decays mildly": deep_log([1e-2 * 2.0 ** (i - 8) for i in range(8)]),
    "noisy": deep_log([noisy(1e-2, 2.0, seed) for seed in range(8)]),
    "one spike": deep_log([np.where(STEPS == 40, 1e5, 1e-2)] * 8),
    "converges": deep_log([1e-2 * np.exp(-STEPS / 2.5)] * 8, loss=np.exp(-STEPS / 2.5)),
    "converges on a floor of loss": deep_log([1e-2 * np.exp(-STEPS / 2)] * 8, loss=1 + np.exp(-STEPS)),
    "fine-tunes": deep_log([2e-5] * 6 + [1e-2] * 2),
    "wakes up": deep_log([np.where(STEPS == 0, 0, 1e-2)] * 7 + [1e-2]),
    "bias before normalization": synthetic_log(
        variables={"conv/kernel": (3, 3), "conv/bias": (3,), "head/kernel": (3, 2)}, grad_norm={"conv/bias": 1e-12}
    ),
    "zero key bias": synthetic_log(zero_fraction={"dense/bias": 1.0}),
    "sparse embedding": synthetic_log(
        variables={"embedding/embeddings": (10**8, 1), "head/kernel": (3, 2)},
        zero_fraction={"embedding/embeddings": 1 - 1e-7},
        grad_norm={"embedding/embeddings": 1e-3 * np.sqrt(10), "head/kernel": 1.0},
    ),
    "large from the start": deep_log([300.0] * 8, loss=1e5),
    "perfect": synthetic_log(zero_fraction=1.0, loss=np.where(STEPS < 30, 1e-3, 0)),
}


@pytest.mark.parametrize("log", HEALTHY.values(), ids=HEALTHY.keys())
@pytest.mark.parametrize("rule", MAGNITUDE[:2], ids=lambda rule: rule.name)
def test_healthy(rule, log):
    assert findings_of(rule, log) == ()


@pytest.mark.parametrize("name", [name for name in HEALTHY if name != "perfect"])
def test_healthy_is_not_zero(name):
    assert findings_of(ZeroGradient(), HEALTHY[name]) == ()


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
        findings_of(rule, synthetic_log(nan_count=np.where(STEPS < 5, 0, 1)))


@pytest.mark.parametrize("rule", MAGNITUDE, ids=lambda rule: rule.name)
def test_missing_statistics_are_skipped(rule):
    with pytest.raises(Skip, match="taken"):
        findings_of(rule, synthetic_log(grad_norm=None, zero_fraction=None, grad_max=None))


@pytest.mark.parametrize("rule", MAGNITUDE, ids=lambda rule: rule.name)
def test_no_gradients_are_skipped(rule):
    with pytest.raises(Skip, match="No gradient"):
        findings_of(rule, synthetic_log(detached=["dense/kernel", "dense/bias", "head/kernel", "head/bias"]))


def test_optimizer_with_too_few_steps_is_named_beside_a_finding():
    long = deep_log([1e-9] * 4 + [1e-2] * 4)
    short = synthetic_log(variables={"x/kernel": (2, 2)}, optimizer="short", num_steps=3)
    findings = VanishingGradient().check(merged_log(long, short))
    assert next(findings).layers[0] == "layer_3"
    with pytest.raises(Skip, match="optimizer 'short'"):
        next(findings)


def test_gradient_that_vanishes_with_depth():
    log = deep_log([1e-2 * 0.1 ** (7 - i) for i in range(8)])
    (finding,) = findings_of(VanishingGradient(), log)
    assert finding.layers == ("layer_2", "layer_1", "layer_0")
    assert finding.variables == ("layer_2/kernel", "layer_1/kernel", "layer_0/kernel")
    assert finding.value == pytest.approx(1e-9 / 1e-3)
    assert finding.threshold == 1e-3
    assert (finding.first_step, finding.last_step) == (10, 59)
    assert "layer_2, layer_1 and layer_0 is lost on the way back" in finding.message


def test_gradient_that_vanishes_in_every_layer_from_the_start():
    (finding,) = findings_of(VanishingGradient(), deep_log([1e-13] * 8))
    assert len(finding.layers) == 8
    assert finding.threshold == 1e-8


def test_gradient_that_collapses_while_the_loss_is_high():
    log = deep_log([np.where(STEPS < 5, 1e-2, 1e-12)] * 8, loss=np.where(STEPS < 35, 1.0, 5.0))
    assert findings_of(VanishingGradient(), log)


def test_small_loss_explains_small_gradients():
    assert findings_of(VanishingGradient(), deep_log([1e-10] * 8, loss=1e-9)) == ()


def test_steps_with_nan_are_left_out_of_the_judgement():
    log = deep_log([np.where(STEPS < 50, 1e-9, np.nan)] * 3 + [1e-2] * 5)
    (finding,) = findings_of(VanishingGradient(), log)
    assert finding.last_step == 49


def test_gradient_that_grows_out_of_range():
    growing = np.where(STEPS < 40, 1e-2, 1e-2 * 3.0 ** (STEPS - 40.0))
    (finding,) = findings_of(ExplodingGradient(), deep_log([growing * 10, *[growing] * 7]))
    assert finding.layers[0] == "layer_0"
    assert len(finding.layers) == 8
    assert (finding.last_step, finding.threshold) == (59, 1e3)
    assert finding.value == pytest.approx(3.0**19)
    assert 40 < finding.first_step < 50


def test_short_growth_right_before_nan():
    scale = np.where(STEPS < 40, 1e-2, np.where(STEPS == 40, 1e5, np.nan))
    (finding,) = findings_of(ExplodingGradient(), deep_log([scale] * 8))
    assert (finding.first_step, finding.last_step) == (40, 40)


def test_steps_in_which_nothing_is_learned_are_no_measure():
    log = deep_log([np.where(STEPS < 40, 0, 10.0)] * 8, zero_fraction=0)
    assert findings_of(ExplodingGradient(), log) == ()


def test_layer_far_above_the_others():
    (finding,) = findings_of(ExplodingGradient(), deep_log([1e4] + [1e-2] * 7))
    assert finding.layers == ("layer_0",)
    assert "far larger than in other layers" in finding.message
    assert (finding.value, finding.threshold) == (pytest.approx(1e6), 100)


def test_huge_gradient_from_the_start():
    (finding,) = findings_of(ExplodingGradient(), deep_log([1e8] * 8))
    assert finding.threshold == 1e6


def test_zero_in_the_layers_before_a_dead_one():
    dead = {path: np.where(STEPS < 20, 0.0, 1.0) for path in DEEP if path < "layer_3"}
    (finding,) = findings_of(ZeroGradient(), synthetic_log(variables=DEEP, zero_fraction=dead))
    assert finding.layers == ("layer_2", "layer_1", "layer_0")
    assert finding.variables[:2] == ("layer_2/kernel", "layer_2/bias")
    assert (finding.first_step, finding.last_step, finding.value, finding.threshold) == (20, 59, 40, 10)
    assert "6 variables in layer_2, layer_1 and layer_0" in finding.message


@pytest.mark.parametrize("streak", [9, 10])
def test_zero_needs_a_streak_up_to_the_end(streak):
    zeros = np.where(STEPS[::-1] < streak, 1.0, 0.0)
    assert len(findings_of(ZeroGradient(), synthetic_log(zero_fraction=zeros))) == (streak == 10)
    assert findings_of(ZeroGradient(), synthetic_log(zero_fraction=zeros[::-1].copy())) == ()


def test_scale_is_said_beside_a_shift_of_its_size():
    log = synthetic_log(
        variables={"norm/gamma": (3,), "norm/beta": (3,), "head/kernel": (3, 2)}, zero_fraction={"norm/gamma": 1.0}
    )
    (finding,) = findings_of(ZeroGradient(), log)
    assert finding.variables == ("norm/gamma",)
