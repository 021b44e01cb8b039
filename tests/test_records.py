import numpy as np
import pytest

from gradwatch import records
from gradwatch.testing import synthetic_log

VARIABLES = {"a": (2,), "b": (3,)}


def segment(**columns):
    return synthetic_log(num_steps=3, variables=VARIABLES, **columns).segments[0]


def test_join_keeps_order_and_keys_apart():
    first, other = segment(), segment(optimizer="other")
    joined = records.join([first, other, first])
    assert [part.optimizer for part in joined] == [first.optimizer, "other"]
    assert [part.num_steps for part in joined] == [6, 3]
    assert records.join([]) == ()


def test_take_a_slice_makes_no_copy():
    whole = segment()
    part = whole.take(slice(1, None))
    assert part.num_steps == 2
    assert np.shares_memory(part.values["grad_norm"], whole.values["grad_norm"])
    assert part.num_records == 4


def test_a_copy_has_arrays_of_its_own():
    whole = segment()
    copy = whole.copy()
    assert copy.num_bytes == whole.num_bytes == sum(a.nbytes for a in (*whole.steps.values(), *whole.values.values()))
    for mine, other in ((copy.steps, whole.steps), (copy.values, whole.values)):
        for name, array in mine.items():
            assert not np.shares_memory(array, other[name])
            np.testing.assert_array_equal(array, other[name])


@pytest.mark.parametrize(
    ("columns", "finite"),
    [
        ({}, True),
        ({"nan_count": 1}, False),
        ({"inf_count": 1}, False),
        ({"grad_norm": np.inf}, False),
        ({"nonfinite_loss": True}, False),
    ],
    ids=["good", "NaN", "Inf", "norm", "loss"],
)
def test_is_finite(columns, finite):
    assert segment(**columns).is_finite is finite


def test_renumber_sorts_the_columns():
    whole = segment(grad_norm=np.array([[1.0, 2.0]] * 3))
    turned = records.renumber(whole, {0: 5, 1: 2})
    assert turned.variables == (2, 5)
    assert turned.values["grad_norm"][0].tolist() == [2.0, 1.0]
    assert records.renumber(whole, {0: 0, 1: 1}).values is whole.values


def test_repoint_follows_the_paths():
    whole = segment(grad_norm=np.array([[1.0, 2.0]] * 3))
    a, b = synthetic_log(num_steps=1, variables=VARIABLES).variable_infos
    (new,) = synthetic_log(num_steps=1, variables={"new": (1,)}).variable_infos
    (moved,) = records.repoint([whole], (a, b), (b, new, a))
    assert moved.variables == (0, 2)
    np.testing.assert_array_equal(moved.values["grad_norm"], [[2.0, 1.0]] * 3)
    assert records.repoint([], (a,), (b,)) == []
    with pytest.raises(KeyError):
        records.repoint([whole], (a, b), (b, new))
