import gc
import itertools
import pathlib

import numpy as np
import pandas as pd
import pytest

from gradwatch import store
from gradwatch.archive import NUM_FIRST, Archive
from gradwatch.errors import GradientWarning
from gradwatch.records import STEP_DTYPES, RunInfo, Segment, VariableInfo

VARIABLES = [VariableInfo(f"dense/{name}", "dense", (2,), "float32") for name in ("kernel", "bias", "scale")]


def make_segment(first, num_steps=50, variables=(0, 1), optimizer="adam"):
    steps = {name: np.zeros(num_steps, dtype) for name, dtype in STEP_DTYPES.items()}
    steps["step"] += np.arange(first, first + num_steps)
    norms = np.random.default_rng(first).lognormal(size=(num_steps, len(variables)))
    return Segment(optimizer, variables, (), steps, {"grad_norm": norms})


def make_archive(order=(0, 1, 2), **options):
    """An archive of variables in this order; put another order into the list to change it."""
    order = list(order)

    def variables():
        return [VARIABLES[number] for number in order], {number: place for place, number in enumerate(order)}

    return Archive(variables, lambda: RunInfo(model="net"), num_recent=60, **options), order


def same(log, other):
    pd.testing.assert_frame_equal(log.frame(), other.frame())
    pd.testing.assert_frame_equal(log.steps(), other.steps())
    assert log.info == other.info


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """The folder in which temporary directories are made."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


SEGMENTS = [
    make_segment(first, optimizer=optimizer, variables=variables)
    for first, (optimizer, variables) in zip(
        range(0, 500, 50), itertools.cycle([("adam", (0, 1)), ("sgd", (2,)), ("adam", (2, 0, 1))]), strict=False
    )
]


@pytest.mark.parametrize("max_bytes", [0, 9_000, 20_000])
def test_a_spilled_log_is_the_log(folders, max_bytes):
    few, _ = make_archive(max_bytes=max_bytes)
    all_of_them, _ = make_archive()
    for segment in SEGMENTS:
        few.add([segment])
        all_of_them.add([segment])
        same(few.log(), all_of_them.log())
        same(few.tail(60), all_of_them.tail(60))
        assert few.last_step == all_of_them.last_step
    assert len(list(folders.iterdir())) == 1
    assert all_of_them.num_bytes == sum(segment.num_bytes for segment in SEGMENTS)


def test_memory_stays_bounded_however_long_the_run(folders):
    archive, _ = make_archive(max_bytes=20_000)
    most = 0
    for first in range(0, 10_000, 50):
        archive.add([make_segment(first)])
        most = max(most, archive.num_bytes)
    assert most <= 20_000
    assert archive.log().num_steps == 10_000


def test_a_short_log_makes_no_files(folders):
    archive, _ = make_archive()
    archive.add(SEGMENTS)
    assert archive.log().num_steps == 500
    assert not list(folders.iterdir())


def test_variables_may_come_later_and_stand_before(folders):
    archive, order = make_archive(order=(0, 1), max_bytes=0)
    archive.add([make_segment(0)])
    order[:] = [2, 0, 1]
    archive.add([make_segment(50, variables=(0, 1, 2))])
    plain, _ = make_archive(order=(2, 0, 1))
    plain.add([make_segment(0), make_segment(50, variables=(0, 1, 2))])
    same(archive.log(), plain.log())
    same(archive.tail(60), plain.tail(60))


def test_tail_is_the_end_of_the_log():
    archive, _ = make_archive()
    archive.add(SEGMENTS)
    for num_steps in (1, 49, 50, 60):
        same(archive.tail(num_steps), archive.log().tail(num_steps))


def test_nothing_is_lost_where_there_is_no_room_for_files(folders, monkeypatch):
    def full(self, segments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.RunDirectory, "append", full)
    archive, _ = make_archive(max_bytes=9_000)
    with pytest.warns(GradientWarning, match="stays in memory.*No space left") as told:
        for segment in SEGMENTS:
            archive.add([segment])
    assert len(told) == 1
    plain, _ = make_archive()
    plain.add(SEGMENTS)
    same(archive.log(), plain.log())


def test_the_last_steps_are_left_where_the_files_are_gone(folders):
    archive, _ = make_archive(max_bytes=0)
    for first in (0, 50, 100):
        archive.add([make_segment(first)])
    for file in folders.rglob("*.parquet"):
        file.unlink()
    with pytest.warns(GradientWarning, match="only its last steps"):
        log = archive.log()
    assert log.steps()["step"].tolist() == list(range(90, 150))


def test_files_go_with_the_archive(folders):
    archive, _ = make_archive(max_bytes=0)
    archive.add([make_segment(0)])
    (folder,) = folders.iterdir()
    log = archive.log()
    del archive
    gc.collect()
    assert not pathlib.Path(folder).exists()
    assert log.num_steps == 50


@pytest.mark.parametrize("max_bytes", [0, 1e9])
def test_both_ends_of_a_run_are_at_hand(folders, max_bytes):
    archive, _ = make_archive(max_bytes=max_bytes)
    for first in range(0, 300, 50):
        archive.add([make_segment(first)])
    (segment,) = archive.ends(60).segments
    assert segment.steps["step"].tolist() == [*range(NUM_FIRST), *range(240, 300)]
    (segment,) = archive.ends(60).tail(60).segments
    same(archive.ends(60).tail(60), archive.tail(60))


def test_ends_that_meet_are_the_log():
    archive, _ = make_archive()
    archive.add([make_segment(0)])
    same(archive.ends(60), archive.log())
    assert make_archive()[0].ends(60).num_steps == 0
