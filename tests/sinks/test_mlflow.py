import gc
import os
import pathlib

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
import numpy as np
import pytest
from programs import features
from trackers import CHARTS, train, write_many

from gradwatch import GradientWarning, GradientWatch, NonFiniteGradientError, sinks
from gradwatch.testing import synthetic_log


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store in a SQLite file; making one takes MLflow seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # where MLflow makes a folder for artifacts, needed or not
        yield folder
    mlflow.set_tracking_uri(before)


@pytest.fixture
def client(store, request):
    """A client, with an experiment of the test's own."""
    name = request.node.name
    experiment = mlflow.create_experiment(name, (store / "artifacts" / name).as_uri())
    mlflow.set_experiment(name)
    found = mlflow.MlflowClient()
    found.runs = lambda: found.search_runs([experiment])
    yield found
    mlflow.end_run()


class Page:
    """Stands for a report, which takes seconds to make."""

    def save(self, path):
        pathlib.Path(path).write_text("page", encoding="utf-8")


def history(client, run, name):
    return {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, name)}


def test_is_a_sink():
    assert isinstance(sinks.MLflowSink(), sinks.Sink)


def test_fit_within_a_run(client, tmp_path):
    watch = GradientWatch(sinks=[sinks.MLflowSink()])
    with mlflow.start_run() as run:
        train(watch)
        watch.close()
        assert mlflow.active_run().info.run_id == run.info.run_id
        assert client.get_run(run.info.run_id).info.status == "RUNNING"
    assert [found.info.run_id for found in client.runs()] == [run.info.run_id]
    assert set(client.get_run(run.info.run_id).data.metrics) == CHARTS
    losses = history(client, run, "gradwatch/loss")
    assert sorted(losses) == list(range(10))
    np.testing.assert_allclose([losses[step] for step in range(10)], watch.log.steps()["loss"])
    norms = history(client, run, "gradwatch_variables/net/head/bias/grad_norm")
    np.testing.assert_allclose([norms[step] for step in range(10)], watch.log.wide("grad_norm")["net/head/bias"])
    path = client.download_artifacts(run.info.run_id, "gradwatch/report.html", str(tmp_path))
    assert "10 recorded (0 to 9)" in pathlib.Path(path).read_text(encoding="utf-8")


def test_without_a_run_one_is_started_and_ended(client):
    sink = sinks.MLflowSink()
    for num_fits in (1, 2):
        log = synthetic_log(num_steps=2, step=[2 * num_fits, 2 * num_fits + 1])
        sink.write(log.segments, log.variable_infos, log.info)
        assert client.runs()[0].info.status == "RUNNING"
        sink.finish(Page())
        (run,) = client.runs()
        assert run.info.status == "FINISHED"
        assert mlflow.active_run() is None
        assert len(history(client, run, "gradwatch/loss")) == 2 * num_fits
    sink.close()
    assert client.runs()[0].info.status == "FINISHED"


def test_the_run_goes_on_while_training_does(client):
    sink = sinks.MLflowSink()
    log = synthetic_log(num_steps=2)
    sink.write(log.segments, log.variable_infos, log.info)
    (run,) = client.runs()
    assert run.info.status == "RUNNING"
    with mlflow.start_run() as own:
        assert own.info.run_id != run.info.run_id
        sink.write(log.segments, log.variable_infos, log.info)
    sink.close()
    sink.close()
    assert client.get_run(run.info.run_id).info.status == "FINISHED"
    assert len(client.get_metric_history(run.info.run_id, "gradwatch/loss")) == 4


def test_a_run_whose_sink_is_gone_has_failed(client):
    log = synthetic_log(num_steps=2)
    sink = sinks.MLflowSink()
    sink.write(log.segments, log.variable_infos, log.info)
    del sink
    gc.collect()
    assert client.runs()[0].info.status == "FAILED"


def test_a_run_that_is_stopped_has_its_report(client):
    x = features(8)
    x[32:48] = np.nan
    with pytest.raises(NonFiniteGradientError), mlflow.start_run() as run:
        train(GradientWatch(sinks=[sinks.MLflowSink()], fail_fast=True), x=x)
    assert [file.path for file in client.list_artifacts(run.info.run_id, "gradwatch")] == ["gradwatch/report.html"]
    assert client.get_run(run.info.run_id).info.status == "FAILED"
    assert "gradwatch/nan_count" in client.get_run(run.info.run_id).data.metrics


def test_300_variables_are_few_metrics_in_few_calls(client, monkeypatch):
    sizes = []
    log_batch = mlflow.MlflowClient.log_batch

    def spy(self, run_id, metrics=(), **rest):
        sizes.append(len(metrics))
        return log_batch(self, run_id, metrics=metrics, **rest)

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", spy)
    sink = sinks.MLflowSink()
    write_many(sink, grad_norm={"dense_3/kernel": 50.0})
    sink.close()
    (run,) = client.runs()
    assert len(run.data.metrics) <= 70
    assert len([name for name in run.data.metrics if name.startswith("gradwatch_variables")]) == 10
    steps = history(client, run, "gradwatch_variables/dense_3/kernel/grad_norm")
    assert sorted(steps) == [*range(50), *range(50, 60, 2)]
    assert max(sizes) <= 1000
    assert len(sizes) <= sum(sizes) / 1000 + 3


def test_nan_and_inf_are_logged(client):
    log = synthetic_log(num_steps=3, loss=[1.0, np.nan, np.inf])
    sink = sinks.MLflowSink()
    sink.write(log.segments, log.variable_infos, log.info)
    sink.close()
    losses = history(client, client.runs()[0], "gradwatch/loss")
    assert losses[0] == 1
    assert np.isnan(losses[1])
    assert losses[2] > 1e308


def test_names_that_mlflow_refuses(client):
    long = "x" * 300
    paths = ["a*b/kernel", "a?b/kernel", f"{long}/kernel", f"{long}/bias"]
    log = synthetic_log(num_steps=1, variables=dict.fromkeys(paths, (2,)))
    sink = sinks.MLflowSink()
    sink.write(log.segments, log.variable_infos, log.info)
    sink.close()
    names = [name for name in client.runs()[0].data.metrics if name.startswith("gradwatch_variables")]
    assert len(names) == 4
    assert {"gradwatch_variables/a_b/kernel/grad_norm", "gradwatch_variables/a_b/kernel/grad_norm_2"} <= set(names)


def test_a_watch_that_records_nothing_starts_nothing(client):
    sink = sinks.MLflowSink()
    sink.flush()
    sink.close()
    assert client.runs() == []
    with pytest.raises(ValueError, match="closed"):
        sink.write([], (), None)


def test_failure_stops_no_training(client):
    watch = GradientWatch(sinks=[sinks.MLflowSink()])
    with mlflow.start_run() as run:
        client.delete_run(run.info.run_id)  # MLflow logs nothing to a run that was deleted
        with pytest.warns(GradientWarning, match="stops writing to MLflowSink") as warned:
            assert train(watch) == 10
        client.restore_run(run.info.run_id)
    assert len([each for each in warned if each.category is GradientWarning]) == 1
    assert watch.log.num_steps == 10


def test_failure_at_the_end_is_a_warning(client, monkeypatch):
    def refuse(*args):
        raise OSError("no room for artifacts")

    monkeypatch.setattr(mlflow.MlflowClient, "log_artifact", refuse)
    watch = GradientWatch(sinks=[sinks.MLflowSink()])
    with pytest.warns(GradientWarning, match="report to MLflowSink.*no room for artifacts"):
        train(watch)
    assert client.runs()[0].info.status == "FINISHED"
