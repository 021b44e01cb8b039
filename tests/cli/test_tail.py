import dataclasses
import json
import sys
import time
import types

from click.testing import CliRunner
from rich.console import Console

from gradwatch import testing
from gradwatch.cli import live, main, snapshot
from gradwatch.records import RunInfo
from gradwatch.store import RunDirectory


def invoke(*args):
    return CliRunner(env={"COLUMNS": "120"}).invoke(main, ["tail", *map(str, args)])


def log(**options):
    return testing.synthetic_log(num_steps=40, **options)


def replace_sleep(monkeypatch, sleep):
    """For the command only: threads of others sleep, too."""
    monkeypatch.setattr(sys.modules["gradwatch.cli.tail"], "time", types.SimpleNamespace(sleep=sleep, time=time.time))


STARTED, ENDED = "2026-11-27T09:00:00+00:00", "2026-11-27T09:05:00+00:00"


class Training:
    """A run that writes ten more steps each time that the one who follows it sleeps, and then ends."""

    def __init__(self, path, log, monkeypatch, outcome="running"):
        self.path, self.log, self.written = path, log, 0
        self.directory = None
        self.info = RunInfo(model="net", started=STARTED, outcome=outcome)
        replace_sleep(monkeypatch, self.go_on)
        self.slept = []

    def go_on(self, seconds):
        self.slept.append(seconds)
        assert len(self.slept) < 20
        if self.directory is None:
            self.directory = RunDirectory(self.path)
            self.directory.update(self.log.variable_infos, self.info)
        elif self.written < 40:
            (segment,) = self.log.segments
            self.directory.append([segment.take(slice(self.written, self.written + 10))])
            self.written += 10
        elif not self.directory.closed:
            ended = dataclasses.replace(self.info, outcome="completed", ended=ENDED)
            self.directory.update(self.log.variable_infos, ended)
            self.directory.compact()
            self.directory.close()


def test_once(tmp_path):
    log().save(tmp_path / "run")
    result = invoke(tmp_path / "run", "--once")
    assert result.exit_code == 0
    assert "step           39" in result.stdout
    assert "No findings so far." in result.stdout
    assert result.stderr == ""


def test_a_file_is_shown_once(tmp_path):
    log(nan_count={"head/kernel": 1}).save(tmp_path / "run.parquet")
    result = invoke(tmp_path / "run.parquet")
    assert result.exit_code == 1
    assert "GW201 NonFiniteGradient" in result.stdout


def test_once_as_json(tmp_path):
    log(nan_count={"head/kernel": 1}).save(tmp_path / "run")
    result = invoke(tmp_path / "run", "--once", "--json")
    assert result.exit_code == 1
    assert result.stdout.count("\n") == 1
    plain = json.loads(result.stdout)
    assert (plain["step"], plain["global_norm"]) == (39, "nan")
    assert plain["layers"][0] == {"layer": "head", "norm": "nan"}
    assert [finding["code"] for finding in plain["findings"]] == ["GW201"]


def test_follows_a_run_from_before_its_beginning_to_its_end(tmp_path, monkeypatch):
    training = Training(tmp_path / "run", log(), monkeypatch)
    result = invoke(tmp_path / "run", "--wait", "--interval", "0.5")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[:6]] == [
        "no step yet",
        *(f"step {step}" for step in (9, 19, 29, 39)),
        "step 39",
    ]
    assert lines[5].endswith("findings: none  completed")
    assert "The run completed." in lines
    assert result.stderr == f"Waiting for {tmp_path / 'run'} ...\n"
    assert set(training.slept) == {0.5}


def test_what_was_found_stays_and_decides_the_status(tmp_path, monkeypatch):
    monkeypatch.setattr("gradwatch.diagnosis.RECENT_STEPS", 5)
    broken = log()
    (segment,) = broken.segments
    segment.values["nan_count"][3, 0] = 1
    Training(tmp_path / "run", broken, monkeypatch)
    result = invoke(tmp_path / "run", "--wait")
    assert result.exit_code == 1
    assert "findings: none" in result.stdout.splitlines()[1]  # not among the last steps when they were looked at
    assert "GW201 NonFiniteGradient" in result.stdout  # but in all of them


def test_a_fit_that_follows_another_one_is_no_end(tmp_path, monkeypatch):
    Training(tmp_path / "run", log(), monkeypatch, outcome="completed")  # at each look, while steps come
    result = invoke(tmp_path / "run", "--wait")
    assert [f"step {step} " in result.stdout for step in (9, 19, 29, 39)] == [True] * 4


def test_json_lines(tmp_path, monkeypatch):
    Training(tmp_path / "run", log(), monkeypatch)
    result = invoke(tmp_path / "run", "--wait", "--json")
    entries = [json.loads(line) for line in result.stdout.splitlines()]
    assert [entry["step"] for entry in entries] == [None, 9, 19, 29, 39, 39]
    assert [entry["outcome"] for entry in entries][-2:] == ["running", "completed"]


def test_ctrl_c_ends_it_cleanly(tmp_path, monkeypatch):
    def interrupt(seconds):
        raise KeyboardInterrupt

    replace_sleep(monkeypatch, interrupt)
    log(nan_count={"head/kernel": 1}).save(tmp_path / "run")
    result = invoke(tmp_path / "run")
    assert result.exit_code == 1
    assert "Aborted" not in result.output
    assert invoke(tmp_path / "missing", "--wait").exit_code == 0


def test_what_is_not_there(tmp_path):
    result = invoke(tmp_path / "missing")
    assert result.exit_code == 2
    assert "There is no run" in result.stderr
    assert "--wait" in result.stderr
    (tmp_path / "run").mkdir()
    assert invoke(tmp_path / "run", "--once").exit_code == 2
    assert invoke(tmp_path / "run", "--interval", "0").exit_code == 2


class TestTable:
    def show(self, log, now=100.0, **changes):
        shown = dataclasses.replace(snapshot.take(log, (), 90.0), **changes)
        console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
        console.print(live.table(shown, "runs/[today]", now=now))
        return console.export_text()

    def test_heading(self):
        text = self.show(log(), model="net", outcome="running", started="9:00")
        assert text.startswith("runs/[today], model net, running since 9:00, last written 10 s ago")

    def test_worst_layers_come_first(self):
        variables = dict.fromkeys(("first/kernel", "second/kernel", "third/kernel"), (4, 4))
        small = testing.synthetic_log(variables=variables, grad_norm={"second/kernel": 1e-6})
        lines = [line for line in self.show(small).splitlines() if "▄" in line and "/" not in line][2:]
        assert [line.split()[0] for line in lines] == ["second", "first", "third"]
        bad = testing.synthetic_log(
            variables=variables, grad_norm={"second/kernel": 1e-6}, nan_count={"third/kernel": 1}
        )
        assert snapshot.take(bad, (), 0.0).layers[0].layer == "third"

    def test_an_empty_log(self):
        assert "No step has been recorded yet." in self.show(testing.synthetic_log(num_steps=40).tail(0))

    def test_a_long_table_is_cut(self):
        variables = {f"layer_{number}/kernel": (2, 2) for number in range(30)}
        assert "and 20 more layers" in self.show(testing.synthetic_log(variables=variables))
