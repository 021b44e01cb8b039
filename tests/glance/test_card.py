import numpy as np
import pytest
from pages import Page

from gradwatch import glance, report
from gradwatch.glance.card import NUM_LAYERS
from gradwatch.log import Log
from gradwatch.records import RunInfo
from gradwatch.testing import merged_log, synthetic_log

STEPS = np.arange(60)


def page(log, kind="GradientWatch"):
    found = Page(glance.card(report(log), kind))
    assert found.open == []
    return found


def test_says_what_happened():
    log = synthetic_log(
        variables={"a/kernel": (2, 2), "a/bias": (2,), "b/kernel": (2, 2), "c/kernel": (2, 2), "d/kernel": (2, 2)},
        detached=["a/bias"],
        nan_count={"b/kernel": STEPS == 3},
        zero_fraction={"c/kernel": 1.0},
        info=RunInfo(model="digits"),
        loss=2.5,
    )
    text = page(log).text
    for words in (
        "GradientWatch of digits: step 59, epoch 0, 5 variables in 4 layers",
        "Not healthy: 1 error",
        "Error GW201 NonFiniteGradient, step 3",
        "What to do:",
        "loss: 2.5",
        "no gradient: 1 of 2 variables",
        "NaN or Inf: 1 step",
        "zero: 1 of 1 variable",
        ".diagnosis",
    ):
        assert words in text, words
    assert text.index("no gradient: 1") < text.index("NaN or Inf: 1 step") < text.index("zero: 1 of")


def test_names_are_text():
    log = synthetic_log(variables={"<b>x</b>/kernel": (2, 2)}, detached=["<b>x</b>/kernel"], info=RunInfo(model="<i>"))
    found = page(log)
    assert {"b", "i"}.isdisjoint(found.tags)
    assert "<b>x</b>" in found.text
    assert "of <i>" in found.text


def test_healthy_run_has_no_column_of_problems():
    text = page(synthetic_log()).text
    assert "Healthy: no findings" in text
    assert "over the steps" in text
    assert "problem" not in text


def test_large_model_is_cut_short():
    log = synthetic_log(variables={f"layer_{i}/kernel": (2, 2) for i in range(40)})
    found = page(log)
    assert found.tags.count("tr") == 1 + NUM_LAYERS
    assert f"and {40 - NUM_LAYERS} more" in found.text


def test_two_optimizers_have_lines_of_their_own():
    logs = [synthetic_log(variables={f"{name}/kernel": (2, 2)}, optimizer=name, loss=1) for name in ("d", "g")]
    text = page(merged_log(*logs)).text
    assert "loss of d: 1" in text
    assert "norm of all gradients of g: 0.02" in text


@pytest.mark.parametrize("make", [Log, lambda: synthetic_log(num_steps=0), lambda: synthetic_log(grad_norm=None)])
def test_what_is_missing_is_left_out(make):
    text = page(make()).text
    assert "norm of all gradients" not in text
    if make is Log:
        assert "GradientWatch: nothing is recorded yet" in text
        assert "Not judged" in text


@pytest.mark.parametrize(
    ("loss", "shape"), [(np.linspace(1, -3, 60), "straight"), (10.0**-STEPS, "straight"), (np.ones(60), "flat")]
)
def test_line_of_a_loss(loss, shape):
    picture = page(synthetic_log(loss=loss)).source.partition('class="gw-norm" d=')[2].partition('"/>')[0]
    tops = [float(corner.split()[1]) for corner in picture.strip('"M').split("L")]
    assert len(tops) == 60
    bends = np.abs(np.diff(tops, n=2))
    assert bends.max() < 0.2
    assert (np.ptp(tops) > 10) == (shape == "straight")
