import dataclasses
import math

import numpy as np
import pytest

from gradwatch.sinks import charts
from gradwatch.sinks.charts import Charts
from gradwatch.testing import merged_log, synthetic_log

MANY = {f"dense_{number}/{name}": (4,) for number in range(150) for name in ("kernel", "bias")}


def make(**options):
    return Charts(**{"variables": "worst", "layers": "worst", "every_steps": None, "points": 1000} | options)


def given(log, *, by=50, **options):
    """All points of a log that comes in parts, as charts: for each name the value by step."""
    drawn = make(**options)
    points = []
    for first in range(0, log.num_steps, by):
        parts = [segment.take(slice(first, first + by)) for segment in log.segments]
        points += drawn.take([part for part in parts if part.num_steps], log.variable_infos)
    return as_charts(points + drawn.rest())


def as_charts(points):
    found = {}
    for point in points:
        for name, value in point.values.items():
            assert point.step not in found.setdefault(name, {}), f"two points of {name} at {point.step}"
            found[name][point.step] = value
    return found


def names(found, group):
    return [name.removeprefix(f"gradwatch_{group}/").removesuffix("/grad_norm") for name in found if group in name]


def test_charts_of_a_small_run():
    log = synthetic_log(num_steps=3, grad_norm=np.arange(12.0).reshape(3, 4), loss=[3, 2, 1], learning_rate=0.5)
    found = given(log)
    assert list(found) == [
        "gradwatch/loss",
        "gradwatch/learning_rate",
        "gradwatch/global_norm",
        "gradwatch_layers/dense/grad_norm",
        "gradwatch_layers/head/grad_norm",
        "gradwatch_variables/dense/kernel/grad_norm",
        "gradwatch_variables/dense/bias/grad_norm",
        "gradwatch_variables/head/kernel/grad_norm",
        "gradwatch_variables/head/bias/grad_norm",
    ]
    assert found["gradwatch/loss"] == {0: 3, 1: 2, 2: 1}
    assert found["gradwatch/learning_rate"] == dict.fromkeys(range(3), 0.5)
    assert found["gradwatch/global_norm"][1] == pytest.approx(math.sqrt(4**2 + 5**2 + 6**2 + 7**2))
    assert found["gradwatch_layers/head/grad_norm"][2] == pytest.approx(math.hypot(10, 11))
    assert found["gradwatch_variables/head/kernel/grad_norm"] == {0: 2, 1: 6, 2: 10}


def test_what_is_missing_has_no_point_and_what_is_bad_has_one():
    log = synthetic_log(
        num_steps=4, loss=[1, np.nan, 1, 1], nan_count={"head/bias": [0, 2, 0, 0]}, loss_scale=[np.nan, np.nan, 8, 8]
    )
    unseen = log.segments[0].take(slice(0, 4))
    unseen.steps["loss"] = np.array([1, np.nan, np.nan, 1])
    found = as_charts(make().take([unseen], log.variable_infos))
    assert list(found["gradwatch/loss"]) == [0, 1, 3]
    assert math.isnan(found["gradwatch/loss"][1])
    assert found["gradwatch/loss_scale"] == {2: 8, 3: 8}
    assert found["gradwatch/nan_count"] == {1: 2}
    assert "gradwatch/inf_count" not in found
    assert math.isnan(found["gradwatch_layers/head/grad_norm"][1])
    assert not math.isnan(found["gradwatch_layers/dense/grad_norm"][1])


def test_without_norms_there_is_the_run():
    log = synthetic_log(num_steps=2)
    bare = dataclasses.replace(log.segments[0], values={})
    assert list(as_charts(make().take([bare], log.variable_infos))) == ["gradwatch/loss", "gradwatch/learning_rate"]


def test_300_variables_have_ten_charts_without_holes():
    norms = {"dense_3/kernel": 50.0, "dense_70/bias": 1e-9, "dense_140/kernel": 7.0}
    log = synthetic_log(
        num_steps=120, variables=MANY, grad_norm=norms, nan_count={"dense_99/bias": np.arange(120) == 7}
    )
    found = given(log)
    variables = names(found, "variables")
    assert len(variables) == charts.WORST_VARIABLES == 10
    assert {"dense_3/kernel", "dense_70/bias", "dense_140/kernel", "dense_99/bias"} <= set(variables)
    layers = names(found, "layers")
    assert len(layers) == charts.WORST_LAYERS == 50
    assert {"dense_3", "dense_70", "dense_140", "dense_99"} <= set(layers)
    assert len(found) <= 66
    for name, chart in found.items():
        if name != "gradwatch/nan_count":
            assert sorted(chart) == list(range(120)), name


