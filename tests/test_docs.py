import pathlib
import re

import duckdb
import pandas
import polars
import pytest
from samples import INFO, VARIABLES, make_segment

import gradwatch
from gradwatch import store
from gradwatch.records import OUTCOMES

DOCS = pathlib.Path(__file__).parents[1] / "docs"
RUNS = (DOCS / "runs.md").read_text()


def test_what_is_linked_is_there():
    for page in DOCS.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (DOCS / target).exists(), (page.name, target)


@pytest.fixture
def today(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with store.RunDirectory("runs/today") as run:
        run.update(VARIABLES, INFO)
        run.append([make_segment()])
        run.add_bad_step({"step": 1}, [])
        run.write_findings("{}")
    return tmp_path / "runs" / "today"


def test_the_files_of_a_run_are_all_in_the_table(today):
    patterns = re.findall(r"^\| `([^`]+)` \|", RUNS, re.MULTILINE)
    for entry in today.iterdir():
        assert sum(entry.match(pattern) for pattern in patterns) == 1, entry.name


def test_other_tools_read_them_as_it_says(today):
    lines = re.findall(r"```python\n(pandas.*?)```", RUNS, re.DOTALL)[0].splitlines()
    tables = [eval(line, {"pandas": pandas, "polars": polars, "duckdb": duckdb}) for line in lines]
    assert len(tables[0]) == len(gradwatch.load(today)) == len(tables[1].collect()) == 12
    assert len(tables[2].fetchall()) == 2


def test_all_outcomes_are_told():
    for outcome in OUTCOMES:
        assert f'"{outcome}"' in RUNS
