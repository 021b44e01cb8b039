"""Holds the table of floors in CONTRIBUTING.md against the imports, and keeps TensorFlow out of what reads a log."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

import gradwatch

ROOT = pathlib.Path(gradwatch.__file__).parent
TABLE = (ROOT.parent / "CONTRIBUTING.md").read_text()
FLOORS = {name: int(floor) for floor, name in re.findall(r"^ ?(\d+)  (\w+)  ", TABLE, re.MULTILINE)}
TENSORFLOW = {
    *(
        "recording",
        "tracing",
        "trial",
        "postmortem",
        "requirements",
        "facts",
        "watcher",
        "callback",
        "check",
        "train_step",
    ),
    "bad_step",  # only for a ragged or sparse tensor, at the moment it is read
}
MODULES = [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"]


def top(module):
    return module.split(".")[1]


def imports(path):
    tree = ast.parse(path.read_text())
    hidden = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "gradwatch":
                yield from (f"gradwatch.{alias.name}" for alias in node.names)
            else:
                yield node.module


def name_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path):
    own = name_of(path)
    for module in imports(path):
        if module.startswith("gradwatch."):
            below = top(module)
            assert below in FLOORS, f"{path} imports {module} from the package's root"
            assert below == own or FLOORS[below] < FLOORS[own], f"{own} imports {module}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_recording_leg_imports_tensorflow(path):
    if name_of(path) not in TENSORFLOW:
        assert not {module.split(".")[0] for module in imports(path)} & {"tensorflow", "keras"}


def test_legs_meet_on_the_ground_only():
    ground = {"causes", "records", "errors", "schema", "version", "recording", "tracing"}
    for path in MODULES:
        if name_of(path) == "recording":
            assert {top(module) for module in imports(path) if module.startswith("gradwatch.")} <= ground


def test_every_room_has_a_floor():
    assert {name_of(path) for path in MODULES} == set(FLOORS)


def test_reading_a_log_loads_no_tensorflow():
    code = """
import sys, gradwatch
from gradwatch.testing import synthetic_log
log = synthetic_log()
log.frame(), log.layers(), log.steps(), log.variables(), log.wide("grad_norm")
gradwatch.report(log, gradwatch.diagnose(log)).to_html()
gradwatch.plots.overview(log)
assert not {"tensorflow", "keras"} & set(sys.modules), "loaded"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_facade_has_what_it_says():
    for name in gradwatch.__all__:
        assert getattr(gradwatch, name) is not None
    assert set(gradwatch.__all__) <= set(dir(gradwatch))
    with pytest.raises(AttributeError, match="gradient_watch"):
        gradwatch.gradient_watch  # noqa: B018


def test_report_is_the_function_also_after_its_package_was_loaded():
    import gradwatch.reporting

    assert callable(gradwatch.report)
    assert gradwatch.reporting.report is gradwatch.report
