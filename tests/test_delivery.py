import pytest
from samples import INFO, VARIABLES, make_segment

from gradwatch import store
from gradwatch.delivery import FLUSH_SHARE, MOST_SECONDS, Delivery
from gradwatch.errors import GradientWarning
from gradwatch.sinks import ParquetSink


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Recording:
    """A sink that notes what it is asked to do, takes its time, and may fail."""

    def __init__(self, clock, flush_takes=0.0, fails_at=None):
        self.calls = []
        self._clock = clock
        self._flush_takes = flush_takes
        self._fails_at = fails_at

    def _note(self, name):
        self.calls.append(name)
        if name == self._fails_at:
            raise OSError(28, "No space left on device")

    def write(self, segments, variables, info):
        self._note("write")

    def flush(self):
        self._clock.now += self._flush_takes
        self._note("flush")

    def close(self):
        self._note("close")


def write(delivery, urgent=False):
    delivery.write([make_segment()], VARIABLES, INFO, urgent=urgent)


@pytest.fixture
def clock():
    return Clock()


def test_what_is_cheap_is_made_safe_each_time(clock):
    sink = Recording(clock)
    delivery = Delivery([sink], None, clock=clock)
    for _ in range(3):
        write(delivery)
    assert sink.calls == ["write", "flush"] * 3


def test_flushes_take_a_small_share_of_the_time(clock):
    sink = Recording(clock, flush_takes=0.02)
    delivery = Delivery([sink], None, clock=clock)
    begin = clock.now
    for _ in range(2000):
        clock.now += 0.01
        write(delivery)
    share = 0.02 * sink.calls.count("flush") / (clock.now - begin)
    assert FLUSH_SHARE / 2 < share < 1.1 * FLUSH_SHARE  # the first two come at once


def test_none_is_put_off_for_long(clock):
    sink = Recording(clock, flush_takes=5.0)
    delivery = Delivery([sink], None, clock=clock)
    for _ in range(2):  # the first one is slow everywhere, and counts for nothing
        write(delivery)
    clock.now += MOST_SECONDS - 0.1
    assert not delivery.is_due
    write(delivery)
    assert sink.calls.count("flush") == 2
    clock.now += 0.2
    assert delivery.is_due
    write(delivery)
    assert sink.calls.count("flush") == 3
    assert not delivery.is_due


def test_what_is_urgent_is_made_safe_at_once(clock):
    sink = Recording(clock, flush_takes=5.0)
    delivery = Delivery([sink], None, clock=clock)
    for _ in range(2):
        write(delivery, urgent=True)
    assert sink.calls == ["write", "flush"] * 2


def test_without_a_sink_nothing_is_ever_due(clock):
    delivery = Delivery([], None, clock=clock)
    clock.now += 1000
    assert not delivery.is_due
    write(delivery)


@pytest.mark.parametrize("fails_at", ["write", "flush"])
def test_a_sink_that_fails_is_dropped_and_the_others_go_on(clock, fails_at):
    bad, good = Recording(clock, fails_at=fails_at), Recording(clock)
    delivery = Delivery([bad, good], None, clock=clock)
    with pytest.warns(GradientWarning, match=r"stops writing to Recording.*OSError.*No space left") as caught:
        for _ in range(3):
            write(delivery)
        delivery.pause()
        delivery.close()
    assert len(caught) == 1
    assert bad.calls.count("write") == 1
    assert good.calls == [*["write", "flush"] * 3, "flush", "close"]


def test_the_run_directory(tmp_path, clock):
    delivery = Delivery([], ParquetSink(tmp_path), clock=clock)
    assert delivery.has_run_dir
    assert delivery.earlier() is None
    write(delivery)
    write(delivery)
    delivery.write_findings("{}")
    delivery.add_bad_step({"step": 2}, [])
    delivery.pause()
    assert len(list(tmp_path.glob("*.parquet"))) == 1
    assert store.bad_steps(tmp_path) == [2]
    assert not store.is_locked(tmp_path)
    write(delivery)
    assert store.is_locked(tmp_path)
    delivery.close()
    assert store.read(tmp_path)[1][0].num_steps == 12


def test_a_run_directory_that_fails_gives_one_warning(tmp_path, clock, monkeypatch):
    delivery = Delivery([], ParquetSink(tmp_path), clock=clock)
    write(delivery)
    monkeypatch.setattr(ParquetSink, "write_findings", lambda *_: 1 / 0)
    with pytest.warns(GradientWarning, match=r"stops writing to ParquetSink.*ZeroDivisionError") as caught:
        for text in ("{}", "[]"):
            delivery.write_findings(text)
        write(delivery)
        delivery.add_bad_step({"step": 2}, [])
        delivery.pause()
        delivery.close()
    assert len(caught) == 1
    assert not delivery.has_run_dir


def test_the_same_findings_are_written_once(tmp_path, clock):
    delivery = Delivery([], ParquetSink(tmp_path), clock=clock)
    write(delivery)
    delivery.write_findings("{}")
    (tmp_path / "_findings.json").unlink()
    delivery.write_findings("{}")
    assert not (tmp_path / "_findings.json").exists()
