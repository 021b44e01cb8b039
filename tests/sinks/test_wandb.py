import json
import struct
import sys

import numpy as np
import pytest
import wandb
from trackers import CHARTS, train, write_many
from wandb.proto import wandb_internal_pb2

from gradwatch import GradientWarning, GradientWatch, sinks
from gradwatch.testing import synthetic_log


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    """Nothing of these tests leaves the test's own folder."""
    for name in ("DIR", "CONFIG_DIR", "CACHE_DIR", "DATA_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path))
    for name, value in (("MODE", "offline"), ("SILENT", "true"), ("ERROR_REPORTING", "false")):
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # W&B puts one of its own there, and leaves it
    wandb.teardown()  # else the settings are those of the first test
    yield
    wandb.teardown()


def blocks(data):
    """The records of a W&B file: seven bytes of header, then LevelDB's format of a log.

    https://github.com/google/leveldb/blob/main/doc/log_format.md
    """
    assert data[:4] == b":W&B"
    place, parts = 7, b""
    while place + 7 <= len(data):
        room = 32768 - place % 32768
        if room < 7:
            place += room
            continue
        size, kind = struct.unpack_from("<HB", data, place + 4)  # after a checksum
        parts += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def read(folder):
    """The rows of the only run in a folder, and its metrics that have been given an x axis."""
    wandb.teardown()  # waits for the process that writes
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    rows, axes = [], {}
    for block in blocks(path.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(block)
        if record.HasField("history"):
            rows.append(
                {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            )
        elif record.HasField("metric") and record.metric.step_metric:
            axes[record.metric.glob_name or record.metric.name] = record.metric.step_metric
    return rows, axes


def series(rows, name):
    return {row["gradwatch/step"]: row[name] for row in rows if name in row}


def names(rows):
    """The charts."""
    every = {name for row in rows for name in row if not name.startswith(("_", "gradwatch/report"))}
    return every - {"gradwatch/step"}


def test_is_a_sink():
    assert isinstance(sinks.WandbSink(), sinks.Sink)


def test_fit(tmp_path):
    watch = GradientWatch(sinks=[sinks.WandbSink(project="digits")])
    train(watch)
    assert wandb.run.project == "digits"
    watch.close()
    assert wandb.run is None
    rows, axes = read(tmp_path)
    assert names(rows) == CHARTS
    assert [row["gradwatch/report/_type"] for row in rows if "gradwatch/report/_type" in row] == ["html-file"]
    (page,) = tmp_path.glob("wandb/offline-run-*/files/media/html/gradwatch/report_*.html")
    assert "10 recorded (0 to 9)" in page.read_text(encoding="utf-8")
    losses = series(rows, "gradwatch/loss")
    assert list(losses) == list(range(10))
    np.testing.assert_allclose(list(losses.values()), watch.log.steps()["loss"])
    norms = series(rows, "gradwatch_variables/net/head/bias/grad_norm")
    np.testing.assert_allclose(list(norms.values()), watch.log.wide("grad_norm")["net/head/bias"], rtol=1e-6)
    assert {"gradwatch/*", "gradwatch_layers/*", "gradwatch_variables/*"} <= set(axes)
    assert set(axes.values()) == {"gradwatch/step"}


def test_a_run_that_is_active_is_left_open(tmp_path):
    with wandb.init() as run:
        run.log({"own": 1})
        sink, log = sinks.WandbSink(), synthetic_log(num_steps=2)
        sink.write(log.segments, log.variable_infos, log.info)
        sink.close()
        assert wandb.run is run
        run.log({"own": 2})
    rows, _ = read(tmp_path)
    assert [row["own"] for row in rows if "own" in row] == [1, 2]
    assert list(series(rows, "gradwatch/loss")) == [0, 1]


def test_a_run_that_is_given(tmp_path):
    with wandb.init() as run:
        sink = sinks.WandbSink(run=run)
        log = synthetic_log(num_steps=2)
        sink.write(log.segments, log.variable_infos, log.info)
        sink.close()
        assert wandb.run is run
    assert list(series(read(tmp_path)[0], "gradwatch/loss")) == [0, 1]


def test_300_variables_are_few_charts(tmp_path):
    sink = sinks.WandbSink()
    write_many(sink, grad_norm={"dense_3/kernel": 50.0})
    sink.close()
    rows, _ = read(tmp_path)
    assert len(names(rows)) <= 70
    assert len([name for name in names(rows) if name.startswith("gradwatch_variables")]) == 10
    assert sorted(series(rows, "gradwatch_variables/dense_3/kernel/grad_norm")) == list(range(60))


def test_a_watch_that_records_nothing_starts_nothing(tmp_path):
    sink = sinks.WandbSink()
    sink.flush()
    sink.close()
    sink.close()
    assert wandb.run is None
    assert not list(tmp_path.glob("wandb/*run-*"))
    with pytest.raises(ValueError, match="closed"):
        sink.write([], (), None)


def test_failure_stops_no_training():
    run = wandb.init()
    run.finish()
    watch = GradientWatch(sinks=[sinks.WandbSink(run=run)])
    with pytest.warns(GradientWarning, match="stops writing to WandbSink") as warned:
        assert train(watch) == 10
    assert len([each for each in warned if each.category is GradientWarning]) == 1
    assert watch.log.num_steps == 10
