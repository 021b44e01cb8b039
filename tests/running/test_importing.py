import importlib
import sys

import pytest

from gradwatch.running.importing import when_imported


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that nobody has imported yet: its name, and its file."""
    file = tmp_path / "imported_late.py"
    file.write_text("value = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield file.stem, file
    sys.modules.pop(file.stem, None)


def test_is_called_with_the_module_before_the_importer_goes_on(module):
    seen = []
    with when_imported(module[0], lambda loaded: (seen.append(loaded.value), setattr(loaded, "value", 2))):
        assert seen == []
        assert importlib.import_module(module[0]).value == 2
        importlib.import_module(module[0])
    assert seen == [1]


def test_the_module_looks_as_ever(module):
    plain = importlib.import_module(module[0])
    expected = type(plain.__loader__), plain.__file__, type(plain.__spec__.loader)
    del sys.modules[module[0]]
    with when_imported(module[0], lambda loaded: None):
        loaded = importlib.import_module(module[0])
    assert (type(loaded.__loader__), loaded.__file__, type(loaded.__spec__.loader)) == expected


def test_is_called_at_once_if_it_is_there_already(module):
    importlib.import_module(module[0])
    seen = []
    with when_imported(module[0], seen.append):
        assert seen == [sys.modules[module[0]]]


def test_waits_for_the_import_that_succeeds(module):
    name, file = module
    file.write_text("raise ImportError('not yet')\n")
    seen = []
    with when_imported(name, seen.append):
        with pytest.raises(ImportError, match="not yet"):
            importlib.import_module(name)
        assert seen == []
        file.write_text("value = 'longer than before'\n")
        importlib.invalidate_caches()
        importlib.import_module(name)
        assert len(seen) == 1


def test_a_missing_module_is_missing(module):
    seen = []
    with when_imported("no_such_module_at_all", seen.append), pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_module_at_all")
    assert seen == []


def test_afterwards_nothing_is_left(module):
    before, seen = list(sys.meta_path), []
    with when_imported(module[0], seen.append):
        assert len(sys.meta_path) == len(before) + 1
    assert sys.meta_path == before
    importlib.import_module(module[0])
    assert seen == []
