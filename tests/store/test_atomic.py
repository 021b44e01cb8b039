import pytest

from gradwatch.store import atomic


def test_takes_the_place_of_the_old_file_at_the_end(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with atomic.replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write_half(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_file_is_hidden(tmp_path):
    with atomic.replacing(tmp_path / "file") as temporary:
        assert temporary.name == ".file.tmp"
        temporary.touch()


def write_half(path):
    with atomic.replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
