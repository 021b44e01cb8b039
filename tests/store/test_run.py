import dataclasses
import json
import pathlib

import numpy as np
import pandas as pd
import pytest
from samples import INFO, VARIABLES, assert_same, make_segment, raise_disk_full

from gradwatch import records, store
from gradwatch.causes import Cause
from gradwatch.errors import LogFormatError
from gradwatch.records import RunInfo
from gradwatch.store import part

MANIFEST = "_manifest.json"


def test_is_an_empty_log_at_first(tmp_path):
    store.RunDirectory(tmp_path / "deep" / "run")
    assert store.read(tmp_path / "deep" / "run") == ((), (), RunInfo())


def test_can_be_read_while_open(tmp_path):
    run = store.RunDirectory(tmp_path)
    run.update(VARIABLES, INFO)
    run.append([make_segment()])
    run.append([])
    run.append([make_segment(0)])
    run.append([make_segment(first=4)])
    variables, (segment,), info = store.read(tmp_path)
    assert (variables, info) == (VARIABLES, INFO)
    assert list(segment.steps["step"]) == list(range(8))
    assert len(list(tmp_path.glob("part-*"))) == 2


def test_variables_may_come_later_and_in_between(tmp_path):
    run = store.RunDirectory(tmp_path)
    run.update(VARIABLES[2:4], INFO)
    run.append([make_segment(variables=(0,), detached=(1,))])
    run.update(VARIABLES, INFO)
    run.append([make_segment(variables=(2,), detached=(3,), first=4)])
    run.append([make_segment(variables=(0, 1), first=8)])
    variables, segments, _ = store.read(tmp_path)
    assert variables == VARIABLES
    assert [(segment.key, segment.num_steps) for segment in segments] == [
        (("adam", (2,), (3,)), 8),
        (("adam", (0, 1), ()), 4),
    ]
    assert pd.read_parquet(tmp_path)["segment"].unique().tolist() == [0, 1]


def test_what_is_known_of_a_variable_may_change(tmp_path):
    run = store.RunDirectory(tmp_path)
    run.update(VARIABLES, INFO)
    run.append([make_segment()])
    run.update([dataclasses.replace(variable, cuts=(Cause("stopped"),)) for variable in VARIABLES], INFO)
    variables, segments, _ = store.read(tmp_path)
    assert variables[0].cuts == (Cause("stopped"),)
    assert_same(segments, [make_segment()])


def test_a_variable_may_not_go(tmp_path):
    run = store.RunDirectory(tmp_path)
    run.update(VARIABLES, INFO)
    with pytest.raises(ValueError, match="dense_2/kernel"):
        run.update(VARIABLES[:3], INFO)


def test_variables_must_be_known(tmp_path):
    with pytest.raises(ValueError, match="Make the variables known first"):
        store.RunDirectory(tmp_path).append([make_segment()])


def test_a_new_run_replaces_the_old_one(tmp_path):
    for num_steps in (5, 2):
        with store.RunDirectory(tmp_path) as run:
            run.update(VARIABLES, INFO)
            run.append([make_segment(num_steps)])
    assert_same(store.read(tmp_path)[1], [make_segment(2)])
    assert len(list(tmp_path.glob("*.parquet"))) == 1
    store.RunDirectory(tmp_path)
    assert store.read(tmp_path) == ((), (), RunInfo())


@pytest.mark.parametrize("name", ["file", "file/run"])
def test_says_at_once_that_it_cannot_be_written(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"Cannot write the log\. Received: .* Give"):
        store.RunDirectory(tmp_path / name)


def test_refuses_a_directory_of_something_else(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match="other than a gradwatch run"):
        store.RunDirectory(tmp_path)


def test_a_crash_between_parts_loses_no_part(tmp_path, monkeypatch):
    run = store.RunDirectory(tmp_path)
    run.update(VARIABLES, INFO)
    run.append([make_segment()])
    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "replace", raise_disk_full)
        with pytest.raises(OSError, match="No space left"):
            run.append([make_segment(first=4)])
    (tmp_path / ".part-001-000001.parquet.tmp").write_bytes(b"half a part")  # as SIGKILL leaves it
    assert_same(store.read(tmp_path)[1], [make_segment()])
    assert len(pd.read_parquet(tmp_path)) == 12
    run.append([make_segment(first=4)])
    assert store.read(tmp_path)[1][0].num_steps == 8


