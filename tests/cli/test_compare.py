import json

import pytest
from click.testing import CliRunner

from gradwatch import testing
from gradwatch.cli import main


def invoke(*args):
    return CliRunner(env={"COLUMNS": "120"}).invoke(main, ["compare", *map(str, args)])


@pytest.fixture
def runs(tmp_path):
    testing.synthetic_log().save(tmp_path / "good")
    testing.synthetic_log(nan_count={"head/kernel": 1}).save(tmp_path / "bad.parquet")
    return tmp_path / "good", tmp_path / "bad.parquet"


def test_equal_runs(runs):
    result = invoke(runs[0], runs[0])
    assert result.exit_code == 0
    assert "The runs do not differ" in result.stdout
    assert "never" in result.stdout
    assert result.stderr == ""


def test_a_worse_run_is_told_by_the_status(runs):
    result = invoke(*runs)
    assert result.exit_code == 1
    assert "Only in b: GW201 NonFiniteGradient" in result.stdout
    assert invoke(*reversed(runs)).exit_code == 0


def test_json_is_all_of_stdout(runs):
    result = invoke(*runs, "--json")
    assert [finding["code"] for finding in json.loads(result.stdout)["only_b"]] == ["GW201"]


def test_picture(runs, tmp_path):
    assert invoke(*runs, "--picture", tmp_path / "both.png").exit_code == 1
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")
    result = invoke(*runs, "--picture", tmp_path / "missing" / "both.png")
    assert result.exit_code == 2
    assert "Cannot write the picture" in result.stderr


def test_a_picture_of_no_known_format(runs, tmp_path):
    result = invoke(*runs, "--picture", tmp_path / "both.xyz")
    assert result.exit_code == 2
    assert "Unknown picture format" in result.stderr
    assert result.stdout == ""


def test_what_cannot_be_read(runs, tmp_path):
    result = invoke(runs[0], tmp_path / "nothing")
    assert result.exit_code == 2
    assert "There is no log" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_report(runs, tmp_path, name):
    result = invoke(*runs, "-o", tmp_path / "new" / name)
    assert result.exit_code == 1
    assert "The runs part at step 0" in result.stdout
    assert "Wrote" in result.stderr
    text = (tmp_path / "new" / name).read_text(encoding="utf-8")
    assert f"Compared with {runs[0]}" in text
    assert "GW201" in text


def test_a_report_beside_json_leaves_stdout_alone(runs, tmp_path):
    assert json.loads(invoke(*runs, "--json", "-o", tmp_path / "report.html").stdout)["parts_at"] == 0


def test_a_report_that_cannot_be_written(runs, tmp_path):
    (tmp_path / "file").touch()
    result = invoke(*runs, "-o", tmp_path / "file" / "report.html")
    assert result.exit_code == 2
    assert "Cannot write" in result.stderr
    result = invoke(*runs, "-o", tmp_path / "report.pdf")
    assert result.exit_code == 2
    assert "Unknown report format" in result.stderr
