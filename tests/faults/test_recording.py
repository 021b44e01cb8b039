import json

import pytest
from click.testing import CliRunner
from faults import tiny

import gradwatch
from benchmarks.faults import recording, score
from benchmarks.faults.__main__ import main
from benchmarks.faults.peers import PEERS
from benchmarks.faults.score import OURS

pytestmark = pytest.mark.slow  # TensorFlow is loaded in several processes


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    out = tmp_path_factory.mktemp("faults")
    arguments = ["--out", str(out), "--seed", "0", "--module", "faults.tiny"]
    return out, CliRunner().invoke(main, arguments), arguments


def test_every_run_has_an_outcome(ran):
    out, _, _ = ran
    outcomes = {p.name: json.loads((out / p.name / "0" / "outcome.json").read_text()) for p in tiny.PROGRAMS}
    assert outcomes["bad"]["symptom"] is outcomes["good"]["symptom"] is True
    assert outcomes["bad"]["failed"] is outcomes["bad"]["error"] is None
    assert len(outcomes["good"]["history"]["loss"]) == 6
    assert list(outcomes["bad"]["peers"]) == list(PEERS)
    assert gradwatch.load(out / "bad" / "0" / "log").num_steps == 18


def test_run_that_raises_is_reported_and_stops_no_other(ran):
    out, result, _ = ran
    assert result.exit_code == 1
    assert "raises, seed 0 FAILED: LookupError: there is no such data" in result.output
    assert "dies, seed 0 FAILED: BrokenProcessPool" in result.output
    assert "raises: failed with seed 0 of 1" in result.output
    assert score.read(tiny.DIES, 0, out).symptom is None


def test_score_is_printed_and_written(ran):
    out, result, _ = ran
    assert "gradwatch, program by program" in result.output
    plain = json.loads((out / "score.json").read_text())
    assert plain["figures"]["published"][OURS]["detected"] == {"count": 1, "of": 1}
    assert plain["figures"]["published"]["DeepDiagnosis"]["detected"] == {"count": 1, "of": 1}
    assert plain["figures"]["published"][OURS]["layer_named"] == {"count": 1, "of": 1}
    assert plain["figures"]["all"][OURS]["false_alarms"] == {"count": 0, "of": 1}
    text = (out / "score.md").read_text()
    assert "## Published" in text
    assert "- dies: failed with seed 0 of 1" in text


def test_score_only_makes_no_run_and_only_writes_no_score(ran):
    out, _, arguments = ran
    before = (out / "bad" / "0" / "outcome.json").stat().st_mtime_ns, (out / "score.md").stat().st_mtime_ns
    result = CliRunner().invoke(main, [*arguments, "--score-only", "--only", "[bg]*d"])
    assert result.exit_code == 0
    assert "2 runs" in result.output
    assert "Wrote" not in result.output
    after = (out / "bad" / "0" / "outcome.json").stat().st_mtime_ns, (out / "score.md").stat().st_mtime_ns
    assert before == after


def test_wrong_usage(tmp_path):
    result = CliRunner().invoke(main, ["--module", "faults.tiny", "--only", "none", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "No program matches 'none'. There are bad, raises, good, dies." in result.output
    result = CliRunner().invoke(main, ["--module", "faults.tiny", "--score-only", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "Leave out --score-only" in result.output


def test_same_seed_is_the_same_run(tmp_path):
    job = recording.Job("good", 3, tmp_path, "faults.tiny")
    first, again = recording.record(job), recording.record(job)
    assert first["history"] == again["history"]


def test_jobs_go_seed_by_seed(tmp_path):
    jobs = recording.jobs_of(tiny.PROGRAMS[:2], (0, 1), tmp_path)
    assert [(job.program, job.seed) for job in jobs] == [("bad", 0), ("raises", 0), ("bad", 1), ("raises", 1)]
