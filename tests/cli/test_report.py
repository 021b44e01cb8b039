import pytest
from click.testing import CliRunner

from gradwatch import testing
from gradwatch.cli import main


def invoke(*args):
    return CliRunner().invoke(main, ["report", *map(str, args)])


@pytest.fixture
def run(tmp_path):
    testing.synthetic_log().save(tmp_path / "run")
    return tmp_path / "run"


def test_writes_the_report(run, tmp_path):
    result = invoke(run, "-o", tmp_path / "report.html")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "report.html" in result.stderr
    assert "<html" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_writes_markdown(run, tmp_path):
    assert invoke(run, "-o", tmp_path / "report.md").exit_code == 0
    assert (tmp_path / "report.md").read_text(encoding="utf-8").startswith("#")


def test_unknown_format_is_refused_at_once(tmp_path):
    result = invoke(tmp_path / "missing", "-o", "report.pdf")
    assert result.exit_code == 2
    assert "ends in .html or .md" in " ".join(result.stderr.split())


def test_unhealthy_run_is_reported_and_told_by_the_status(tmp_path):
    testing.synthetic_log(nan_count=1).save(tmp_path / "run")
    assert invoke(tmp_path / "run", "-o", tmp_path / "report.html").exit_code == 1
    assert "GW201" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_file_that_cannot_be_written_is_one_line(run, tmp_path):
    (tmp_path / "file").touch()
    result = invoke(run, "-o", tmp_path / "file" / "report.html")
    assert result.exit_code == 2
    assert str(tmp_path / "file") in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_missing_run_writes_nothing(tmp_path):
    assert invoke(tmp_path / "missing", "-o", tmp_path / "report.html").exit_code == 2
    assert not (tmp_path / "report.html").exists()
