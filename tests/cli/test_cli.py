import subprocess
import sys

import pytest
from click.testing import CliRunner

from gradwatch import testing
from gradwatch.cli import main
from gradwatch.version import __version__

SHOW_LOADED = """
import sys
from gradwatch.cli import main
main(sys.argv[1:], standalone_mode=False)
print("loaded", *sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""
TENSORFLOW = {"tensorflow", "keras"}


def loaded_by(*args):
    """The top-level modules that are loaded after a command has run in a process of its own."""
    done = subprocess.run([sys.executable, "-c", SHOW_LOADED, *args], capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("command", [["diagnose"], ["tail", "--once"], ["rules"]])
def test_reading_commands_load_neither_tensorflow_nor_pictures_nor_tables(tmp_path, command):
    testing.synthetic_log().save(tmp_path / "run")
    args = command if command == ["rules"] else [*command, str(tmp_path / "run")]
    assert not loaded_by(*args) & {*TENSORFLOW, "matplotlib", "jinja2", "pandas"}


def test_compare_loads_neither_tensorflow_nor_pictures(tmp_path):
    testing.synthetic_log().save(tmp_path / "run")
    assert not loaded_by("compare", *[str(tmp_path / "run")] * 2) & {*TENSORFLOW, "matplotlib", "jinja2"}


def test_report_does_not_load_tensorflow(tmp_path):
    testing.synthetic_log().save(tmp_path / "run")
    assert not loaded_by("report", str(tmp_path / "run"), "-o", str(tmp_path / "report.html")) & TENSORFLOW


def test_help_loads_next_to_nothing():
    assert not loaded_by("--help") & {*TENSORFLOW, "pandas", "numpy", "pyarrow", "rich"}


def test_version():
    result = CliRunner().invoke(main, ["--version"])
    assert result.exit_code == 0
    assert result.stdout == f"gradwatch, version {__version__}\n"


def test_unknown_command():
    result = CliRunner().invoke(main, ["diagnoze"])
    assert result.exit_code == 2
    assert "diagnoze" in result.stderr