def test_charts_begin_while_training_goes_on():
    log = synthetic_log(num_steps=60, variables=MANY, grad_norm={"dense_3/kernel": 50.0})
    drawn = make()
    assert names(as_charts(drawn.take([log.segments[0].take(slice(0, 1))], log.variable_infos)), "variables") == []
    found = as_charts(drawn.take([log.segments[0].take(slice(1, 60))], log.variable_infos))
    assert len(names(found, "variables")) == 5
    assert list(found["gradwatch_variables/dense_3/kernel/grad_norm"]) == list(range(60))


def test_later_trouble_finds_a_place():
    norm = np.where(np.arange(800) < 150, 0.02, 1e4)
    log = synthetic_log(num_steps=800, variables=MANY, grad_norm={"dense_3/kernel": 50.0, "dense_120/kernel": norm})
    drawn = make()
    begun = {}
    for first in range(0, 800, 50):
        for name in names(
            as_charts(drawn.take([log.segments[0].take(slice(first, first + 50))], log.variable_infos)), "variables"
        ):
            begun.setdefault(name, first)
    assert begun["dense_3/kernel"] == 0
    assert 150 < begun["dense_120/kernel"] < 800
    assert len(begun) <= 10


def test_a_detached_variable_takes_no_place():
    detached = [path for path in MANY if path < "dense_2"]
    log = synthetic_log(num_steps=60, variables=MANY, detached=detached)
    found = names(given(log), "variables")
    assert len(found) == 10
    assert not set(found) & set(detached)


@pytest.mark.parametrize(
    ("options", "num_variables", "num_layers"),
    [
        ({"variables": "all"}, 300, 50),
        ({"variables": "none", "layers": "none"}, 0, 0),
        ({"variables": ("dense_7/*",), "layers": "all"}, 2, 150),
    ],
)
def test_what_is_asked_for(options, num_variables, num_layers):
    found = given(synthetic_log(num_steps=2, variables=MANY), **options)
    assert len(names(found, "variables")) == num_variables
    assert len(names(found, "layers")) == num_layers


def test_a_long_wait_for_trouble_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(charts, "HISTORY_BYTES", 100_000)
    log = synthetic_log(num_steps=40, variables=MANY)
    drawn = make()
    found = as_charts(drawn.take(log.segments, log.variable_infos))
    assert len(names(found, "variables")) == 10
    assert drawn._history == []


def test_variables_that_come_in_between_do_not_mix_up_the_charts():
    late = synthetic_log(num_steps=120, variables=MANY, grad_norm={"dense_3/kernel": 50.0, "dense_9/kernel": 60.0})
    segment, infos = late.segments[0], late.variable_infos
    drawn = make()
    early = dataclasses.replace(
        segment.take(slice(0, 40)),
        variables=tuple(range(296)),
        values={name: values[:40, 4:] for name, values in segment.values.items()},
    )
    points = drawn.take([early], infos[4:])
    points += drawn.take([segment.take(slice(40, 120))], infos)
    found = as_charts(points + drawn.rest())
    assert found["gradwatch_variables/dense_3/kernel/grad_norm"] == dict.fromkeys(range(120), 50.0)
    assert found["gradwatch_variables/dense_9/kernel/grad_norm"] == dict.fromkeys(range(120), 60.0)


def test_several_optimizers_have_their_names():
    parts = [
        synthetic_log(
            num_steps=4, variables={f"{name}/kernel": (2,)}, optimizer=name, step=range(first, 8, 2), loss=first
        )
        for first, name in enumerate(("critic", "actor"))
    ]
    log = merged_log(*parts)
    found = given(log)
    assert found["gradwatch/loss/critic"] == dict.fromkeys(range(0, 8, 2), 0)
    assert found["gradwatch/loss/actor"] == dict.fromkeys(range(1, 8, 2), 1)
    assert "gradwatch/loss" not in found
    drawn = make()
    alone = as_charts(drawn.take(log.segments[:1], log.variable_infos))
    assert "gradwatch/loss" in alone
    assert "gradwatch/loss/actor" in as_charts(drawn.take(log.segments[1:], log.variable_infos))


def test_points_are_thinned():
    found = given(synthetic_log(num_steps=100), every_steps=40)
    assert list(found["gradwatch/loss"]) == [0, 40, 80]


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"variables": "ten"}, ValueError, "variables='ten'"),
        ({"layers": 3}, TypeError, "layers=3"),
        ({"every_steps": 0}, ValueError, "every_steps=0"),
        ({"every_steps": True}, TypeError, "every_steps=True"),
        ({"every_steps": 1.5}, TypeError, r"every_steps=1\.5"),
    ],
)
def test_bad_options(options, error, match):
    with pytest.raises(error, match=match):
        make(**options)
