import io

import fsspec
import numpy as np
import pandas as pd
import pytest
from samples import INFO, VARIABLES, assert_same, make_segment

import gradwatch
from gradwatch import store
from gradwatch.errors import LogFormatError
from gradwatch.sinks import ParquetSink
from gradwatch.store import folders, names


@pytest.fixture(params=["memory", "local"])
def url(request, tmp_path):
    if request.param == "local":
        yield f"local://{tmp_path}/run"
        return
    yield f"memory://{tmp_path.name}/run"
    fsspec.filesystem("memory").store.clear()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("s3://bucket/run", True),
        ("gs://bucket/log.parquet", True),
        ("simplecache::s3://bucket/run", True),
        ("file:///runs/a", False),
        ("runs/a", False),
        ("C:/runs/a", False),
        ("run:1/a", False),
    ],
)
def test_addresses(path, expected):
    assert store.is_url(path) == expected


def test_file_addresses_are_local(tmp_path):
    store.write(f"file://{tmp_path}/run", VARIABLES, [make_segment()], INFO)
    assert_same(store.read(tmp_path / "run")[1], [make_segment()])
    assert_same(store.read(f"file://{tmp_path}/run")[1], [make_segment()])


@pytest.mark.parametrize("name", ["", "/log.parquet"])
def test_a_log_at_an_address(url, name):
    store.folder(url).make()
    for num_steps in (5, 3):
        store.write(url + name, VARIABLES, [make_segment(num_steps)], INFO)
        variables, segments, info = store.read(url + name)
        assert (variables, info) == (VARIABLES, INFO)
        assert_same(segments, [make_segment(num_steps)])


def test_a_run_at_an_address(url):
    sink = ParquetSink(url)
    for first in (0, 4):
        sink.write([make_segment(first=first)], VARIABLES, INFO)
        sink.flush()
        assert store.read(url)[1][0].num_steps == first + 4
    sink.add_bad_step({"step": 3}, [store.StoredArray("variable", "kernel", np.ones((2, 3)))])
    sink.write_findings("{}")
    sink.close()
    folder = store.folder(url)
    assert sorted(folder.names()) == [
        "_bad_step-001-000000003.tensors",
        "_findings.json",
        "_manifest.json",
        "part-001-000000-000001.parquet",
    ]
    about, (array,) = store.read_bad_step(url, 3)
    assert about == {"step": 3}
    np.testing.assert_array_equal(array.values, np.ones((2, 3)))
    table = pd.read_parquet(io.BytesIO(folder.read("part-001-000000-000001.parquet")))
    assert len(table) == 24
    again = ParquetSink(url)
    assert again.earlier() == store.Earlier(VARIABLES, INFO, 8)
    again.go_on()
    again.write([make_segment(first=8)], VARIABLES, INFO)
    again.close()
    assert gradwatch.load(url).num_steps == 12


def test_a_failed_write_leaves_what_was_there(url):
    store.write(url, VARIABLES, [make_segment()], INFO)
    folder = store.folder(url)

    def write_half():
        with folder.replacing(names.MANIFEST) as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert_same(store.read(url)[1], [make_segment()])


def test_errors_name_the_address(url):
    with pytest.raises(FileNotFoundError, match=r"There is no log\. Received: '.*run'"):
        store.read(url)
    store.folder(url).make()
    with store.folder(url).replacing("thesis.tex") as file:
        file.write(b"precious")
    with pytest.raises(FileExistsError, match=r"run' with thesis\.tex"):
        ParquetSink(url)
    with pytest.raises(LogFormatError, match="_manifest"):
        store.read(url)


@pytest.mark.parametrize("path", ["nosuch://bucket/run", "nosuch://bucket/log.parquet"])
def test_an_unknown_kind_of_address(path):
    with pytest.raises(OSError, match=r"cannot be opened\. Received: 'nosuch://.*pip install fsspec"):
        store.read(path)


def test_without_fsspec(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(OSError, match="pip install fsspec, and s3fs"):
        folders.folder("s3://bucket/run")
