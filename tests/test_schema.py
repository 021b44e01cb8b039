import hypothesis
import pytest
from hypothesis import strategies as st

from gradwatch import schema


def test_every_column_says_what_it_is():
    for column in (*schema.STEP_COLUMNS, *schema.STATISTICS):
        assert column.name
        assert column.dtype
        assert column.unit
        assert column.meaning


@hypothesis.given(st.lists(st.sampled_from(schema.STATISTIC_NAMES), min_size=1))
def test_names_come_once_and_in_order(names):
    found = schema.statistic_names(names)
    assert set(found) == set(names)
    assert list(found) == sorted(found, key=schema.STATISTIC_NAMES.index)


@pytest.mark.parametrize("bad", ["all", (), ["norm"], 3, None, "grad_norm"])
def test_bad_names(bad):
    with pytest.raises(ValueError, match="Expected 'default'"):
        schema.statistic_names(bad)
