import json

from click.testing import CliRunner

from gradwatch.cli import main
from gradwatch.rules import RULES


def invoke(*args):
    return CliRunner(env={"COLUMNS": "120"}).invoke(main, ["rules", *args])


def test_lists_each_rule():
    result = invoke()
    assert result.exit_code == 0
    for rule in RULES:
        (line,) = [line for line in result.stdout.splitlines() if rule.code in line]
        assert rule.name in line
        assert rule.severity in line


def test_json():
    entries = json.loads(invoke("--json").stdout)
    assert [entry["code"] for entry in entries] == [rule.code for rule in RULES]
    assert set(entries[0]) == {"code", "name", "severity", "title", "remedy"}


def test_all_about_some():
    result = invoke("GW201", "ZeroGradient")
    assert result.exit_code == 0
    assert "GW201 NonFiniteGradient (error)" in result.stdout
    assert "GW103 ZeroGradient (warning)" in result.stdout
    assert "What to do:" in result.stdout
    assert "VanishingGradient (" not in result.stdout
    assert [rule["code"] for rule in json.loads(invoke("GW201", "--json").stdout)] == ["GW201"]


def test_an_unknown_one():
    result = invoke("GW999")
    assert result.exit_code == 2
    assert "Unknown rules: GW999" in result.stderr
