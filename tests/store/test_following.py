import dataclasses
import os
import pathlib

import pytest

from gradwatch.errors import LogFormatError
from gradwatch.records import RunInfo
from gradwatch.store import RunDirectory, part
from gradwatch.store.following import Follower
from gradwatch.testing import synthetic_log

LOG = synthetic_log(num_steps=40)
(SEGMENT,) = LOG.segments


def pieces(size=10):
    return [SEGMENT.take(slice(start, start + size)) for start in range(0, SEGMENT.num_steps, size)]


def steps(end):
    return [segment.steps["step"].tolist() for segment in end.segments]


@pytest.fixture
def run(tmp_path):
    with RunDirectory(tmp_path / "run") as opened:
        opened.update(LOG.variable_infos, RunInfo(model="net"))
        yield opened


@pytest.fixture
def loads(monkeypatch):
    """The names of the parts whose rows were read."""
    seen = []
    plain = part.load

    def load(parts, variables):
        seen.extend(each.name for each in parts)
        return plain(parts, variables)

    monkeypatch.setattr(part, "load", load)
    return seen


def test_reads_what_has_come_since_and_nothing_twice(run, loads):
    follower = Follower(run.path, num_steps=100)
    assert steps(follower.read()) == []
    for number, piece in enumerate(pieces(), start=1):
        run.append([piece])
        assert steps(follower.read()) == [list(range(10 * number))]
        assert steps(follower.read()) == [list(range(10 * number))]
    assert len(loads) == len(set(loads)) == 4


def test_reads_no_more_than_the_last_steps(run, loads):
    for piece in pieces():
        run.append([piece])
    follower = Follower(run.path, num_steps=15)
    assert steps(follower.read()) == [list(range(25, 40))]
    assert len(loads) == 2


def test_facts_about_the_run_are_those_of_now(run):
    follower = Follower(run.path, num_steps=5)
    assert follower.read().info.model == "net"
    run.update(LOG.variable_infos, RunInfo(model="renamed"))
    end = follower.read()
    assert (end.info.model, end.variables) == ("renamed", LOG.variable_infos)


def test_a_variable_that_comes_later(run, tmp_path):
    run.append([pieces()[0]])
    follower = Follower(run.path, num_steps=100)
    follower.read()
    new = dataclasses.replace(LOG.variable_infos[0], path="new/kernel", layer="new")
    run.update((new, *LOG.variable_infos), RunInfo())
    end = follower.read()
    names = [end.variables[index].path for index in end.segments[0].variables]
    assert names == [LOG.variable_infos[index].path for index in SEGMENT.variables]


def test_a_later_run_takes_its_place(run):
    run.append([pieces()[0]])
    follower = Follower(run.path, num_steps=100)
    follower.read()
    with RunDirectory(run.path) as later:
        later.update(LOG.variable_infos, RunInfo())
        later.append([pieces()[1]])
        assert steps(follower.read()) == [list(range(10, 20))]


def test_when_it_was_written(run):
    run.append([pieces()[0]])
    for file in pathlib.Path(run.path).iterdir():
        os.utime(file, (5000, 5000))
    os.utime(next(pathlib.Path(run.path).glob("*.parquet")), (7000, 7000))
    assert Follower(run.path, num_steps=1).read().written == 7000


def test_whether_it_is_there(tmp_path):
    follower = Follower(tmp_path / "run", num_steps=1)
    assert not follower.is_there
    with pytest.raises(FileNotFoundError, match="There is no run"):
        follower.read()
    (tmp_path / "run").mkdir()
    assert not follower.is_there
    with pytest.raises(LogFormatError, match=r"it has no _manifest\.json"):
        follower.read()
    RunDirectory(tmp_path / "run").close()
    assert follower.is_there


def test_a_damaged_part_is_said_once_it_is_sure(run):
    run.append([pieces()[0]])
    (file,) = pathlib.Path(run.path).glob("*.parquet")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(LogFormatError, match=file.name):
        Follower(run.path, num_steps=1).read()


def test_a_part_that_goes_while_it_is_read(run, monkeypatch):
    run.append([pieces()[0]])
    plain, calls = part.open_part, []

    def open_part(folder, name):
        calls.append(name)
        if len(calls) == 1:
            monkeypatch.undo()
            run.append([pieces()[1]])
            run.compact()
        return plain(folder, name)

    monkeypatch.setattr(part, "open_part", open_part)
    assert steps(Follower(run.path, num_steps=100).read()) == [list(range(20))]
