import json
import subprocess
import sys

import pytest

from gradwatch import process

PROGRAM = """
from gradwatch import process

class Thing:
    def __init__(self, name):
        self.name = name
    def close(self):
        print("closed", self.name)
        if self.name == "bad":
            raise OSError("disk full")

kept = [Thing("a"), Thing("bad"), Thing("b")]
for thing in (*kept, Thing("gone")):
    process.close_at_exit(thing)
del thing
raise ZeroDivisionError("mine")
"""


def test_what_is_open_is_closed_when_a_program_ends_in_an_error():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert sorted(done.stdout.split("\n")) == ["", "closed a", "closed b", "closed bad"]
    assert "ZeroDivisionError: mine" in done.stderr
    assert "gradwatch failed at closing a watch" in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("cluster", "task", "expected"),
    [
        ({}, {}, True),
        ({"worker": ["a", "b"]}, {"type": "worker", "index": 0}, True),
        ({"worker": ["a", "b"]}, {"type": "worker", "index": 1}, False),
        ({"chief": ["a"], "worker": ["b"]}, {"type": "chief", "index": 0}, True),
        ({"chief": ["a"], "worker": ["b"]}, {"type": "worker", "index": 0}, False),
    ],
)
def test_who_writes(monkeypatch, cluster, task, expected):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    assert process.is_chief() == expected


@pytest.mark.parametrize("config", ["", "no JSON"])
def test_no_cluster(monkeypatch, config):
    monkeypatch.setenv("TF_CONFIG", config)
    assert process.is_chief()
