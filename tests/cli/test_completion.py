import shutil
import subprocess

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from gradwatch import store, testing
from gradwatch.cli import main
from gradwatch.cli.completion import _MANIFEST, SHELLS
from gradwatch.rules import RULES


def completed(*args):
    """What click offers for the last of some words."""
    *before, incomplete = args
    found = ShellComplete(main, {}, "gradwatch", "_GRADWATCH_COMPLETE").get_completions(list(before), incomplete)
    return [(item.type, item.value) for item in found]


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = testing.synthetic_log(num_steps=1)
    for name in ("runs/today", "runs/old/yesterday", ".hidden/run", "saved.parquet", "runs/saved.parquet"):
        log.save(name)
    (tmp_path / "report.html").touch()
    (tmp_path / "empty").mkdir()


@pytest.mark.parametrize("command", ["diagnose", "report", "tail", "compare"])
def test_runs_are_offered(runs, command):
    everything = ["runs/old/yesterday", "runs/saved.parquet", "runs/today", "saved.parquet"]
    assert completed(command, "") == [("plain", run) for run in everything]
    assert completed(command, "ru") == [("plain", run) for run in everything[:3]]
    assert completed(command, "runs/t") == [("plain", "runs/today")]
    assert completed(command, "./runs/t") == [("plain", "./runs/today")]


def test_absolute_paths(runs, tmp_path):
    assert completed("diagnose", f"{tmp_path}/s") == [("plain", f"{tmp_path}/saved.parquet")]


def test_both_runs_of_a_comparison(runs):
    assert completed("compare", "runs/today", "sav") == [("plain", "saved.parquet")]


def test_where_there_is_no_run_the_shell_completes_files(runs):
    assert completed("diagnose", "report") == [("file", "report")]
    assert completed("diagnose", "no/such/place/") == [("file", "no/such/place/")]


def test_the_script_of_run_is_a_file(runs):
    assert completed("run", "tra") == [("file", "tra")]


def test_rules_by_name_and_by_code():
    assert completed("rules", "nonf") == [("plain", rule.name) for rule in RULES if rule.name.startswith("NonFinite")]
    assert completed("rules", "gw4") == [("plain", rule.code) for rule in RULES if rule.code.startswith("GW4")]
    assert len(completed("rules", "")) == len(RULES)


def test_commands():
    assert ("plain", "diagnose") in completed("dia")
    assert {value for _, value in completed("completion", "")} == set(SHELLS)


def test_the_name_of_the_manifest_is_that_of_the_store(runs, tmp_path):
    store.RunDirectory(tmp_path / "new").close()
    assert (tmp_path / "new" / _MANIFEST).exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_one_that_the_shell_can_read(shell, tmp_path):
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    assert f"_GRADWATCH_COMPLETE={shell}_complete" in result.stdout
    found = shutil.which(shell)
    if found is not None:  # bash is there wherever these tests run; the others may be
        subprocess.run([found, "-n"], input=result.stdout, text=True, check=True)


def test_an_unknown_shell():
    result = CliRunner().invoke(main, ["completion", "cmd"])
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit | click.ClickException)