def test_parts_of_an_older_run_are_not_read(tmp_path):
    run = store.RunDirectory(tmp_path)
    part.write(store.folder(tmp_path), "part-000-000000.parquet", VARIABLES, [make_segment()], INFO)
    assert store.read(tmp_path) == ((), (), RunInfo())
    (tmp_path / ".part-001-000000.parquet.tmp").touch()
    run.close()
    store.RunDirectory(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == [MANIFEST]


def test_is_closed_once(tmp_path):
    run = store.RunDirectory(tmp_path)
    run.close()
    run.close()
    with pytest.raises(ValueError, match="closed"):
        run.append([])
    with pytest.raises(ValueError, match="closed"):
        run.update(VARIABLES, INFO)


def written(path, num_parts, *, go_on=False, first=0):
    run = store.RunDirectory(path, go_on=go_on)
    run.update(VARIABLES, INFO)
    for number in range(num_parts):
        run.append([make_segment(2, first=first + 2 * number)])
    return run


def parts(path):
    return sorted(entry.name for entry in path.glob("*.parquet"))


def test_small_parts_are_put_together_now_and_then(tmp_path, monkeypatch):
    monkeypatch.setattr("gradwatch.store.run.MOST_SMALL_PARTS", 4)
    written(tmp_path, 10)
    assert parts(tmp_path) == [
        "part-001-000000-000003.parquet",
        "part-001-000004-000007.parquet",
        "part-001-000008.parquet",
        "part-001-000009.parquet",
    ]
    assert_same(store.read(tmp_path)[1], [as_one(10)])
    assert pd.read_parquet(tmp_path)["step"].tolist() == np.repeat(np.arange(20), 3).tolist()


def as_one(num_parts):
    (segment,) = records.join([make_segment(2, first=2 * number) for number in range(num_parts)])
    return segment


@pytest.mark.parametrize(("most", "expected"), [(10**6, 1), (18, 2), (6, 5)])
def test_parts_are_put_together_at_the_end(tmp_path, monkeypatch, most, expected):
    monkeypatch.setattr("gradwatch.store.run.MOST_RECORDS", most)
    run = written(tmp_path, 5)
    run.compact()
    assert len(parts(tmp_path)) == expected
    run.compact()
    run.append([make_segment(2, first=10)])
    run.compact()
    assert_same(store.read(tmp_path)[1], [as_one(6)])


def test_segments_keep_their_numbers(tmp_path):
    run = written(tmp_path, 1)
    run.append([make_segment(2, (3,), optimizer="sgd")])
    run.append([make_segment(2, (3,), optimizer="sgd"), make_segment(2, first=2)])
    before = pd.read_parquet(tmp_path)[["optimizer", "segment"]].drop_duplicates()
    run.compact()
    after = pd.read_parquet(tmp_path)[["optimizer", "segment"]].drop_duplicates()
    assert before.values.tolist() == after.values.tolist() == [["adam", 0], ["sgd", 1]]


def test_a_crash_while_parts_are_put_together_loses_and_doubles_nothing(tmp_path, monkeypatch):
    run = written(tmp_path, 5)
    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "unlink", raise_disk_full)  # the large part is there, the small ones are as well
        with pytest.raises(OSError, match="No space left"):
            run.compact()
    assert len(parts(tmp_path)) == 6
    assert_same(store.read(tmp_path)[1], [as_one(5)])
    again = written(tmp_path, 1, go_on=True, first=10)
    assert parts(tmp_path) == ["part-001-000000-000004.parquet", "part-001-000005.parquet"]
    again.close()
    assert_same(store.read(tmp_path)[1], [as_one(6)])


def test_can_be_read_while_parts_are_put_together(tmp_path, monkeypatch):
    run = written(tmp_path, 5)
    load, calls = part.load, []

    def load_late(*args):
        calls.append(args)
        if len(calls) == 1:
            run.compact()  # takes the files away that are about to be read
        return load(*args)

    monkeypatch.setattr(part, "load", load_late)
    assert_same(store.read(tmp_path)[1], [as_one(5)])
    assert len(calls) == 3


class TestGoingOn:
    def test_is_the_same_log(self, tmp_path):
        written(tmp_path, 2).add_bad_step({"step": 3}, [])
        run = written(tmp_path, 2, go_on=True, first=4)
        run.close()
        variables, segments, info = store.read(tmp_path)
        assert (variables, info) == (VARIABLES, INFO)
        assert_same(segments, [as_one(4)])
        assert store.bad_steps(tmp_path) == [3]
        assert set(pd.read_parquet(tmp_path)["segment"]) == {0}

    def test_variables_of_before_stay(self, tmp_path):
        written(tmp_path, 1)
        run = store.RunDirectory(tmp_path, go_on=True)
        other = dataclasses.replace(VARIABLES[0], path="new/kernel")
        run.update((other, *VARIABLES[:3]), INFO)
        run.append([make_segment(2, (0,), first=2)])
        variables, segments, _ = store.read(tmp_path)
        assert [variable.path for variable in variables] == [v.path for v in (other, *VARIABLES)]
        assert [segment.variables for segment in segments] == [(1, 2, 3), (0,)]

    def test_needs_a_run(self, tmp_path):
        with pytest.raises(LogFormatError, match="has no _manifest"):
            store.RunDirectory(tmp_path, go_on=True)

    def test_what_is_there(self, tmp_path):
        assert store.earlier(store.folder(tmp_path)) is None
        written(tmp_path, 0)
        assert store.earlier(store.folder(tmp_path)) is None
        written(tmp_path, 3)
        assert store.earlier(store.folder(tmp_path)) == store.Earlier(VARIABLES, INFO, 6)
        (tmp_path / "part-002-000002.parquet").write_bytes(b"")
        with pytest.raises(LogFormatError, match="part-002-000002"):
            store.earlier(store.folder(tmp_path))

    def test_says_whether_another_run_went_there(self, tmp_path):
        run = written(tmp_path, 1)
        assert run.is_current()
        written(tmp_path, 1)
        assert not run.is_current()


def test_findings(tmp_path):
    run = written(tmp_path, 1)
    run.write_findings('{"findings": []}')
    run.write_findings('{"findings": [1]}')
    assert json.loads((tmp_path / "_findings.json").read_text()) == {"findings": [1]}
    assert len(pd.read_parquet(tmp_path)) == 6
    written(tmp_path, 1)
    assert not (tmp_path / "_findings.json").exists()
