import pathlib

import nbclient
import nbformat
import pytest

NOTEBOOKS = sorted((pathlib.Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
EXPECTED = [
    "01_quickstart",
    "02_output_scaler",
    "03_log_lambda",
    "04_numpy_predictions",
    "05_reading_a_report",
    "06_live_view",
]


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def executed(book, folder):
    nbclient.NotebookClient(
        book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    return book


def displays(cell):
    """The outputs of a cell that are no text on a stream."""
    return [output for output in cell.outputs if output.output_type != "stream"]


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
    book = executed(read(path), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert "gradwatch failed" not in str(book)  # a failure of gradwatch itself is only a warning
    assert "gradwatch stops" not in str(book)
    for cell in code_cells(book):
        if "LiveView(" in cell.source:  # one display, and not one for each change
            (display,) = displays(cell)
            assert display.output_type == "display_data"
            assert ", step 455: " in display.data["text/plain"]


@pytest.mark.slow
def test_live_view_is_one_display_and_a_new_one_where_a_cell_trains_again(tmp_path):
    setup = """
import gradwatch
from gradwatch.testing import synthetic_log
now = [0]
view = gradwatch.LiveView(clock=lambda: now[0])
def train(first, times):
    for number in range(first, first + times):
        log = synthetic_log(num_steps=1, step=number)
        now[0] += 10
        view.write(log.segments, log.variable_infos, log.info)
"""
    cells = [setup, "train(0, 5); print('done')", "train(5, 1)", "train(6, 5)"]
    book = executed(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells]), tmp_path)
    texts = [[output.data["text/plain"].partition(":")[0] for output in displays(cell)] for cell in book.cells]
    assert texts == [[], ["Training, step 6"], [], ["Training, step 10"]]
    assert all("gradwatch-card" in output.data["text/html"] for cell in book.cells for output in displays(cell))
