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
