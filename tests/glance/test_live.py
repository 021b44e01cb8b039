import numpy as np
import pytest

from gradwatch import LiveView, sinks
from gradwatch.glance import live
from gradwatch.records import RunInfo
from gradwatch.rules import NonFiniteLoss
from gradwatch.testing import synthetic_log


class Screen:
    """Keeps what is shown, and lets drawing take time."""

    def __init__(self, there=True, takes=0.0):
        self.there, self.takes, self.now = there, takes, 0.0
        self.pages, self.lines, self.renewals = [], [], 0
        self.cell = 1

    def is_there(self):
        return self.there

    def show(self, html, text, *, anew=False):
        self.renewals += anew
        self.pages.append(html)
        self.lines.append(text)
        self.now += self.takes

    def clock(self):
        return self.now


def view_on(screen, **options):
    return LiveView(screen=screen, clock=screen.clock, **options)


def write(view, first, num_steps=10, **values):
    log = synthetic_log(
        num_steps=num_steps, step=np.arange(first, first + num_steps), info=RunInfo(model="net"), **values
    )
    view.write(log.segments, log.variable_infos, log.info)
    view.flush()
    return log


def last_look(view, log):
    view.write([], log.variable_infos, log.info)


def test_is_a_sink():
    assert isinstance(LiveView(), sinks.Sink)


def test_shows_the_first_steps_at_once_and_then_at_most_once_a_second():
    screen = Screen()
    view = view_on(screen)
    for first in range(0, 1000, 10):
        write(view, first)
        screen.now += 0.1
    assert 9 <= len(screen.pages) <= 11
    assert screen.lines[0].startswith("Training net, step 9: ")
    assert "Healthy" in screen.pages[-1]


def test_what_had_to_wait_is_shown_when_nothing_new_comes():
    screen = Screen()
    view = view_on(screen)
    write(view, 0)
    log = write(view, 10)
    assert len(screen.pages) == 1
    last_look(view, log)
    assert screen.lines[-1].startswith("Training net, step 19")
    last_look(view, log)
    view.close()
    view.close()
    assert len(screen.pages) == 2


def test_close_shows_the_rest():
    screen = Screen()
    view = view_on(screen)
    write(view, 0)
    write(view, 10)
    view.close()
    assert [line.partition(":")[0] for line in screen.lines] == ["Training net, step 9", "Training net, step 19"]


def test_training_in_another_cell_is_shown_there_without_waiting():
    screen = Screen()
    view = view_on(screen)
    write(view, 0)
    write(view, 10)
    screen.cell = 2
    write(view, 20)
    assert (screen.renewals, len(screen.pages)) == (0, 1)
    write(view, 30)
    assert (screen.renewals, len(screen.pages)) == (1, 2)
    assert screen.lines[-1].startswith("Training net, step 39")
    for first in range(40, 100, 10):
        screen.now += 10
        write(view, first)
    assert screen.renewals == 1


def test_the_rest_of_a_run_is_shown_where_the_run_was():
    screen = Screen()
    view = view_on(screen)
    write(view, 0)
    for screen.cell, first in ((2, 10), (3, 20)):  # interrupted; these cells only read the log
        log = write(view, first)
        last_look(view, log)
    assert screen.renewals == 0
    assert screen.lines[-1].startswith("Training net, step 29")


def test_rests_longer_where_drawing_takes_long():
    screen = Screen(takes=2.0)
    view = view_on(screen)
    for first in range(0, 2000, 10):
        write(view, first)
        screen.now += 1.0
    assert screen.takes * len(screen.pages) / screen.now < 1.5 / live.REST
    assert len(screen.pages) > 2


def test_an_error_stays_when_the_last_steps_do_not_hold_it_any_more():
    screen = Screen()
    view = view_on(screen, every_seconds=1e-9)
    bad = np.zeros(10)
    bad[4] = 1
    write(view, 0, nan_count={"head/kernel": bad})
    for first in range(10, 1500, 10):
        screen.now += 1
        write(view, first)
    assert len(view._recent.log()) < 1500 * 4
    assert "NonFiniteGradient" in screen.pages[-1]
    assert "Not healthy: 1 error" in screen.lines[-1]
    screen.now += 1
    write(view, 1500, nan_count={"head/kernel": bad})
    assert "Not healthy: 1 error" in screen.lines[-1]
    assert "steps 4 to 1504" in screen.pages[-1]


def test_a_warning_goes_when_its_reason_goes():
    screen = Screen()
    view = view_on(screen)
    write(view, 0, 100, zero_fraction={"dense/kernel": 1.0, "dense/bias": 1.0})
    screen.now += 10
    write(view, 100, 10)
    assert "ZeroGradient" in screen.pages[0]
    assert "ZeroGradient" not in screen.pages[1]
    assert "Healthy" in screen.lines[1]


def test_memory_is_bounded():
    screen = Screen()
    view = view_on(screen, every_seconds=1e9)
    sizes = []
    for first in range(0, 40_000, 50):
        write(view, first, 50)
        kept = [segment.num_bytes for kind in view._recent._kinds.values() for segment in kind]
        sizes.append(sum(kept))
    assert max(sizes) == max(sizes[:13])
    assert {len(line.points) for line in (view._history.loss("adam"), view._history.layer("head"))} <= set(range(121))


def test_does_nothing_where_there_is_no_notebook():
    screen = Screen(there=False)
    view = view_on(screen)
    log = write(view, 0)
    last_look(view, log)
    view.close()
    assert screen.pages == []
    assert view._recent.log().num_steps == 0


def test_rules_are_those_given():
    screen = Screen()
    view = view_on(screen, rules=[NonFiniteLoss()])
    write(view, 0, nan_count=1)
    assert "1 rule passed, 0 could not judge" in screen.lines[0]


@pytest.mark.parametrize("every_seconds", [0, -1, float("nan"), True, "1"])
def test_refuses_a_pause_that_makes_no_sense(every_seconds):
    with pytest.raises(ValueError, match="every_seconds="):
        LiveView(every_seconds=every_seconds)


def test_refuses_what_is_no_rule():
    with pytest.raises(TypeError, match="NonFiniteLoss"):
        LiveView(rules=[NonFiniteLoss])
