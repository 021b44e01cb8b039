import numpy as np

from gradwatch.diagnosis import RECENT_STEPS
from gradwatch.glance.recent import Recent
from gradwatch.records import RunInfo
from gradwatch.testing import merged_log, synthetic_log


def feed(recent, log, chunk):
    for segment in log.segments:
        for start in range(0, segment.num_steps, chunk):
            recent.add([segment.take(slice(start, start + chunk))], log.variable_infos, log.info)


def test_keeps_the_last_steps_only():
    log = synthetic_log(num_steps=3000, loss=np.arange(3000.0))
    recent = Recent()
    feed(recent, log, 50)
    kept = recent.log()
    assert kept.num_steps == RECENT_STEPS
    assert kept.steps()["loss"].tolist() == list(range(3000 - RECENT_STEPS, 3000))
    assert sum(segment.num_steps for kind in recent._kinds.values() for segment in kind) < RECENT_STEPS + 50


def test_variables_may_come_in_between():
    wide = synthetic_log(num_steps=2, variables={"new/kernel": (2, 2), "a/kernel": (2, 2)}, unoptimized=["new/kernel"])
    narrow = synthetic_log(num_steps=2, variables={"a/kernel": (2, 2)})
    recent = Recent()
    recent.add(narrow.segments, narrow.variable_infos, narrow.info)
    recent.add(wide.segments, wide.variable_infos, RunInfo(model="m"))
    log = recent.log()
    assert log.num_steps == 4
    assert len(log.segments) == 1
    assert log.wide("grad_norm")["a/kernel"].notna().all()
    assert log.info.model == "m"


def test_optimizers_do_not_push_each_other_out():
    first = synthetic_log(num_steps=600, variables={"d/kernel": (2, 2)}, optimizer="d", step=range(600))
    second = synthetic_log(num_steps=3, variables={"g/kernel": (2, 2)}, optimizer="g", step=range(600, 603))
    log = merged_log(second, first)
    recent = Recent()
    feed(recent, log, 100)
    assert {s.optimizer: s.num_steps for s in recent.log().segments} == {"g": 3, "d": RECENT_STEPS}
