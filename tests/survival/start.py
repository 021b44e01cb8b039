"""Starts the program, and reads what it wrote down."""

import pathlib
import subprocess
import sys
import time

PROGRAM = pathlib.Path(__file__).with_name("program.py")


def start(folder, how, num_steps, **options):
    """The program as a process."""
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(folder), how, str(num_steps)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def diary(folder):
    """What it wrote down: numbers for each step, the last one a time in seconds."""
    path = folder / "diary.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [tuple(map(float, line.split())) for line in lines]


def wait_for(folder, process, num_lines):
    """Waits until it has made so many steps."""
    while len(diary(folder)) < num_lines:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.002)
