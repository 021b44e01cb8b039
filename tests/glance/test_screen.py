import sys
import types

import pytest

from gradwatch.glance.screen import NotebookScreen


class Handle:
    def __init__(self, shown):
        self.shown = shown

    def update(self, bundle, raw):
        assert raw
        self.shown[-1] = bundle["text/html"]


class Notebook:
    """Stands for IPython: one list of displays for each cell."""

    def __init__(self):
        self.cells = {}
        self.shell = types.SimpleNamespace(kernel=object(), execution_count=1)

    def display(self, bundle, *, raw, display_id):
        assert (raw, display_id) == (True, True)
        shown = self.cells.setdefault(self.shell.execution_count, [])
        shown.append(bundle["text/html"])
        return Handle(shown)


@pytest.fixture
def notebook(monkeypatch):
    book = Notebook()
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: book.shell
    ipython.display = types.ModuleType("IPython.display")
    ipython.display.display = book.display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    return book


def test_one_display_is_changed_in_place(notebook):
    screen = NotebookScreen()
    for number in range(5):
        screen.show(str(number), "text")
    assert notebook.cells == {1: ["4"]}


def test_anew_is_in_the_cell_that_runs(notebook):
    screen = NotebookScreen()
    screen.show("a", "")
    assert screen.cell == 1
    notebook.shell.execution_count = 2
    assert screen.cell == 2
    screen.show("b", "")
    screen.show("c", "", anew=True)
    screen.show("d", "")
    assert notebook.cells == {1: ["b"], 2: ["d"]}


def test_is_there_in_a_notebook_only(notebook, monkeypatch):
    screen = NotebookScreen()
    assert screen.is_there()
    del notebook.shell.kernel  # IPython in a terminal
    assert not screen.is_there()
    notebook.shell = None  # IPython is loaded, but does not run
    assert not screen.is_there()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not screen.is_there()
    assert "IPython" not in sys.modules
