"""Damaged copies of a run: a clear error that names the file, or the data as they were; never other data."""

import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import INFO, VARIABLES, assert_same, make_segment

from gradwatch import store
from gradwatch.errors import LogFormatError
from gradwatch.records import RunInfo, VariableInfo

SEGMENTS = [make_segment(40, (0, 1, 2)), make_segment(24, (3, 5), (4,), "sgd", "float64", first=40)]
BAD_STEP = [store.StoredArray("variable", "kernel", np.arange(600.0).reshape(20, 30))]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run directory with a part made of several, a small one, and a bad step."""
    path = tmp_path_factory.mktemp("runs") / "run"
    with store.RunDirectory(path) as directory:
        directory.update(VARIABLES, INFO)
        for start in (0, 20):
            directory.append([SEGMENTS[0].take(slice(start, start + 20))])
        directory.compact()
        directory.append([SEGMENTS[1]])
        directory.add_bad_step({"step": 7}, BAD_STEP)
    return path


def damaged(content, data):
    """The content of a file with one kind of damage."""
    first = data.draw(st.integers(0, len(content) - 1), "first")
    last = data.draw(st.integers(first, min(len(content), first + data.draw(st.sampled_from([1, 8, 500, 10**6])))))
    kind = data.draw(st.sampled_from(["end lost", "range lost", "flipped", "zeroed", "twice", "random"]))
    middle = content[first:last]
    if kind == "end lost":
        return content[:first]
    if kind == "range lost":
        return content[:first] + content[last:]
    if kind == "flipped":
        mask = data.draw(st.integers(1, 255))
        return content[:first] + bytes([content[first] ^ mask]) + content[first + 1 :]
    if kind == "zeroed":
        return content[:first] + bytes(len(middle)) + content[last:]
    if kind == "twice":
        return content[:last] + content[first:]
    return content[:first] + data.draw(st.binary(min_size=len(middle), max_size=len(middle))) + content[last:]


def names_in(path):
    return sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))


@given(data=st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_damage_gives_wrong_data(run, tmp_path_factory, data):
    copy = tmp_path_factory.mktemp("copies") / "run"
    shutil.copytree(run, copy)
    name = data.draw(st.sampled_from(names_in(run)), "file")
    (copy / name).write_bytes(damaged((run / name).read_bytes(), data))
    log, error = result_or_error(store.read, copy)
    if error is None:
        variables, segments, info = log
        assert (variables, info) == (VARIABLES, INFO)
        assert_same(segments, SEGMENTS)
    else:
        assert name in str(error)
    bad_step, error = result_or_error(store.read_bad_step, copy, 7)
    if error is None:
        about, (array,) = bad_step
        assert about == {"step": 7}
        np.testing.assert_array_equal(array.values, BAD_STEP[0].values)
    else:
        assert name in str(error)
    shutil.rmtree(copy)


def result_or_error(read, *args):
    try:
        return read(*args), None
    except LogFormatError as error:
        return None, error


def test_no_length_of_a_file_gives_wrong_data(run, tmp_path):
    """All lengths at the ends, where headers and footers are, and some of those between."""
    for name in names_in(run):
        copy = tmp_path / "run"
        shutil.copytree(run, copy)
        content = (run / name).read_bytes()
        for length in {*range(40), *range(0, len(content), 211), *range(len(content) - 40, len(content))}:
            (copy / name).write_bytes(content[:length])
            read, args = (store.read_bad_step, (copy, 7)) if name.startswith("_bad") else (store.read, (copy,))
            with pytest.raises(LogFormatError, match=name):
                read(*args)
        shutil.rmtree(copy)


def test_parts_of_another_model_are_not_taken_for_its_own(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    stranger = VariableInfo("stranger/kernel", "stranger", (1,), "float32")
    store.write(tmp_path / "other.parquet", [stranger], [make_segment(9, (0,))], RunInfo())
    (tmp_path / "other.parquet").rename(copy / "part-001-000003.parquet")
    with pytest.raises(LogFormatError, match="part-001-000003"):
        store.read(copy)
