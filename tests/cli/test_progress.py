import io
import sys
import threading

import pytest
from click.testing import CliRunner

from gradwatch import testing
from gradwatch.cli import main, progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


class Timer:
    """A timer that goes off when it is told to."""

    made = None

    def __init__(self, delay, function):
        Timer.made, self.delay, self.function = self, delay, function
        self.cancelled = False

    def start(self):
        pass

    def cancel(self):
        self.cancelled = True


@pytest.fixture
def on_terminal(monkeypatch):
    """Makes stderr a terminal; to be called in the test, for pytest sets it anew after the fixtures."""

    def begin():
        stream = Terminal()
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(threading, "Timer", Timer)
        monkeypatch.setenv("TERM", "xterm")
        return stream

    return begin


def test_a_quick_command_shows_nothing(on_terminal):
    terminal = on_terminal()
    with progress.bar(2) as begin:
        begin("Reading")
        begin("Judging")
    assert terminal.getvalue() == ""
    assert (Timer.made.delay, Timer.made.cancelled) == (progress.DELAY, True)


def test_a_slow_one_shows_its_stage_and_takes_it_away(on_terminal):
    terminal = on_terminal()
    with progress.bar(2) as begin:
        begin("Reading")
        Timer.made.function()
        begin("Judging")
    shown = terminal.getvalue()
    assert "Reading" in shown
    assert shown.endswith(("\x1b[2K", "\x1b[?25h", "\r"))  # the line is cleared, the cursor is back


def test_a_timer_that_comes_too_late_shows_nothing(on_terminal):
    terminal = on_terminal()
    with progress.bar(1) as begin:
        begin("Reading")
    Timer.made.function()
    assert terminal.getvalue() == ""


def test_it_goes_away_after_an_error_too(on_terminal):
    terminal = on_terminal()

    def work():
        with progress.bar(1) as begin:
            begin("Reading")
            Timer.made.function()
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        work()
    assert "\x1b[?25h" in terminal.getvalue()


def test_nothing_where_stderr_is_no_terminal(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 0.0)
    testing.synthetic_log().save(tmp_path / "run")
    result = CliRunner().invoke(main, ["diagnose", str(tmp_path / "run"), "--json"])
    assert result.stderr == ""
