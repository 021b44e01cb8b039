import dataclasses

from gradwatch.causes import Cause
from gradwatch.records import Origin, RunInfo
from gradwatch.standing import Standing
from gradwatch.store import Earlier

BEFORE = RunInfo(
    model="net",
    started="day 1",
    ended="",
    outcome="running",
    resumed_at=(10,),
    origins=(Origin(3, Cause("forward")),),
    nonfinite_metrics=("auc", "mae"),
)


def at(*times):
    return Standing(iter(times).__next__)


def test_a_run():
    standing = at("9:00", "9:30", "9:45")
    standing.begin()
    info = standing.put_into(RunInfo(model="net"))
    assert (info.model, info.started, info.ended, info.outcome) == ("net", "9:00", "", "running")
    standing.end("completed")
    info = standing.put_into(RunInfo())
    assert (info.started, info.ended, info.outcome) == ("9:00", "9:30", "completed")


def test_a_second_fit_is_the_same_run():
    standing = at("9:00", "9:30", "10:00")
    standing.begin()
    standing.end("completed")
    standing.begin()
    info = standing.put_into(RunInfo())
    assert (info.started, info.ended, info.outcome) == ("9:00", "", "running")


def test_going_on_keeps_what_is_known_of_before():
    standing = at("day 2")
    standing.begin()
    standing.go_on(Earlier((), BEFORE, 25))
    origin = Origin(30, Cause("loss"))
    info = standing.put_into(RunInfo(model="net", origins=(origin,), nonfinite_metrics=("mae", "top5")))
    assert info.resumed_at == (10, 25)
    assert info.started == "day 1"
    assert info.origins == (*BEFORE.origins, origin)
    assert info.nonfinite_metrics == ("auc", "mae", "top5")
    assert info == dataclasses.replace(standing.put_into(info), origins=info.origins, resumed_at=info.resumed_at)
