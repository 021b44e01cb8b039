import pathlib

import nbclient
import nbformat
import pytest

NOTEBOOKS = sorted((pathlib.Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
EXPECTED = ["01_quickstart", "02_output_scaler", "03_log_lambda", "04_numpy_predictions", "05_reading_a_report"]


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def test_all_notebooks_are_here():
    assert [path.stem for path in NOTEBOOKS] == EXPECTED


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_committed_without_outputs(path):
    book = read(path)
    nbformat.validate(book)
    assert [cell.outputs for cell in code_cells(book)] == [[]] * len(code_cells(book))
    assert {cell.execution_count for cell in code_cells(book)} == {None}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_anywhere_and_leaves_nothing_behind(path, tmp_path):
    book = read(path)
    client = nbclient.NotebookClient(
        book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    assert list(tmp_path.iterdir()) == []
    assert "gradwatch failed" not in str(book)  # a failure of gradwatch itself is only a warning
    assert "gradwatch stops" not in str(book)
