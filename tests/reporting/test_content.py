import dataclasses

import pytest

from gradwatch.diagnosis import Diagnosis
from gradwatch.log import Log
from gradwatch.reporting.content import gather
from gradwatch.testing import synthetic_log

STARTED, ENDED = "2026-11-27T09:30:00+00:00", "2026-11-27T10:00:05+00:00"


def facts(**info):
    log = synthetic_log()
    log = Log(log.variable_infos, log.segments, dataclasses.replace(log.info, **info))
    return dict(gather(log, Diagnosis()).facts)


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"outcome": "running", "started": STARTED}, "running, 2026-11-27 09:30:00 UTC"),
        (
            {"outcome": "stopped", "started": STARTED, "ended": ENDED},
            "stopped, 2026-11-27 09:30:00 UTC to 2026-11-27 10:00:05 UTC",
        ),
    ],
)
def test_how_it_ended(info, expected):
    assert facts(**info)["Outcome"] == expected


def test_what_is_not_known_is_left_out():
    assert not {"Outcome", "Went on at"} & set(facts())


def test_where_it_went_on():
    assert facts(resumed_at=(10, 2500))["Went on at"] == "step 10, step 2,500"
