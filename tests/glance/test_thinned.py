import numpy as np
import pytest

from gradwatch.glance.thinned import MAX_POINTS, Thinned


def feed(table, numbers, chunk, name="a", first=0):
    for start in range(0, len(numbers), chunk):
        part = np.asarray(numbers[start : start + chunk], float)
        table.add(np.arange(start, start + len(part)) + first, [name], part[:, None])


def test_a_short_run_is_kept_as_it_is():
    table = Thinned(np.fmax, np.nan)
    feed(table, [3.0, 1.0, 2.0], chunk=2)
    np.testing.assert_array_equal(table.column("a")[:3], [3, 1, 2])
    assert np.isnan(table.column("a")[3:]).all()


@pytest.mark.parametrize("chunk", [1, 7, 50, 100_000])
@pytest.mark.parametrize(("combine", "empty"), [(np.fmax, np.nan), (np.add, 0.0)])
def test_a_point_is_what_its_steps_give_however_they_come(chunk, combine, empty):
    numbers = np.random.default_rng(0).normal(size=1000)
    table = Thinned(combine, empty)
    feed(table, numbers, chunk, first=17)
    stride = 16  # 1000 steps in at most 120 points, a power of two
    expected = [combine.reduce(numbers[start : start + stride]) for start in range(0, 1000, stride)]
    np.testing.assert_allclose(table.column("a")[: len(expected)], expected)
    assert len(table.column("a")) == MAX_POINTS


def test_columns_may_come_later():
    table = Thinned(np.fmax, np.nan)
    feed(table, [1.0, 2.0], chunk=2)
    table.add(np.array([2, 3]), ["b", "a"], np.array([[5.0, 3.0], [6.0, 4.0]]))
    np.testing.assert_array_equal(table.column("a")[:4], [1, 2, 3, 4])
    np.testing.assert_array_equal(table.column("b")[:4], [np.nan, np.nan, 5, 6])
    assert np.isnan(table.column("c")).all()


def test_steps_with_gaps_and_a_number_that_is_missing():
    table = Thinned(np.fmax, np.nan)
    table.add(np.array([0, 10, 20]), ["a"], np.array([[1.0], [np.nan], [3.0]]))
    np.testing.assert_array_equal(table.column("a")[[0, 10, 20]], [1, np.nan, 3])
    table.add(np.array([10_000_000]), ["a"], np.array([[9.0]]))
    assert table.column("a")[0] == 3
    assert np.nanmax(table.column("a")) == 9


def test_nothing_and_steps_from_before_the_first_cost_nothing():
    table = Thinned(np.add, 0.0)
    table.add(np.zeros(0, int), ["a"], np.zeros((0, 1)))
    assert not table.column("a").any()
    feed(table, [1.0], chunk=1, first=5)
    feed(table, [2.0], chunk=1, first=3)
    assert table.column("a")[0] == 3
