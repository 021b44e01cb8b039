import pytest

from matrix import table
from matrix.rows import REFUSED, ROWS


def test_page_in_the_docs_is_up_to_date():
    assert table.PATH.read_text() == table.text(), "write it anew: make matrix"


def test_names_of_rows_are_unique():
    names = [str(row) for row in (*ROWS, *REFUSED)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("row", REFUSED, ids=str)
def test_refused_at_the_start(row):
    with pytest.raises(row.error, match=row.match):
        row.program(None)
