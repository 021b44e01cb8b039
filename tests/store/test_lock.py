import subprocess
import sys

import pytest

from gradwatch import store

HOLDER = """
import pathlib, sys
from gradwatch import store
lock = store.Lock(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_another_process_is_refused(tmp_path, holder):
    with pytest.raises(BlockingIOError, match=rf"held by process {holder.pid}\. Give each process a directory"):
        store.Lock(tmp_path)
    assert store.is_locked(tmp_path)


def test_a_killed_process_lets_go(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert not store.is_locked(tmp_path)
    lock = store.Lock(tmp_path)
    assert lock.held
    lock.release()
    assert not lock.held


def test_the_latest_of_a_process_has_it(tmp_path):
    first = store.Lock(tmp_path)
    second = store.Lock(tmp_path)
    assert (first.held, first.taken_over, second.held, second.taken_over) == (False, True, True, False)
    first.release()
    assert second.held
    assert store.is_locked(tmp_path)
    second.release()
    assert not store.is_locked(tmp_path)


def test_nothing_there(tmp_path):
    assert not store.is_locked(tmp_path)
    assert not store.is_locked(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError):
        store.Lock(tmp_path / "nothing")
