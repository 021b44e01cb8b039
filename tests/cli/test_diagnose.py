import json

import pytest
from click.testing import CliRunner

from gradwatch import testing
from gradwatch.cli import main


def invoke(*args):
    return CliRunner(env={"COLUMNS": "120"}).invoke(main, ["diagnose", *map(str, args)])


@pytest.fixture
def healthy(tmp_path):
    testing.synthetic_log().save(tmp_path / "healthy.parquet")
    return tmp_path / "healthy.parquet"


@pytest.fixture
def unhealthy(tmp_path):
    testing.synthetic_log(nan_count={"head/kernel": 1}).save(tmp_path / "unhealthy")
    return tmp_path / "unhealthy"


def test_healthy_run(healthy):
    result = invoke(healthy)
    assert result.exit_code == 0
    assert "Healthy: no findings" in result.stdout
    assert result.stderr == ""


def test_findings_have_message_and_remedy(unhealthy):
    result = invoke(unhealthy)
    assert result.exit_code == 1
    assert "Not healthy: 1 error" in result.stdout
    for words in ("GW201 NonFiniteGradient", "steps 0 to 59", "what  The gradient of head/kernel", "mend  "):
        assert words in result.stdout


def test_skipped_rules_are_listed(unhealthy):
    _, _, skipped = invoke(unhealthy).stdout.partition("Could not be judged")
    assert "GW103" in skipped
    assert "Too few steps" in skipped


def test_warnings_alone_are_no_failure(tmp_path):
    testing.synthetic_log(detached=["head/bias"]).save(tmp_path / "run")
    result = invoke(tmp_path / "run")
    assert result.exit_code == 0
    assert "GW401 DetachedVariable" in result.stdout


def test_json_is_all_of_stdout(healthy, unhealthy):
    assert json.loads(invoke(healthy, "--json").stdout)["ok"] is True
    result = invoke(unhealthy, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["findings"][0]["code"] == "GW201"


def test_brackets_in_paths_are_not_markup(tmp_path):
    variables = {"[red]/kernel": (2,), "[/]/bias": (2,)}
    testing.synthetic_log(variables=variables, nan_count=1).save(tmp_path / "run")
    result = invoke(tmp_path / "run")
    assert result.exit_code == 1
    assert "[/]/bias" in result.stdout


@pytest.mark.parametrize("name", ["missing", "foreign.parquet", "directory"])
def test_unreadable_input_is_one_line(tmp_path, name):
    (tmp_path / "foreign.parquet").write_text("step,loss")
    (tmp_path / "directory").mkdir()
    result = invoke(tmp_path / name)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert name in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1


def test_wrong_usage():
    assert invoke().exit_code == 2
    assert invoke("run", "--colour").exit_code == 2
