import numpy as np
import pytest

from gradwatch.sinks.thinning import Thinning
from gradwatch.testing import synthetic_log


def segment(num_steps, **values):
    return synthetic_log(num_steps=num_steps, variables={"dense/kernel": (2,)}, **values).segments[0]


def steps_of(thinned):
    return thinned.steps["step"].tolist()


def test_points_lie_further_apart_the_longer_the_run():
    steps = steps_of(Thinning(4).thin(segment(64)))
    assert steps == [*range(8), *range(8, 16, 2), *range(16, 32, 4), *range(32, 64, 8)]


def test_a_million_steps_are_a_few_thousand_points():
    thinning = Thinning(250)
    assert len(thinning._grown(np.arange(1_000_000)).nonzero()[0]) == pytest.approx(250 * (np.log2(4000) + 1), rel=0.01)


@pytest.mark.parametrize("every_steps", [None, 3])
def test_parts_are_thinned_like_the_whole(every_steps):
    whole = segment(100)
    thinning = Thinning(4, every_steps)
    parts = [thinning.thin(whole.take(slice(first, first + 7))) for first in range(0, 100, 7)]
    assert [step for part in parts for step in steps_of(part)] == steps_of(Thinning(4, every_steps).thin(whole))


def test_every_so_many():
    assert steps_of(Thinning(4, 30).thin(segment(100))) == [0, 30, 60, 90]


def test_calls_of_different_optimizers_are_counted_apart():
    steps = [np.arange(place, 64, 2) for place in (0, 1)]
    segments = [segment(32, step=each, optimizer=name) for each, name in zip(steps, "dg", strict=True)]
    thinning = Thinning(4)
    kept = [steps_of(thinning.thin(each)) for each in segments]
    assert len(kept[0]) == len(kept[1]) == 16
    assert {step % 2 for step in kept[1]} == {1}


AT_777 = np.arange(1000) == 777


@pytest.mark.parametrize(
    "values",
    [
        {"nan_count": AT_777},
        {"inf_count": AT_777},
        {"grad_norm": np.where(AT_777, np.nan, 1.0), "nan_count": None, "inf_count": None},
        {"loss": np.where(AT_777, np.inf, 1.0)},
        {"loss": np.where(AT_777, np.nan, 1.0), "grad_norm": None, "nan_count": None, "inf_count": None},
    ],
)
def test_the_first_bad_step_is_kept_wherever_it_is(values):
    assert 777 not in steps_of(Thinning(4).thin(segment(1000)))
    assert 777 in steps_of(Thinning(4).thin(segment(1000, **values)))
    assert 777 in steps_of(Thinning(4, 10).thin(segment(1000, **values)))


def test_a_run_of_nan_does_not_have_a_point_for_each():
    bad = np.arange(10_000) >= 5000
    steps = steps_of(Thinning(4).thin(segment(10_000, nan_count=bad.astype(int))))
    assert set(range(5000, 5008)) <= set(steps)
    assert len(steps) < 120


def test_nothing_of_nothing():
    assert Thinning(4).thin(segment(0)).num_steps == 0
